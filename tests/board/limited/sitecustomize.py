"""Make this process one on a board of 512 MB; on a 32-bit processor, with MEBIBYTES of address space and no more.

Python imports this by itself where the folder is on its path, so that the processes that it starts are limited too.
The limit is what `ulimit -v` sets. qemu does not start under a smaller one than the whole address space of its program,
which it reserves, and does not do what the program itself asks of setrlimit. So all but what is left is taken away
here, with mappings of nothing; what the process has already counts as well.
"""

import mmap
import os

_ANYTHING = 0x4000  # MAP_NORESERVE: no memory stands behind it


def _nothing(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _ANYTHING, prot=0)


def _take_all() -> list[mmap.mmap]:
    taken, size = [], 1 << 30
    while size >= mmap.PAGESIZE:
        try:
            taken.append(_nothing(size))
        except (OSError, MemoryError):
            size //= 2
    return taken


def _used() -> int:
    """Return how much of it this process has [byte]; qemu shows the program's own mappings here."""
    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123 # pathlib would count, too
        ends = [line.split()[0].split("-") for line in maps]
    return sum(int(end, 16) - int(start, 16) for start, end in ends)


if "MEBIBYTES" in os.environ:
    _left = _nothing((int(os.environ["MEBIBYTES"]) << 20) - _used())
    _TAKEN = _take_all()
    _left.close()
_of_this_machine = os.sysconf
os.sysconf = lambda name: (512 << 20) // mmap.PAGESIZE if name == "SC_PHYS_PAGES" else _of_this_machine(name)
