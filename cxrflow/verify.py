"""Hold every stage of a run, or of a deploy folder, against the golden integers again, without any training.

A check ends in one of three ways: passed, failed, or not run, and then it says what is missing. Not run is not passed:
whoever depends on a check names it with `require`. Each check compares with golden.npz by itself, so one fault fails
the stage that it is in, and those behind it that hold the same fault.

What a folder holds is compared, and is run where that is the stage: its simulator and its driver are programs. Of a
stranger's deploy folder that is the same trust as running its driver asks for.
"""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError, ConfigError, CxrflowError, MismatchError, ToolError
from contract.files import hash_file, output, read_text
from contract.golden import Golden, load_golden, load_labelled
from contract.network import Dense, IntegerNetwork, load_network
from contract.scratch import scratch
from contract.table import shown
from cxrflow.runs import MISMATCH, require_layout, require_stage, writing
from driver.accelerator import TIMEOUT_S, Accelerator, board_missing
from driver.link import BITSTREAM
from driver.package import open_package
from driver.reference import Reference

if TYPE_CHECKING:
    from cxrflow.stages import Run
    from finn_build.simulate import Share
    from finn_build.stitch import Design

PASSED, FAILED, NOT_RUN = "passed", "FAILED", "not run"
GATES = "gates"
LEAD = 8  # images before the first that differs, that a waveform with random stalls may begin with
DRIVER_S = 60


class NotRunError(Exception):
    """A check cannot be made on this machine, or of this folder; says what is missing."""


@dataclass(frozen=True)
class Outcome:
    """One line: how a check ended."""

    stage: str
    result: str  # PASSED, FAILED or NOT_RUN
    said: str
    seconds: float
    exit_code: int = 0
    detail: str = ""  # of a bug of ours: its traceback


Check = tuple[str, Callable[[], str]]  # name, and what compares; raises CxrflowError or NotRunError


def verify(checks: Sequence[Check], *, require: Sequence[str] = ()) -> Iterator[Outcome]:
    """Make the checks one after the other, and yield each one's outcome; all are made, whatever fails.

    Args:
        checks: of `run_checks` or `deploy_checks`.
        require: names of checks that fail where they cannot be run.

    Raises:
        ConfigError: `require` names no check of these.
    """
    names = [name for name, _ in checks]
    if unknown := [name for name in require if name not in names]:
        raise ConfigError(f"--require is {shown(unknown[0])[:60]}, expected one of {', '.join(names)}.")
    for name, work in checks:
        start = time.perf_counter()
        try:
            result, said, code, detail = PASSED, work(), 0, ""
        except NotRunError as why:
            needed = name in require
            result, said, code = (FAILED if needed else NOT_RUN), f"{why}", 2 if needed else 0
            said, detail = (f"--require {name}, but {said}" if needed else said), ""
        except CxrflowError as err:
            result, said, code, detail = FAILED, str(err), err.exit_code, ""
        except Exception as err:  # one stage must not hide the others; what it was is in the report
            result, code, detail = FAILED, 1, traceback.format_exc()
            said = f"{type(err).__name__}: {' '.join(str(err).split())[:300]}. This is a bug: please report it."
        yield Outcome(name, result, said, time.perf_counter() - start, code, detail)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 1 where integers differ, else the code of the first failure; 2 where nothing at all could be compared."""
    failed = [one.exit_code for one in outcomes if one.result == FAILED]
    if failed:
        return 1 if 1 in failed else failed[0]
    return 0 if any(one.result == PASSED for one in outcomes) else 2


def write_junit(path: Path, name: str, outcomes: Sequence[Outcome]) -> None:
    """Write the outcomes as JUnit's XML, whole or not at all. Raises ConfigError."""
    counts = {
        "tests": len(outcomes),
        "failures": sum(one.result == FAILED and not one.detail for one in outcomes),
        "errors": sum(bool(one.detail) for one in outcomes),
        "skipped": sum(one.result == NOT_RUN for one in outcomes),
    }
    attributes = {"name": f"cxrflow verify {_xml(name)}", "time": f"{sum(one.seconds for one in outcomes):.3f}"}
    suite = ElementTree.Element("testsuite", attributes | {key: str(count) for key, count in counts.items()})
    for one in outcomes:
        case = ElementTree.SubElement(suite, "testcase", classname="cxrflow.verify", name=one.stage)
        case.set("time", f"{one.seconds:.3f}")
        if one.result == PASSED:
            ElementTree.SubElement(case, "system-out").text = _xml(one.said)
        else:
            kind = "skipped" if one.result == NOT_RUN else "error" if one.detail else "failure"
            ElementTree.SubElement(case, kind, message=_xml(one.said)).text = _xml(one.detail or one.said)
    ElementTree.indent(suite)
    with output(path, parents=True, option="--junit") as partial:
        ElementTree.ElementTree(suite).write(partial, encoding="utf-8", xml_declaration=True)


def _xml(text: str) -> str:
    """Return a text with escapes for what XML 1.0 cannot hold, which names of files can; lines stay lines."""
    return "\n".join(map(shown, text.split("\n")))


def deploy_checks(folder: Path) -> list[Check]:
    """Return the checks of a deploy folder, which need nothing but itself."""
    checked = _Deploy(folder)
    return [
        ("deploy/files", checked.files),
        ("deploy/driver", checked.own_driver),
        ("deploy/cpu", lambda: checked.on("cpu")),
        ("deploy/sim", checked.simulated),
        ("deploy/board", checked.board),
    ]


def run_checks(run: "Run", *, keep: Path, gates: bool, work: Path) -> list[Check]:
    """Return the checks of a run, in the order of the chain.

    Args:
        run: whose folder is held.
        keep: folder for what shows a difference: tensors and waveform. Made only where there is one.
        gates: also synthesise the design and simulate the netlist.
        work: an empty folder for simulators.
    """
    checked = _RunChecks(run, keep, work)
    front: list[Check] = [("import", checked.imported)] if run.imported else [
        ("train", checked.brevitas), ("export", checked.qonnx)
    ]  # fmt: skip
    return [
        ("golden", checked.golden_vectors),
        *front,
        ("integers", checked.integers),
        ("cpu", checked.cpu),
        ("build/hardware_graph", lambda: checked.graph("hardware_graph")),
        ("build/fold", lambda: checked.graph("fold")),
        ("simulate", lambda: checked.rtl(stalls=False)),
        ("simulate/stalls", lambda: checked.rtl(stalls=True)),
        (GATES, lambda: checked.gates(wanted=gates)),
        ("ip", checked.ip),
        *((name, checked.packaged(work)) for name, work in deploy_checks(run.place("package"))),
    ]


class _Deploy:
    """A deploy folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> str:
        return f"{len(open_package(self.folder).manifest.sha256)} files are those that accelerator.json names"

    def own_driver(self) -> str:
        """Let the code of the folder say it, too: people run that, and no hash of accelerator.json is about it."""
        from finn_build import child

        if missing := [name for name in ("contract", "driver") if not (self.folder / name).is_dir()]:
            raise ArtifactError(f"{self.folder} has no folder {missing[0]!r}. Run `cxrflow package` again.")
        command = [sys.executable, "-B", "-m", "driver", "verify", "--device", "cpu"]
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        pipe = subprocess.PIPE
        with child.running(command, cwd=self.folder, env=alone, stdout=pipe, stderr=pipe, errors="replace") as process:
            try:
                out, err = process.communicate(timeout=DRIVER_S)
            except subprocess.TimeoutExpired as late:
                raise ToolError(f"the folder's own driver has not ended after {DRIVER_S} s.") from late
        said = shown((out + err).strip().rpartition("\n")[2])[:300]
        if process.returncode:
            error = MismatchError if process.returncode == MismatchError.exit_code else ArtifactError
            raise error(f"the folder's own driver fails: {said or process.returncode}. Run `cxrflow package` again.")
        return f"its own code: {said}"

    def on(self, device: str) -> str:
        with Accelerator(self.folder, device, timeout_s=TIMEOUT_S) as accelerator:
            return f"all integers of {accelerator.verify()} golden images are equal"

    def simulated(self) -> str:
        package = open_package(self.folder)
        if package.manifest.hardware is None or package.path("sim/harness") is None:
            raise NotRunError("the folder holds no simulator: `cxrflow simulate`, then `cxrflow package`")
        try:
            return self.on("sim")
        except ToolError as err:
            if isinstance(err.__cause__, OSError) and err.__cause__.errno == errno.ENOEXEC:
                raise NotRunError("its simulator is a program for another kind of processor") from err
            raise

    def board(self) -> str:
        try:
            why = board_missing(open_package(self.folder))
        except ArtifactError as err:
            if not (self.folder / BITSTREAM).exists():
                raise NotRunError("the folder has no bitstream") from err
            raise
        if why is not None:
            raise NotRunError(why)
        return self.on("board")


class _RunChecks:
    """A run folder. A method per check; each returns what was compared."""

    def __init__(self, run: "Run", keep: Path, work: Path) -> None:
        self.run, self.keep, self.work = run, keep, work
        self.front = "import" if run.imported else "export"

    def golden_vectors(self) -> str:
        shape, integers = self.golden.pixels.shape, self.golden.outputs.shape[1]
        return f"{shape[0]} images of {' x '.join(map(str, shape[1:]))}, {integers} integer(s) each"

    def brevitas(self) -> str:
        self._require("train")
        if self.run.experiment.export.factor_bits is not None:
            raise NotRunError(
                "'export.factor_bits' moved gains on validation images, so only `cxrflow export` repeats it"
            )
        from export.export import compare_network
        from export.integer_network import canonical
        from qnn.checkpoint import load_checkpoint

        golden = self._golden()
        file = self.run.place("train") / "checkpoint.pt"
        net = canonical(load_checkpoint(file, expected=self.run.experiment.network).net)
        return self._equal(compare_network(net, golden.pixels, golden.outputs)["images"], "Brevitas in float64")

    def qonnx(self) -> str:
        from export.export import compare_file
        from finn_build.witness import load_onnx

        file, golden = self.run.place(self.front) / "model.onnx", self._golden()
        load_onnx(file, dense=all(isinstance(layer, Dense) for layer in self.network.layers))
        return self._equal(compare_file(file, golden.pixels, golden.outputs)["images"], "QONNX in float64")

    def imported(self) -> str:
        from contract.onnx_file import load_onnx
        from export.foreign.graph import read_graph
        from export.foreign.layers import to_integers
        from export.foreign.proof import prove

        config, golden = self.run.experiment.model, self._golden()
        assert config is not None
        model = load_onnx(self.run.place("import") / "imported.onnx", advice="Import it again.")
        with np.errstate(all="ignore"):
            chain = read_graph(model)
            found = to_integers(chain, config.input, config.input_scale)
        proof = prove(model, chain, found, scale=config.input_scale, samples=None)
        self._compare(found.network.outputs(golden.pixels)[-1], "import")
        return f"{self._equal(len(golden.outputs), 'the file, in integers')}; proven on {len(proof.fed)} inputs"

    def integers(self) -> str:
        golden = self._golden()
        self._compare(self.network.outputs(golden.pixels)[-1], "integers")
        return self._equal(len(golden.outputs), "reference.npz")

    def cpu(self) -> str:
        golden = self._golden()
        reference = Reference.load(self.run.place(self.front) / "reference.npz")
        self._compare(reference.outputs(golden.pixels), "cpu")
        return self._equal(len(golden.outputs), "the CPU reference of the deploy folder")

    def graph(self, step: str) -> str:
        self._require("build")
        from qonnx.core.modelwrapper import ModelWrapper

        from contract.onnx_file import load_onnx
        from finn_build import diagnose
        from finn_build.finn_session import finn_session
        from finn_build.graph import execute
        from finn_build.ops import OPS
        from finn_build.ops.op import DOMAIN

        files = sorted(self.run.place("build").glob(f"steps/??_{step}.onnx"))
        if len(files) != 1:
            raise ArtifactError(f"{self.run.place('build') / 'steps'} holds {len(files)} graphs {step}, expected one.")
        golden, file = self._golden(), load_onnx(files[0], advice="Run `cxrflow build` again.")
        # Others of FINN's nodes run the program that an attribute names, and qonnx imports a domain as a module.
        ours = {(DOMAIN, kind) for kind in OPS}
        if foreign := sorted({f"{n.domain}.{n.op_type}" for n in file.graph.node if (n.domain, n.op_type) not in ours}):
            raise ArtifactError(
                f"{files[0]} holds {', '.join(foreign)[:200]}, expected nodes of cxrflow's designs only."
            )
        with finn_session(self.work / "finn"):
            model = ModelWrapper(file)
            try:
                got = execute(model, golden.pixels)
            except Exception as err:  # FINN's and qonnx's nodes raise anything
                why = " ".join(str(err).split())[:200] or type(err).__name__
                raise ArtifactError(f"{files[0]} cannot be executed ({why}). Run `cxrflow build` again.") from err
            if got.shape != golden.outputs.shape or not np.array_equal(got, golden.outputs):
                self._require_shape(got, step)
                image = golden.pixels[diagnose.first_wrong_image(got, golden.outputs)]
                found = diagnose.graph_activations(model, image)
                with self._kept(f"build-{step}") as folder:
                    layer = diagnose.name_first_wrong_layer(found, self.network, image, folder)
                    self._compare(got, f"build/{step}", layer)
        return self._equal(
            len(golden.outputs), "the graph that becomes RTL" if step == "fold" else "the graph of nodes"
        )

    def rtl(self, *, stalls: bool) -> str:
        from finn_build.simulate import Share, simulating, stalled_shares
        from finn_build.verify import require_rtl_equal

        stage = "RTL with random stalls" if stalls else "RTL"
        rtl, design, harness = self.simulator
        golden = self._golden()
        images = len(golden.outputs)
        shares = stalled_shares(images) if stalls else [Share(0, images, stall_seed=None)]
        results = []
        with simulating(harness, rtl, design, golden.pixels, shares) as simulations:
            for share, ended in zip(shares, simulations, strict=True):
                try:
                    results.append(ended(None))
                except MismatchError as err:  # it stops, or its results are not where they should be
                    raise self._with_wave(err, share.first, share) from err
        outputs = np.concatenate([result.outputs for result in results])
        if np.array_equal(outputs, golden.outputs):
            cycles = sum(result.cycles for result in results)
            return self._equal(images, f"{stage} in Verilator, {cycles:,} cycles")
        first = int(np.argwhere(outputs != golden.outputs)[0][0])
        where = self.work / "differs"
        try:
            require_rtl_equal(outputs, golden, self.network, rtl, design, where, stage=stage)
        except MismatchError as err:
            raise self._with_wave(err, first, next(share for share in shares if first < share.end)) from err
        raise AssertionError("they differ")

    def gates(self, *, wanted: bool) -> str:
        self._require("build")
        if not wanted:
            raise NotRunError("synthesis of the whole design takes minutes: give --gates")
        from finn_build import diagnose
        from finn_build.gates import GATE_IMAGES, simulate_gates
        from finn_build.stitch import load_design
        from finn_build.synth import tool_version
        from finn_build.targets.boards import BOARDS

        self._require_tools()
        try:
            tool_version()
        except ToolError as err:
            raise NotRunError(str(err)) from err
        rtl, golden = self.run.place("build") / "rtl", self._golden()
        pixels, family = golden.pixels[:GATE_IMAGES], BOARDS[self.run.board].yosys_family
        _, result = simulate_gates(rtl, load_design(rtl), pixels, family=family, scratch=self.work / "gates")
        diagnose.require_equal(result.outputs, golden.outputs[:GATE_IMAGES], stage=GATES)
        return self._equal(len(pixels), "Yosys' netlist in Verilator")

    def ip(self) -> str:
        self._require("ip")
        self._golden()
        from finn_build.ip.folder import write_ip

        place, again = self.run.place("ip"), self.work / "ip"
        golden = self.run.place(self.front) / "golden.npz"
        write_ip(self.run.place("build"), golden, again, name=self.run.experiment.name)
        files = [path for pattern in ("hdl/*", "sim/*.hex") for path in sorted(again.glob(pattern))]
        for path in files:
            name = path.relative_to(again)
            if not (place / name).is_file() or hash_file(place / name) != hash_file(path):
                raise MismatchError(f"{place / name} is not what the build gives. Run `cxrflow ip` again.")
        return f"{len(files)} files of RTL and golden vectors are those of the build"

    def packaged(self, work: Callable[[], str]) -> Callable[[], str]:
        """Return a check of the deploy folder, which must be that of this run."""

        def check() -> str:
            self._require("package")
            place, front = self.run.place("package"), self.run.place(self.front)
            for name in ("golden.npz", "reference.npz"):
                if hash_file(place / name) != hash_file(front / name):
                    raise MismatchError(f"{place / name} is not {front / name}. Run `cxrflow package` again.")
            return work()

        return check

    @cached_property
    def golden(self) -> Golden:
        self._require(self.front)
        file = self.run.place(self.front) / "golden.npz"
        golden = load_golden(file) if self.run.imported else load_labelled(file)
        source = self.network.input
        if not source.fits(golden.pixels) or golden.outputs.shape[1] != self.network.output_size:
            raise ArtifactError(
                f"{file} has images {golden.pixels.dtype}{golden.pixels.shape} and integers {golden.outputs.shape}, "
                f"reference.npz is for {source} and {self.network.output_size} integers each. Export the run again."
            )
        return golden

    def _golden(self) -> Golden:
        """Return the golden images, for all checks but their own, which says what is wrong with them."""
        try:
            return self.golden
        except CxrflowError as err:
            raise NotRunError("there are no golden integers to compare with") from err

    @cached_property
    def network(self) -> IntegerNetwork:
        return load_network(self.run.place(self.front) / "reference.npz")

    @cached_property
    def simulator(self) -> "tuple[Path, Design, Path]":
        """The folder of the RTL, the design, and the program that simulates it, compiled of that RTL here and now."""
        self._require("build")
        self._require_tools()
        from finn_build.verify import compile_simulator

        build, images = self.run.place("build"), len(self._golden().outputs)
        try:
            return build / "rtl", *compile_simulator(build, images, self.work / "verilator")
        except ToolError as err:
            log = self.work / "verilator" / "verilator.log"
            if not log.is_file():
                raise
            with self._kept("simulate") as folder:
                shutil.copyfile(log, folder / log.name)
            raise ToolError(str(err).replace(str(log), str(folder / log.name))) from err

    def _require_tools(self) -> None:
        from finn_build.simulate import missing_tools

        if missing := missing_tools():
            raise NotRunError(f"simulation needs {', '.join(missing)}, not found on this machine; see `cxrflow doctor`")

    def _require(self, stage: str) -> None:
        """Stop unless a stage is there, as it was made, and not of an earlier one."""
        row, folder = self.run.stages[stage], self.run.place(stage)
        if not folder.exists():
            failed = folder.with_name(f"{folder.name}.failed")
            if failed.is_dir():
                said = read_text(failed / MISMATCH, advice="") if (failed / MISMATCH).is_file() else ""
                raise MismatchError(
                    f"{failed} is all there is: integers differed when it was made. {said[:1000]}".strip()
                )
            raise NotRunError(f"not made: `cxrflow {row.command}`")
        if stage == "build":
            require_layout(self.run.folder, self.run.board)
        sections = self.run.experiment.sections(*row.sections)
        require_stage(self.run.folder, self.run.board, stage, sections, self.run.stages)

    def _compare(self, got: NDArray[Any], stage: str, more: str = "") -> None:
        from finn_build.diagnose import require_equal

        self._require_shape(got, stage)
        try:
            require_equal(got, self.golden.outputs, stage=stage)
        except MismatchError as err:
            raise MismatchError(f"{err} {more}".strip()) from None

    def _require_shape(self, got: NDArray[Any], stage: str) -> None:
        if got.shape != self.golden.outputs.shape:
            raise MismatchError(f"{stage}: it gives integers {got.shape}, expected {self.golden.outputs.shape}.")

    def _equal(self, images: int, what: str) -> str:
        return f"{what}: {images} images equal"

    def _with_wave(self, err: MismatchError, first: int, share: "Share") -> MismatchError:
        """Keep the tensors of a difference and write its waveform; return the error that says where they are.

        Args:
            err: what was found.
            first: the first image that differs.
            share: of the simulation. Which pauses come depends on all its images before; without any, one is enough.
        """
        from finn_build.verify import WAVE_IMAGES, write_wave
        from finn_build.wave_view import view_files, write_views

        rtl, design, _ = self.simulator
        stalled = share.stall_seed is not None
        begin = share.first if stalled and first - share.first < LEAD else max(share.first, first - 1)
        pixels = self.golden.pixels[begin : max(first + 1, begin + WAVE_IMAGES)]
        mismatch = self.work / "differs" / "mismatch"
        with self._kept("simulate-stalls" if stalled else "simulate") as folder:
            text = str(err).replace(str(mismatch), str(folder))
            if mismatch.is_dir():
                shutil.copytree(mismatch, folder, dirs_exist_ok=True)
            wave = folder / "first_difference.fst"
            with output(wave, option="--artifacts") as partial:
                write_wave(rtl, design, pixels, partial, self.work / "wave", stall_seed=share.stall_seed)
            write_views(wave, design, option="--artifacts")
        shutil.rmtree(self.work / "differs", ignore_errors=True)
        last = begin + len(pixels) - 1
        return MismatchError(f"{text} Waveform of images {begin} to {last}: `gtkwave {view_files(wave)[0]}`.")

    @contextlib.contextmanager
    def _kept(self, name: str) -> Iterator[Path]:
        """Hand out a folder for what shows a difference."""
        folder = self.keep / name
        with writing(folder, option="--artifacts"):
            folder.mkdir(parents=True, exist_ok=True)
            yield folder


@contextlib.contextmanager
def checks_of(folder: Path, *, keep: Path, gates: bool = False) -> Iterator[list[Check]]:
    """Hand out the checks of a folder, whatever it is; what they need is removed afterwards.

    Raises:
        ConfigError: it is neither a run nor a deploy folder.
    """
    if (folder / "accelerator.json").exists():
        yield deploy_checks(folder)
        return
    if not (folder / "experiment.yaml").is_file():
        what = (
            "is an archive: unpack it first"
            if folder.is_file()
            else "has no experiment.yaml and no accelerator.json"
            if folder.exists()
            else "is not there"
        )
        raise ConfigError(f"{folder} {what}, expected a run or a deploy folder. Give one, such as runs/demo.")
    from cxrflow.console import Console
    from cxrflow.experiment import load_experiment
    from cxrflow.stages import Run

    experiment = load_experiment(folder / "experiment.yaml", name=folder.resolve().name)
    run = Run(experiment, folder.resolve().parent, Console())
    with run.locked(), scratch("verify") as work:
        yield run_checks(run, keep=keep, gates=gates, work=work)
