"""When beats move through a chain of FINN's nodes: a model of their handshakes, cycle by cycle, without their data.

Each class holds the registers of one RTL module that decide on its TVALID and TREADY, with the module's own rules.
TVALID depends on registers alone; TREADY may depend on the sink's TREADY in the same cycle, too. So one cycle of the
chain is: look at every handshake, from the end of the chain to its start, then let every node take its step. What a
chain does under full load is exact: its state is followed until it repeats.
"""

# ruff: noqa: D102, D107  Part says what every method does, and each class what its arguments are.

from collections.abc import Sequence
from fractions import Fraction
from math import gcd

FOREVER = 1 << 62


class Part:
    """One node of a chain. A quiet node changes nothing but counters until a beat enters or leaves it."""

    latency: int  # registers that a beat passes

    def ready(self, sink: bool) -> bool:
        """Whether it takes a beat in this cycle, in which its sink does or does not."""
        raise NotImplementedError

    def valid(self) -> bool:
        """Whether it offers a beat in this cycle."""
        raise NotImplementedError

    def step(self, taken: bool, given: bool) -> None:
        """End this cycle, in which a beat entered, and left."""
        raise NotImplementedError

    def quiet(self) -> int:
        """Return for how many cycles without a beat in or out `skip` may replace `step`; 0: none."""
        return FOREVER

    def skip(self, cycles: int) -> None:
        """End so many cycles at once."""

    def state(self) -> tuple[object, ...]:
        """Return everything that its future depends on."""
        raise NotImplementedError


class Mvu(Part):
    """FINN's matrix-vector unit: replay_buffer.sv, the pipeline of mvu.sv and the output queue of mvu_vvu_axi.sv.

    The buffer keeps one vector, or up to the next power of two of beats; it takes the next vector's beats only while
    the last pass frees this one's. A result that finds the output register occupied stops the unit until the queue
    behind that register is empty again; results under way still arrive in the queue.
    """

    def __init__(self, *, beats: int, passes: int, simd: int) -> None:
        self.beats, self.passes = beats, passes
        self.depth = 4 + (simd - 1).bit_length() + (simd == 1)  # registers from operands to result
        self.latency = self.depth + 5
        self.capacity = 1 << max(1, (beats - 1).bit_length())
        self.written = self.beat = self.at = 0  # beats of this vector written; next to read: beat, of pass `at`
        self.loaded = self.last = self.lock = self.held = False  # operand register; its pass ends; stopped; output
        self.queue = self.pipe = 0  # results waiting; bit i: a result i registers into the pipeline

    def ready(self, sink: bool) -> bool:
        if self.passes == 1:
            return not self.lock
        freed = self.beat if self.at == self.passes - 1 else 0
        return self.written - freed < self.capacity

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        ends, running = False, not self.lock
        if self.passes == 1:
            if taken:
                self.beat += 1
                ends = self.beat == self.beats
                if ends:
                    self.beat = 0
        else:
            ends = running and self.loaded and self.last
            if running or not self.loaded:
                self._read()
            self.written += taken
        free = given or not self.held
        if not self.queue:
            self.lock = False
        elif not free:
            self.lock = True
        pushed = self.pipe >> (self.depth - 1) & 1
        if free:
            self.held = self.queue > 0
            self.queue -= self.held
        self.queue += pushed
        self.pipe = (self.pipe << 1 | ends) & ((1 << self.depth) - 1)

    def _read(self) -> None:
        self.loaded = self.beat < self.written
        if not self.loaded:
            return
        self.beat += 1
        self.last = self.beat == self.beats
        if self.last:
            self.beat = 0
            self.at += 1
            if self.at == self.passes:
                self.at = 0
                self.written -= self.beats

    def quiet(self) -> int:
        if self.pipe or (self.queue and not (self.held and self.lock)) or (self.lock and not self.queue):
            return 0
        if self.passes == 1 or self.lock:
            return FOREVER
        if self.beat >= self.written:
            return 0 if self.loaded else FOREVER
        if not self.loaded or self.last or not 0 < self.at < self.passes - 1:
            return 0
        return self.beats - 1 - self.beat

    def skip(self, cycles: int) -> None:
        if self.passes > 1 and not self.lock and self.beat < self.written:
            self.beat += cycles

    def state(self) -> tuple[object, ...]:
        return (
            self.written, self.beat, self.at, self.loaded, self.last, self.lock, self.held, self.queue, self.pipe,
        )  # fmt: skip


class LutMvu(Part):
    """Our matrix-vector unit, lut_mvu.sv: keeps two vectors; a finished result with nowhere to go stops every stage."""

    def __init__(self, *, beats: int, passes: int, simd: int, weight_bits: int, act_bits: int) -> None:
        self.beats, self.passes = beats, passes
        # Columns per leaf of the adder tree, registers up to its leaves, leaves for the same columns.
        columns, first = (2, 2) if act_bits > 1 else (18, 4) if weight_bits == 1 else (1, 1)
        planes = weight_bits if act_bits > 1 else 1
        stages = first + (-(-simd // columns) * planes - 1).bit_length()
        self.latency = stages + 2
        self.all, self.top = (1 << stages) - 1, 1 << (stages - 1)  # every register, and the last
        self.capacity = 2 if passes == 1 else 2 * beats
        self.fill = self.ahead = self.beat = self.at = 0
        self.pipe = self.ends = 0  # bit i: register i holds operands; they end a pass
        self.held = False

    def ready(self, sink: bool) -> bool:
        return self.fill < self.capacity

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        result = self.pipe & self.ends & self.top != 0
        if not (result and self.held and not given):
            if given:
                self.held = False
            self.held = self.held or result
            self._fetch()
        self.fill += taken
        self.ahead += taken

    def _fetch(self) -> None:
        fetch = self.ahead > 0
        end = fetch and self.beat == self.beats - 1
        self.pipe = (self.pipe << 1 | fetch) & self.all
        self.ends = (self.ends << 1 | end) & self.all
        if not fetch:
            return
        self.ahead -= 1
        if self.at == self.passes - 1:
            self.fill -= 1
        self.beat = 0 if end else self.beat + 1
        if end:
            self.at = 0 if self.at == self.passes - 1 else self.at + 1
            self.ahead += self.beats if self.at else 0

    def quiet(self) -> int:
        if self.pipe & self.ends & self.top and self.held:
            return FOREVER
        if not self.ahead:
            return 0 if self.pipe else FOREVER
        if self.pipe != self.all or self.ends or not 0 < self.at < self.passes - 1:
            return 0
        return self.beats - 1 - self.beat

    def skip(self, cycles: int) -> None:
        if self.ahead and not (self.pipe & self.ends & self.top and self.held):
            self.beat += cycles
            self.ahead -= cycles

    def state(self) -> tuple[object, ...]:
        return self.fill, self.ahead, self.beat, self.at, self.pipe, self.ends, self.held


class Thresholding(Part):
    """FINN's thresholding.sv: two registers per output bit, a queue that holds whatever is in them, a register."""

    def __init__(self, *, bits: int) -> None:
        self.depth, self.most = 2 * bits, 2 * bits + 3
        self.latency = self.depth + 2
        self.inside = self.pipe = self.queue = 0
        self.held = False

    def ready(self, sink: bool) -> bool:
        return self.inside < self.most

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        pushed = self.pipe >> (self.depth - 1) & 1
        if given or not self.held:
            self.held = self.queue > 0
            self.queue -= self.held
        self.queue += pushed
        self.pipe = (self.pipe << 1 | taken) & ((1 << self.depth) - 1)
        self.inside += taken - given

    def quiet(self) -> int:
        return 0 if self.pipe or (self.queue and not self.held) else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.inside, self.pipe, self.queue, self.held


class Converter(Part):
    """FINN's width converter vpc.sv, in its general form: a buffer of one input and one output beat."""

    def __init__(self, *, in_bits: int, out_bits: int) -> None:
        unit = gcd(in_bits, out_bits)
        self.enters, self.leaves = in_bits // unit, out_bits // unit
        self.content, self.latency = 0, 1

    def ready(self, sink: bool) -> bool:
        return self.content <= self.leaves

    def valid(self) -> bool:
        return self.content >= self.leaves

    def step(self, taken: bool, given: bool) -> None:
        self.content += taken * self.enters - given * self.leaves

    def state(self) -> tuple[object, ...]:
        return (self.content,)


class Serializer(Part):
    """vpc.sv to one bit: a shift register that is loaded when empty, and an output register."""

    def __init__(self, *, in_bits: int) -> None:
        self.bits, self.left, self.held, self.latency = in_bits, 0, False, 1

    def ready(self, sink: bool) -> bool:
        return not self.left

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        free = given or not self.held
        if taken:
            self.left = self.bits - free
            self.held = True
        elif free:
            self.held = self.left > 0
            self.left -= self.held

    def quiet(self) -> int:
        return 0 if self.left and not self.held else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.left, self.held


class Deserializer(Part):
    """vpc.sv from one bit: a shift register, and one bit that comes while it is full."""

    def __init__(self, *, out_bits: int) -> None:
        self.bits, self.content, self.aside, self.latency = out_bits, 0, False, 1

    def ready(self, sink: bool) -> bool:
        return not self.aside

    def valid(self) -> bool:
        return self.content == self.bits

    def step(self, taken: bool, given: bool) -> None:
        if taken and self.content == self.bits and not given:
            self.aside = True
        elif given:
            self.content = taken or self.aside
            self.aside = False
        else:
            self.content += taken

    def state(self) -> tuple[object, ...]:
        return self.content, self.aside


class Fifo(Part):
    """FINN's fifo.sv: storage, then `registers` that move together; 1, or 2 for block RAM."""

    def __init__(self, *, storage: int, registers: int = 1) -> None:
        self.storage, self.registers, self.latency = storage, registers, 1 + registers
        self.content = self.pipe = 0  # beats stored; bit 0: the register that the storage is read into

    def ready(self, sink: bool) -> bool:
        return self.content < self.storage

    def valid(self) -> bool:
        return self.pipe >> (self.registers - 1) != 0

    def step(self, taken: bool, given: bool) -> None:
        if given or not self.valid():
            drain = self.content > 0
            self.pipe = (self.pipe << 1 | drain) & ((1 << self.registers) - 1)
            self.content -= drain
        self.content += taken

    def quiet(self) -> int:
        return 0 if (self.content or self.pipe) and not self.valid() else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.content, self.pipe


class Chain:
    """Parts in a row, fed without a gap; the sink takes every beat. An image is `results` output beats."""

    def __init__(self, parts: Sequence[Part], *, results: int = 1) -> None:
        self.parts, self.results = list(parts), results
        self.cycle = self.left = 0  # cycles so far; results so far
        self._moves = [False] * (len(self.parts) + 1)  # whether a beat moves into each part, and out of the last

    def advance(self, *, closed: int = -1) -> bool:
        """Go on by a cycle, or by as many as nothing happens in; False: nothing will ever happen.

        Args:
            closed: the part whose output is held back; -1: none.
        """
        parts, moves = self.parts, self._moves
        ready = True
        for i in range(len(parts) - 1, -1, -1):
            part = parts[i]
            ready = ready and i != closed
            moves[i + 1] = ready and part.valid()
            ready = part.ready(ready)
        moves[0] = ready
        if True not in moves:
            jump = min(part.quiet() for part in parts)
            if jump == FOREVER:
                return False
            if jump > 0:
                for part in parts:
                    part.skip(jump)
                self.cycle += jump
                return True
        taken = moves[0]
        for i, part in enumerate(parts, start=1):
            given = moves[i]
            part.step(taken, given)
            taken = given
        self.left += taken
        self.cycle += 1
        return True

    def first_latency(self) -> int:
        """Return the cycles from the first beat of the first image to its last result. Call it on a new chain."""
        while self.left < self.results:
            if not self.advance():
                raise AssertionError("the chain stops")
        return self.cycle - 1

    def interval(self, slowest: int) -> Fraction:
        """Return the cycles per image that this chain settles on. Call it on a new chain.

        Args:
            slowest: the last of the parts that are the slowest. Until everything before it is full, its output is
                held back, which saves following the chain while it slowly fills.
        """
        while self.advance(closed=slowest):
            pass
        seen: dict[tuple[object, ...], tuple[int, int]] = {}
        while True:
            before = self.left
            if not self.advance():
                raise AssertionError("the chain stops")
            if self.left == before or self.left % self.results:
                continue
            state = tuple(part.state() for part in self.parts)
            if state in seen:
                cycle, left = seen[state]
                return Fraction((self.cycle - cycle) * self.results, self.left - left)
            seen[state] = (self.cycle, self.left)
