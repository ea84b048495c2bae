"""Hostile inputs for the readers of this project: what all of `make fuzz` shares.

    python -m tests.fuzz_artifacts 10000                        # 10,000 inputs for each target
    python -m tests.fuzz_artifacts 10000 --only npz --seed 7    # one target, other inputs

A target makes inputs from random numbers, mostly whole files that `mutated` damages, and feeds them to one reader. The
reader may accept an input or refuse it with a CxrflowError. Anything else is a finding: another exception, more than
SECONDS of a processor or WAITING on the clock, a request for more than MEMORY (also where the reader turns that
MemoryError into its own error), a feed's failed assertion, the death of the process. Inputs run in child processes,
which can be ended. The first inputs of each kind of finding are kept under build/fuzz/TARGET/, with the traceback; the
exit code is 1 where there is any.
"""

import argparse
import faulthandler
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any

from contract.errors import CxrflowError

SECONDS = 5.0  # of one processor that an input may take
WAITING = 120.0  # on the clock: whoever computes nothing waits for ever; where others work here, a reader waits, too
MEMORY = 1 << 30  # bytes that an input may take, beyond what the process has before it
KEPT = 2  # inputs of each kind of finding
FOUND = Path("build/fuzz")
INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Content = bytes | dict[str, bytes]  # one file's content; or files by their paths, which are written into a new folder
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Target:
    """One reader and what it is fed."""

    name: str
    make: Callable[[Random], Content]  # the same numbers give the same input
    feed: Callable[[Any], object]  # given the bytes, or the Path of the folder


@dataclass
class Outcome:
    """What came of a target."""

    name: str
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0  # input [s]
    peak: int = 0  # of a process [byte]
    findings: Counter[str] = field(default_factory=Counter)  # by kind

    def done(self) -> int:
        """Return how many inputs are judged."""
        return self.accepted + self.refused + self.findings.total()


@dataclass
class _Child:
    process: Any
    answers: Connection
    at: int  # the input that it works on
    begun: float  # on the clock [s]
    used: float  # processor time before this input [s]
    last_words: Path  # where its Python stood when it crashed


def mutated(rng: Random, content: bytes, most: int = 6) -> bytes:
    """Return `content` after 0 to `most` flips, overwritten integers, cuts, insertions, repetitions."""
    data = bytearray(content)
    for _ in range(min(most, rng.choice([0, 1, 1, 1, 2, 2, 3, 6]))):
        at = rng.randrange(max(1, min(len(data), rng.choice([16, 200, 1000, 1 << 30]))))
        match rng.choice(["flip", "set", "number", "cut", "drop", "insert", "repeat", "swap"]):
            case "flip" if data:
                data[at] ^= 1 << rng.randrange(8)
            case "set" if data:
                data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
            case "number":
                size = rng.choice([1, 2, 4, 8])
                value = rng.choice(INTERESTING) & ((1 << 8 * size) - 1)
                data[at : at + size] = value.to_bytes(size, rng.choice(["little", "big"]))  # type: ignore[arg-type]
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + rng.randint(1, 64)]
            case "insert":
                data[at:at] = rng.randbytes(rng.randint(1, 32))
            case "repeat":
                data[at:at] = data[at : at + rng.randint(1, 2000)] * rng.choice([1, 1, 1, 30])
            case "swap":
                other = rng.randrange(max(1, len(data)))
                data[at : at + 8], data[other : other + 8] = data[other : other + 8], data[at : at + 8]
    return bytes(data)


def run(target: Target, count: int, *, seed: int = 0, found: Path = FOUND, workers: int | None = None) -> Outcome:
    """Feed `count` inputs; say how long it will take."""
    workers = min(workers or os.cpu_count() or 1, max(1, count))
    outcome, start, said = Outcome(target.name), time.monotonic(), 0.0
    shutil.rmtree(found / target.name, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:

        def begin(first: int) -> _Child:
            return _start(target, seed, range(first, count, workers), Path(scratch))

        children = [begin(first) for first in range(workers)]
        try:
            while children:
                wait([child.answers for child in children], timeout=0.2)
                for child in list(children):
                    ended, findings = _listen(child, workers, outcome)
                    for index, kind, text in findings:
                        outcome.findings[kind] += 1
                        if outcome.findings[kind] <= KEPT:
                            _keep(found / target.name / str(index), target.make(_numbers(target, seed, index)), text)
                    if ended:
                        children.remove(child)
                        if child.at < count:
                            children.append(begin(child.at))
                passed = time.monotonic() - start
                if passed > said + 3 and outcome.done():
                    said = passed + (27 if said else 0)
                    left = passed / outcome.done() * (count - outcome.done())
                    print(f"{target.name}: {outcome.done():,} of {count:,} inputs, about {left:.0f} s left", flush=True)
        finally:
            for child in children:
                child.process.kill()
                child.process.join()
    outcome.seconds = time.monotonic() - start
    return outcome


def main(targets: Sequence[Target]) -> None:
    """Run what the command line asks for, print one line per target, and exit."""
    parser = argparse.ArgumentParser(description="Feed hostile inputs to our readers.")
    parser.add_argument("count", type=int, help="inputs for each target")
    parser.add_argument("--only", action="append", choices=[target.name for target in targets], help="may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = 0
    for target in targets:
        if options.only and target.name not in options.only:
            continue
        outcome = run(target, options.count, seed=options.seed)
        print(
            f"{outcome.name}: {options.count:,} inputs in {outcome.seconds:.0f} s: {outcome.accepted:,} accepted, "
            f"{outcome.refused:,} refused, {outcome.findings.total():,} findings; the slowest {outcome.slowest:.2f} s, "
            f"{outcome.peak / 2**20:.0f} MiB at most",
            flush=True,
        )
        for kind, times in outcome.findings.most_common():
            print(f"  {times:,} x {kind}  (see {FOUND / target.name})", flush=True)
        failed += outcome.findings.total()
    sys.exit(1 if failed else 0)


def peak_memory() -> int:
    """Return the most memory that this process has held [byte]; getrusage would include what started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def _start(target: Target, seed: int, indices: range, scratch: Path) -> _Child:
    answers, ours = _FORK.Pipe(duplex=False)
    last_words = scratch / f"{indices.start}.crash"
    args = (target, seed, indices, scratch, ours, last_words)
    process = _FORK.Process(target=_work, args=args, daemon=True)
    process.start()
    ours.close()
    return _Child(process, answers, indices.start, time.monotonic(), 0.0, last_words)


def _listen(child: _Child, step: int, outcome: Outcome) -> tuple[bool, list[tuple[int, str, str]]]:
    """Take a child's answers; return whether it has ended, and findings: (index, kind, traceback)."""
    findings: list[tuple[int, str, str]] = []
    try:
        while child.answers.poll():
            answer = child.answers.recv()
            if answer is None:  # an input is made, and begins to be read
                child.begun, child.used = time.monotonic(), _used(child.process.pid)
                continue
            kind, text, seconds, peak = answer
            outcome.slowest, outcome.peak = max(outcome.slowest, seconds), max(outcome.peak, peak)
            match kind:
                case "accepted":
                    outcome.accepted += 1
                case "refused":
                    outcome.refused += 1
                case _:
                    findings.append((child.at, kind, f"{kind}\n{text}"))
            child.at += step
            child.begun, child.used = time.monotonic(), _used(child.process.pid)
    except EOFError:
        child.process.join()
        code = child.process.exitcode
        died = f"died of {signal.Signals(-code).name}" if code < 0 else f"exited with {code}" if code else ""
    else:
        slow = _used(child.process.pid) - child.used > SECONDS or time.monotonic() - child.begun > WAITING
        if not slow:
            return False, findings
        child.process.kill()
        child.process.join()
        died = f"more than {SECONDS:g} s"
    if died:
        crash = child.last_words.read_text() if child.last_words.exists() else ""
        findings.append((child.at, died, f"{died}\n{crash}"))
        child.at += step
    return True, findings


def _keep(place: Path, content: Content, text: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "finding.txt").write_text(f"{text}\n", errors="replace")
    _write(place / "input", content)


def _write(place: Path, content: Content) -> None:
    if isinstance(content, bytes):
        place.write_bytes(content)
        return
    place.mkdir()
    for name, data in content.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)


def _numbers(target: Target, seed: int, index: int) -> Random:
    return Random(f"{target.name} {seed} {index}")


def _used(pid: int) -> float:
    """Return the processor time of a process [s]; 0 where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _work(target: Target, seed: int, indices: range, scratch: Path, answers: Connection, last_words: Path) -> None:
    """Feed inputs in a process of their own, within MEMORY."""
    faulthandler.disable()  # a library of the tests may have put its handlers in the place of these
    faulthandler.enable(last_words.open("w"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    held = int(status["VmData"].split()[0]) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY, held + MEMORY))
    for index in indices:
        content = target.make(_numbers(target, seed, index))
        given: bytes | Path = content if isinstance(content, bytes) else scratch / str(index)
        if isinstance(given, Path):
            _write(given, content)
        answers.send(None)
        start = time.process_time()
        kind, text = _verdict(target, given)
        seconds = time.process_time() - start
        if isinstance(given, Path):
            shutil.rmtree(given)
        answers.send((kind, text, seconds, peak_memory()))


def _verdict(target: Target, given: bytes | Path) -> tuple[str, str]:
    """Feed one input; return "accepted", "refused" or the kind of finding, and the traceback."""
    try:
        target.feed(given)
    except BaseException as err:
        chain: list[BaseException] = [err]
        while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
            chain.append(before)
        if any(isinstance(one, MemoryError) for one in chain):
            kind = f"more than {MEMORY >> 20} MiB"
        elif isinstance(err, CxrflowError):
            return "refused", ""
        else:
            kind = type(err).__name__
        frames = traceback.extract_tb(chain[-1].__traceback__)
        ours = [
            frame for frame in frames if "site-packages" not in frame.filename and "/lib/python" not in frame.filename
        ]
        where = (ours or frames)[-1]
        text = "".join(traceback.format_exception(err))
        return f"{kind} at {Path(where.filename).name}:{where.lineno}", text[-20_000:]
    return "accepted", ""
