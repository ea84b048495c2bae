"""What Verilator's makefile calls in front of the compiler ($OBJCACHE): all models' headers, compiled once.

Reading them is most of the work for a small model that is not optimized. Where other flags make what is compiled here
useless, the compiler reads the headers themselves.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

HEADERS = ("verilated.h", "algorithm", "cstdint", "cstdio", "cstdlib", "memory", "random", "vector", "string")


def main(folder: Path, command: list[str]) -> None:
    """Run the compiler in the place of this process; what is shared lies in `folder`, which exists."""
    compiler, *flags = command
    if command[-1].endswith(("__ALL.cpp", "/verilator.cpp")) and {"-O0", "-DVM_TRACE=0"} <= set(flags):
        deciding = sorted({flag for flag in flags if flag.startswith(("-I", "-O", "-std", "-DV"))})
        header = folder / f"headers-{zlib.crc32(' '.join(deciding).encode()):08x}.h"
        with header.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not header.with_suffix(".h.gch").exists():
                _precompile(header, [compiler, *deciding])
        command[1:1] = ["-include", str(header)]
    os.execvp(compiler, command)


def _precompile(header: Path, command: list[str]) -> None:
    """Whole files appear at once, or none."""
    with tempfile.TemporaryDirectory(dir=header.parent) as new:
        text, compiled = Path(new) / header.name, Path(new) / "compiled"
        text.write_text("".join(f"#include <{name}>\n" for name in HEADERS), encoding="ascii")
        subprocess.run([*command, "-x", "c++-header", text, "-o", compiled], check=True)
        text.rename(header)
        compiled.rename(header.with_suffix(".h.gch"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
