"""The `finn_iodma` shell: FINN's own ZynqBuild around the design that the local build verified.

Runs where Vivado and Vitis HLS are: in the container that `run.py` starts. It compiles the export again with
the local build's steps and folding, requires the same Verilog byte by byte, lets FINN stitch it from a library with the
local build's edits, verifies with FINN's own verification at zero tolerance, and lets FINN build the bitstream. FINN
reports success too readily: its verification prints FAIL and goes on, its shell scripts hide Vivado's exit code, and
nobody looks at the timing. So everything is checked again here, and the results appear under their name only when all
of it is good.
"""

import argparse
import contextlib
import copy
import errno
import json
import math
import os
import platform
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from contract.errors import ArtifactError, ConfigError, CxrflowError, MismatchError, ToolError
from contract.files import hash_file
from contract.golden import Golden, load_golden
from contract.network import load_network
from contract.record import read_record
from contract.shells import CELLS
from finn_build.build import build
from finn_build.config import BuildConfig
from finn_build.finn_session import finn_session
from finn_build.graph import in_python
from finn_build.portable_rtl import edited_library
from finn_build.records import Built
from finn_build.targets.boards import BOARDS, Board

Say = Callable[[str], None]
DMA = CELLS["finn_iodma"]
POINTS = ("folded_hls_cppsim", "stitched_ip_rtlsim")  # of FINN's verification: its Python model, Vivado's simulation
SLACKS = ("WNS(ns)", "WHS(ns)", "WPWS(ns)")  # setup, hold, pulse width
TOOLS = ("finn-plus", "qonnx", "onnx", "numpy")


def zynq_build(build_dir: Path, export: Path, work: Path, say: Say) -> dict[str, Any]:
    """Build the bitstream of `build_dir` into the new folder `work`/result; return what its bitstream.json holds.

    Args:
        build_dir: a finished local build.
        export: the export folder it was made from.
        work: an existing folder for everything that is made; large.
        say: told what is being done, a line at a time.

    Raises:
        MismatchError: other Verilog than the local build, or a logit differs.
        ToolError: Vivado or Vitis HLS failed, or timing is not met.
        ConfigError: this design can't have this shell.
        ArtifactError: a file of either folder is damaged.
    """
    summary, golden = read_record(build_dir / "build.json", Built), load_golden(export / "golden.npz")
    config = BuildConfig(board=summary.board, clk_ns=summary.clk_ns, folding=build_dir / "folding.json")
    board, local = BOARDS[config.board], work / "local"
    say("compiling the network with the local build's folding")
    build(export, local, config, lambda line: say(f"  {line}"))
    compared = require_same_files(build_dir / "rtl", local / "rtl")
    say(f"{compared} files of RTL equal the local build's")
    model = ModelWrapper(str(max((local / "steps").glob("*_hw_codegen.onnx"))))
    with finn_session(local / "finn"):
        _tell_finn_its_folders(work / "rtllib")
        load_simulator(work / "xsi")
        exact = load_network(export / "reference.npz").exact_in_float32()
        verified = _stitch_and_verify(model, golden, config, board, work, say, exact=exact)
        say("building the bitstream: synthesis, placement, routing")
        with _explained("FINN's ZynqBuild", local / "finn"):
            _finn_steps().step_synthesize_bitfile(verified.model, verified.config)
    return _collect(model, verified.points, compared, config, board, work)


def require_same_files(want: Path, got: Path) -> int:
    """Return how many files two folders hold, each equal. Raises MismatchError naming the first that is not."""
    names = sorted({str(p.relative_to(d)) for d in (want, got) for p in d.rglob("*") if p.is_file()})
    for name in names:
        pair = [(d / name).read_bytes() if (d / name).is_file() else None for d in (want, got)]
        if pair[0] != pair[1]:
            state = "is missing" if None in pair else "differs"
            raise MismatchError(
                f"{name} {state} between {want} and the same network compiled here. The local build is of another "
                "version of cxrflow: run `cxrflow build` and `cxrflow simulate` again."
            )
    return len(names)


def _finn_steps() -> Any:
    from finn.builder import build_dataflow_steps

    return build_dataflow_steps


def _tell_finn_its_folders(rtllib: Path) -> None:
    """Set what FINN's Tcl scripts read from the environment; FINN's own command line does this too.

    FINN stitches the units of its library, so it gets a copy in the new folder `rtllib`, edited as the local build's.
    """
    from finn.util import settings

    edited_library(Path(settings.get_settings().finn_rtllib), rtllib)
    os.environ["FINN_CUSTOM_HLS"] = settings.get_settings().finn_custom_hls
    os.environ["FINN_RTLLIB"] = str(rtllib)
    settings._SETTINGS = None  # FINN reads the variable when it makes its settings anew


def load_simulator(folder: Path) -> None:
    """Compile FINN's binding to Vivado's simulator in the new folder `folder` and load it.

    FINN would compile it among its own files, which belong to another user. Raises ToolError.
    """
    import finn.xsi
    from finn.util import settings

    shutil.copytree(settings.get_settings().finn_xsi, folder)
    os.environ["FINN_XSI"] = str(folder)
    settings._SETTINGS = None  # FINN reads the variable when it makes its settings anew
    if not finn.xsi.is_available():
        raise ToolError(
            f"FINN's binding to Vivado's simulator does not compile or load with {os.environ.get('XILINX_VIVADO')}. "
            "Check that this Vivado has data/xsim/include, and run the same command again."
        )


class _Verified:
    """FINN's stitched graph, its configuration, and what was verified."""

    def __init__(self, model: ModelWrapper, config: Any, points: list[dict[str, Any]]) -> None:
        self.model, self.config, self.points = model, config, points


def _stitch_and_verify(
    model: ModelWrapper, golden: Golden, config: BuildConfig, board: Board, work: Path, say: Say, *, exact: bool
) -> _Verified:
    """Let FINN verify its Python model, where that is `exact`, and the stitched IP."""
    count = min(config.sample, len(golden.outputs))
    finn_config = _finn_config(golden, count, config, board, work / "finn")
    _save_parent(model, Path(finn_config.output_dir) / "intermediate_models")
    points = []
    if exact:
        with _explained("FINN's Python model", work / "local" / "finn"):
            _finn_steps().verify_step(in_python(copy.deepcopy(model)), finn_config, POINTS[0], need_parent=True)
        points.append(require_verified(work / "finn" / "verification_output", POINTS[0], golden, count))
        say(f"{POINTS[0]}: {count} images, 0 differ")
    else:
        say(f"{POINTS[0]}: left out, FINN executes it in float32, which cannot hold every sum of this network")
    say("stitching the IP and simulating it in Vivado")
    with _explained("stitching the IP", work / "local" / "finn"):
        model = _finn_steps().step_create_stitched_ip(model, finn_config)
    points.append(require_verified(work / "finn" / "verification_output", POINTS[1], golden, count))
    say(f"{POINTS[1]}: {count} images, 0 differ")
    return _Verified(model, finn_config, points)


def _finn_config(golden: Golden, count: int, config: BuildConfig, board: Board, out: Path) -> Any:
    """Return FINN's configuration with its verification turned on and every tolerance zero."""
    from finn.builder import build_dataflow_config as finn

    out.mkdir()
    np.save(out / "input.npy", golden.pixels[:count].reshape(count, -1).astype(np.float32))
    np.save(out / "expected_output.npy", golden.outputs[:count].astype(np.float64))
    return finn.DataflowBuildConfig(
        output_dir=str(out),
        synth_clk_period_ns=config.clk_ns,
        board=board.finn_name,
        shell_flow_type=finn.ShellFlowType.VIVADO_ZYNQ,
        generate_outputs=[finn.DataflowOutputType.STITCHED_IP, finn.DataflowOutputType.BITFILE],
        auto_fifo_depths=False,  # the FIFOs are the local build's
        verify_steps=[finn.VerificationStepType(point) for point in POINTS],
        verify_input_npy=str(out / "input.npy"),
        verify_expected_output_npy=str(out / "expected_output.npy"),
        verification_atol=0.0,
        verification_rtol=0.0,
        verification_mean_atol=0.0,
        verification_mean_rtol=0.0,
    )


def _save_parent(model: ModelWrapper, folder: Path) -> None:
    """Write the graph that FINN's verification executes: one node, which stands for the whole accelerator."""
    from finn.transformation.fpgadataflow.create_dataflow_partition import CreateDataflowPartition

    folder.mkdir(parents=True, exist_ok=True)
    parent = copy.deepcopy(model).transform(CreateDataflowPartition(partition_model_dir=str(folder / "partition")))
    parent.save(str(folder / "dataflow_parent.onnx"))


def require_verified(folder: Path, point: str, golden: Golden, count: int) -> dict[str, Any]:
    """Stop unless FINN's verification ran on `count` images and each of its outputs is golden.

    FINN only prints that it failed, and compares floats; its verdicts and its outputs are both looked at.
    """
    for i, want in enumerate(golden.outputs[:count].tolist()):
        outputs = sorted(folder.glob(f"verify_{point}_{i}_*.npy"))
        if len(outputs) != 1:
            raise MismatchError(
                f"{point}: FINN left {len(outputs)} outputs for image {i}, expected one: the verification did not run. "
                "Run the same command again; if it stays, report this build's log."
            )
        got = np.load(outputs[0], allow_pickle=False).reshape(-1)
        if got.tolist() != want or not outputs[0].stem.endswith("_SUCCESS"):
            golden_are = "the golden logit is" if len(want) == 1 else "the golden integers are"
            raise MismatchError(
                f"{point}: image {i} gives {', '.join(f'{v:g}' for v in got[:4])}, {golden_are} "
                f"{', '.join(map(str, want[:4]))}. No bitstream was built. Report this with the run's build folder."
            )
    return {"point": point, "images": count, "differing": 0, "tolerance": 0}


@contextlib.contextmanager
def _explained(doing: str, logs: Path) -> Iterator[None]:
    """Turn whatever FINN raises into one sentence with the first error that Xilinx' tools logged."""
    try:
        yield
    except CxrflowError:
        raise
    except Exception as err:
        if isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ToolError(_explanation(doing, logs, str(err).split("\n")[0] or type(err).__name__)) from err


def _explanation(doing: str, logs: Path, otherwise: str) -> str:
    found = first_error(logs)
    if found is None:
        return f"{doing} failed: {otherwise.rstrip('.')}. The logs are below {logs}."
    log, line = found
    remedy = f"The whole log is {log}."
    if "licen" in line.lower():
        remedy = "Set XILINXD_LICENSE_FILE to your licence file or port@server, and run the same command again."
    elif "no space left" in line.lower():
        remedy = f"Free some space on the disk that holds {logs}, and run the same command again."
    return f"{doing} failed: {line.rstrip('.')}. {remedy}"


def first_error(folder: Path) -> tuple[Path, str] | None:
    """Return the first line that a Xilinx tool logged as an error, and its log; the cause comes before its echoes."""
    for log in sorted(folder.rglob("*.log"), key=lambda path: (path.stat().st_mtime, path)):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("ERROR:") or "No space left on device" in line:
                return log, line.strip()
    return None


def slacks(report: Path) -> dict[str, float]:
    """Return the worst slacks [ns] of Vivado's timing summary, by their names in it. Raises ToolError."""
    lines = report.read_text(encoding="utf-8", errors="replace").splitlines()
    for i, line in enumerate(lines[:-2]):
        if line.split()[:1] != ["WNS(ns)"]:
            continue
        # "TNS Failing Endpoints" is one column of three words.
        names, values = re.split(r"\s{2,}", line.strip()), lines[i + 2].split()
        if len(names) == len(values):
            row = dict(zip(names, values, strict=True))
            with contextlib.suppress(KeyError, ValueError):
                return {name: float(row[name]) for name in SLACKS}
    raise ToolError(f"{report} has no timing summary with {', '.join(SLACKS)}. Run the same command again.")


def _require_timing(report: Path, clk_ns: float) -> dict[str, float]:
    found = slacks(report)
    for name, value in found.items():
        if not value >= 0:
            raise ToolError(
                f"timing is not met: {name} is {value:g}, expected 0 or more, at a clock period of {clk_ns:g} ns. "
                "Make the design smaller with a lower build.target_fps, and build again."
            )
    return found


def _collect(
    model: ModelWrapper,
    points: list[dict[str, Any]],
    compared: int,
    config: BuildConfig,
    board: Board,
    work: Path,
) -> dict[str, Any]:
    """Check what FINN left, and write the folder `result`, whole or not at all."""
    finn, result = work / "finn", work / "result.partial"
    bit, hwh = finn / "bitfile" / "finn-accel.bit", finn / "bitfile" / "finn-accel.hwh"
    projects = [p for p in (work / "local" / "finn").glob("vivado_zynq_proj_*") if first_error(p) is not None]
    if projects:
        raise ToolError(_explanation("FINN's ZynqBuild", projects[0], ""))
    for path in (bit, hwh):
        if not path.is_file() or not path.stat().st_size:
            raise ToolError(_explanation("FINN's ZynqBuild", work / "local" / "finn", f"it left no {path.name}"))
    timing = _require_timing(finn / "report" / "post_route_timing.rpt", config.clk_ns)
    _require_engines(hwh)
    result.mkdir()
    shutil.copyfile(bit, result / "accelerator.bit")
    shutil.copyfile(hwh, result / "accelerator.hwh")
    shutil.copytree(finn / "report", result / "reports")
    head = getCustomOp(model.graph.node[-1])
    width = int(head.get_outstream_width_padded())
    results = math.prod(head.get_folded_output_shape())  # one a beat
    # FINN rounds the last layer's results up to whole bytes, so that no padding hides the sign from the driver.
    assert width == head.get_outstream_width()
    content = {
        "shell": "finn_iodma",
        "board": board.name,
        "part": board.part,
        "clock_mhz": 1e3 / config.clk_ns,
        "dma": DMA,
        "output": {"packed_bytes": results * width // 8, "width_bits": width},
        "timing": timing,
        "verification": points,
        "rtl_files_equal_to_local": compared,
        "resources": _resources(finn / "report" / "post_synth_resources.json"),
        "versions": {
            **{tool: version(tool) for tool in TOOLS},
            "python": platform.python_version(),
            "vivado": Path(os.environ["XILINX_VIVADO"]).as_posix(),
        },
        "sha256": {str(p.relative_to(result)): hash_file(p) for p in sorted(result.rglob("*")) if p.is_file()},
    }
    (result / "bitstream.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    result.rename(work / "result")
    return content


def _resources(path: Path) -> Any:
    """Return what FINN read in Vivado's report. Raises ToolError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise ToolError(f"{path}, which FINN writes, is not readable ({err}). Run the same command again.") from err


def _require_engines(hwh: Path) -> None:
    """Stop unless the block design has the engines by the names that the driver will look for."""
    try:
        found = {module.get("INSTANCE", "") for module in ElementTree.parse(hwh).iter("MODULE")}
    except ElementTree.ParseError as err:
        raise ArtifactError(f"{hwh} is not XML ({err}). Run the same command again.") from err
    missing = sorted(set(DMA.values()) - found)
    if missing:
        raise ArtifactError(
            f"{hwh} describes no {' and no '.join(missing)}, expected FINN's DMA engines. Report this with that file."
        )


def main(arguments: list[str] | None = None) -> int:
    """Run one build; return an exit code that is 0 only if `WORK`/result is there and good.

    A failure that a user can mend is written to `WORK`/failure.json for the host, which prints it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m finn_build.flows.finn_iodma.container", description=zynq_build.__doc__
    )
    for name in ("build", "export", "work"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args(arguments)
    out = sys.stdout  # FINN's session turns standard output off
    try:
        zynq_build(given.build, given.export, given.work, lambda line: print(line, file=out, flush=True))
    except CxrflowError as err:
        return _fail(given.work, err)
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _fail(
            given.work,
            ConfigError(
                f"the disk that holds {given.work} is full ({os.strerror(err.errno)}). "
                "Free some space and run the same command again."
            ),
        )
    return 0


def _fail(work: Path, err: CxrflowError) -> int:
    traceback.print_exc()
    with contextlib.suppress(OSError):  # on a full disk the exit code must do
        (work / "failure.json").write_text(
            json.dumps({"kind": type(err).__name__, "message": str(err)}), encoding="utf-8"
        )
    return err.exit_code


if __name__ == "__main__":
    sys.exit(main())
