"""What software reads and writes: the registers of the DMA engines and of the PL clock.

Sources: PG021 and the VHDL that Vivado generates for the AXI DMA; UG1399 for the engines that FINN makes with Vitis
HLS; UG585 (SLCR) and UG1087 (CRL_APB) for the clocks. All addresses here are byte offsets.
"""

import time
from _thread import start_new_thread  # Thread.start waits in Python, and Ctrl-C there becomes a RuntimeError
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from contract.manifest import Stream
from contract.processors import ClockRegisters
from contract.shells import (
    DMA_CHANNELS,
    DMA_LENGTH_BITS,
    DONE,
    ENGINE_IDLE,
    HALTED,
    IDLE,
    RESET,
    RUN,
    START,
    DmaReg,
    EngineReg,
)
from driver.simulated.faults import DmaError, Faults
from driver.simulated.memory import BusError, PhysicalMemory
from driver.simulated.stream import Streams

_BUS_S = 0.0001  # that reading the status of a busy engine takes [s]; what computes runs meanwhile


class Registers(Protocol):
    """A range of the address map."""

    size: int  # bytes

    def read(self, offset: int) -> int:
        """Return the register at `offset`."""

    def write(self, offset: int, value: int) -> None:
        """Set the register at `offset`."""

    def reset(self) -> None:
        """Return to the state after configuration."""


IOC_IRQ, ERR_IRQ = 1 << 12, 1 << 14  # status
_WRITABLE_CONTROL = 0xFFFF7008  # thresholds, interrupt enables, keyhole
_CONTROL_DEFAULT = 0x00010002


@dataclass
class _Channel:
    """State of one channel. Reset gives a new one, so that a transfer can tell that it was aborted."""

    control: int = _CONTROL_DEFAULT
    running: bool = False  # RS of the control register
    status: int = HALTED
    address: int = 0
    length: int = 0
    busy: bool = False
    received: int = 0  # bytes

    def settle(self) -> None:
        """Halt if software stopped the channel and nothing is under way."""
        if not self.running and not self.busy:
            self.status = self.status & ~IDLE | HALTED

    def complete(self) -> None:
        """End a transfer well."""
        self.busy = False
        self.status |= IDLE | IOC_IRQ
        self.settle()


class AxiDmaModel:
    """Xilinx AXI DMA 7.1 without scatter-gather, one channel to and one from the accelerator.

    As in the IP, an error halts both channels until a reset, a stopped channel finishes its transfer first, and a reset
    of either channel resets both, but not the accelerator.
    """

    size = 0x10000

    def __init__(
        self, memory: PhysicalMemory, streams: Streams, result_bytes: int, faults: Callable[[], Faults]
    ) -> None:
        """Move data between `memory` and `streams`. A result is `result_bytes` wide."""
        self._memory, self._streams, self._result_bytes, self._faults = memory, streams, result_bytes, faults
        self._send, self._receive = _Channel(), _Channel()
        streams.taker = self._take

    def reset(self) -> None:
        """Return to the state after configuration."""
        with self._streams.lock:
            self._send, self._receive = _Channel(), _Channel()
            self._streams.changed.notify_all()

    def read(self, offset: int) -> int:
        """See Registers."""
        channel, register = self._decode(offset)
        if register == DmaReg.DMASR and channel.busy and self._faults().status is None:
            time.sleep(_BUS_S)
        with self._streams.lock:
            channel, register = self._decode(offset)
            if register == DmaReg.DMACR:
                return channel.control | (RUN if channel.running else 0)
            if register == DmaReg.DMASR:
                stuck = self._faults().status
                return channel.status if stuck is None else stuck
            if register == DmaReg.SA:
                return channel.address & 0xFFFFFFFF
            if register == DmaReg.SA_MSB:
                return channel.address >> 32
            return channel.length if register == DmaReg.LENGTH else 0

    def write(self, offset: int, value: int) -> None:
        """See Registers."""
        with self._streams.lock:
            channel, register = self._decode(offset)
            if self._faults().deaf:
                return
            if register == DmaReg.DMACR:
                self._control(channel, value)
            elif register == DmaReg.DMASR:
                channel.status &= ~(value & (IOC_IRQ | ERR_IRQ))
            elif register == DmaReg.SA:
                channel.address = channel.address >> 32 << 32 | value
            elif register == DmaReg.SA_MSB:
                channel.address = channel.address & 0xFFFFFFFF | value << 32
            elif register == DmaReg.LENGTH:
                self._start(channel, value & ((1 << DMA_LENGTH_BITS) - 1))

    def _decode(self, offset: int) -> tuple[_Channel, int]:
        start = DMA_CHANNELS["S2MM"]
        return (self._receive, offset - start) if offset >= start else (self._send, offset)

    def _control(self, channel: _Channel, value: int) -> None:
        if value & RESET:
            self.reset()
            return
        channel.control = value & _WRITABLE_CONTROL | _CONTROL_DEFAULT & 0x2
        failed = any(side.status & _ERRORS for side in (self._send, self._receive))
        channel.running = bool(value & RUN) and not failed
        if channel.running:
            channel.status &= ~HALTED
        channel.settle()

    def _start(self, channel: _Channel, length: int) -> None:
        """Begin a transfer; a channel that is halted or busy, and a length of 0, do nothing."""
        if channel.status & HALTED or not channel.running or channel.busy or not length:
            return
        channel.busy, channel.length, channel.received = True, length, 0
        channel.status &= ~IDLE
        if channel is self._receive:
            self._take()
        else:
            start_new_thread(self._feed, (channel,))

    def _feed(self, channel: _Channel) -> None:
        """Move one transfer from memory to the accelerator."""
        error = self._faults().send_error
        if error is None:
            try:
                self._streams.feed(
                    lambda offset, size: self._memory.read(channel.address + offset, size),
                    channel.length,
                    last=True,
                    alive=lambda: channel is self._send,
                )
            except BusError:
                error = DmaError.DECODE
        with self._streams.lock:
            if channel is self._send and error is None:
                self._complete(channel)
            elif channel is self._send and error is not None:
                self._fail(channel, error)
            self._streams.changed.notify_all()

    def _take(self) -> None:
        """Move results to memory while there are any and somebody wants them."""
        channel = self._receive
        while channel.busy and self._streams.ready():
            error = self._faults().receive_error
            if error is not None:
                self._fail(channel, error)
                return
            result = self._streams.take()
            assert result is not None
            value, last = result
            if channel.received + self._result_bytes > channel.length:
                self._fail(channel, DmaError.INTERNAL)  # more came than software has room for
                return
            try:
                word = (value & ((1 << 8 * self._result_bytes) - 1)).to_bytes(self._result_bytes, "little")
                self._streams.store(self._memory, channel.address + channel.received, word)
            except BusError:
                self._fail(channel, DmaError.DECODE)
                return
            channel.received += self._result_bytes
            if last:
                channel.length = channel.received
                self._complete(channel)

    def _complete(self, channel: _Channel) -> None:
        if not self._faults().no_end:
            channel.complete()

    def _fail(self, channel: _Channel, error: DmaError) -> None:
        """End a transfer in an error. One channel's error stops the other one too."""
        channel.busy = False
        channel.status |= error | ERR_IRQ
        self._send.running = self._receive.running = False
        self._send.settle()
        self._receive.settle()


_ERRORS = DmaError.INTERNAL | DmaError.SLAVE | DmaError.DECODE


READY = 1 << 3  # an engine's control, beside start, done and idle


class FinnIodmaModel:
    """One of FINN's two engines. It counts images and has no idea of TLAST or of errors.

    A transfer to or from an address without memory never ends.
    """

    size = 0x10000

    def __init__(
        self,
        memory: PhysicalMemory,
        streams: Streams,
        stream: Stream,
        faults: Callable[[], Faults],
        *,
        output: bool,
    ) -> None:
        """Move data between `memory` and `streams`.

        Args:
            memory: of the board.
            streams: of the accelerator.
            stream: what an image is on its stream, or are its results if `output`.
            faults: what goes wrong.
            output: the engine writes results; otherwise it reads images.
        """
        self._memory, self._streams, self._stream, self._output = memory, streams, stream, output
        self._faults = faults
        self.reset()
        if output:
            streams.taker = self._take

    def reset(self) -> None:
        """Return to the state after configuration."""
        with self._streams.lock:
            self._transfer = object()  # its identity tells a transfer that it was aborted
            self._plain: dict[int, int] = {}  # every register without a behaviour
            self._busy = False
            self._flags = 0  # DONE and READY
            self._received = 0  # results
            self._streams.changed.notify_all()

    def read(self, offset: int) -> int:
        """See Registers. Reading the control register clears `done` and `ready`."""
        if offset == EngineReg.CTRL and self._busy and self._faults().status is None:
            time.sleep(_BUS_S)
        with self._streams.lock:
            if offset != EngineReg.CTRL:
                return self._plain.get(offset, 0)
            stuck = self._faults().status
            if stuck is not None:
                return stuck
            value = self._flags | (START if self._busy else ENGINE_IDLE)
            self._flags = 0
            return value

    def write(self, offset: int, value: int) -> None:
        """See Registers."""
        with self._streams.lock:
            if self._faults().deaf:
                return
            if offset != EngineReg.CTRL:
                self._plain[offset] = value
            elif value & START and not self._busy:
                self._busy, self._received = True, 0
                if self._output:
                    self._take()
                else:
                    start_new_thread(self._feed, (self._transfer, *self._job()))

    def _job(self) -> tuple[int, int]:
        address = self._plain.get(EngineReg.ADDRESS_LOW, 0) | self._plain.get(EngineReg.ADDRESS_HIGH, 0) << 32
        return address, self._plain.get(EngineReg.REPS, 0)

    def _feed(self, transfer: object, address: int, reps: int) -> None:
        try:
            self._streams.feed(
                lambda offset, size: self._memory.read(address + offset, size),
                reps * self._stream.packed_bytes,
                last=False,
                alive=lambda: transfer is self._transfer,
            )
        except BusError:
            return
        with self._streams.lock:
            if transfer is self._transfer:
                self._complete()

    def _take(self) -> None:
        """Move results to memory while there are any and somebody wants them."""
        address, reps = self._job()
        results, size = reps * self._stream.folded_shape[0], self._stream.width_bits // 8  # a beat is a result
        while self._busy and self._received < results:
            result = self._streams.take()
            if result is None:
                return
            word = (result[0] & ((1 << 8 * size) - 1)).to_bytes(size, "little")
            try:
                self._streams.store(self._memory, address + self._received * size, word)
            except BusError:
                return
            self._received += 1
        if self._busy:
            self._complete()

    def _complete(self) -> None:
        if self._faults().no_end:
            return
        self._busy = False
        self._flags = DONE | READY
        self._streams.changed.notify_all()


class PsClock:
    """The clock registers of the processing system, as far as PL clock 0 needs them."""

    def __init__(self, registers: ClockRegisters, faults: Callable[[], Faults]) -> None:
        """Answer where `registers` says that they are."""
        self.layout = registers
        self._values = dict(registers.boot)
        self._faults = faults

    def covers(self, address: int) -> bool:
        """Tell whether the clock registers include this address."""
        return any(base <= address < base + size for base, size in self.layout.ranges)

    def read(self, address: int) -> int:
        """Return a register by its physical address."""
        return self._values.get(address, 0)

    def write(self, address: int, value: int) -> None:
        """Set a register by its physical address."""
        if not (address == self.layout.register and self._faults().clock_stuck):
            self._values[address] = value
