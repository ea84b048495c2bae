"""The Python door for a network that was made elsewhere: a Brevitas module, or an ONNX file, becomes a run.

from cxrflow.imported import import_module
run = import_module(net, torch.zeros(1, 1, 28, 28), "mine")
run.make("build"); run.simulate(); run.package()
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrflow.console import Console
from cxrflow.experiment import imported_experiment

if TYPE_CHECKING:
    from cxrflow.stages import Run


def import_file(
    file: Path | str,
    name: str,
    *,
    runs: Path | str = Path("runs"),
    fed: str | None = None,
    scale: float = 1.0,
    samples: Path | str | None = None,
    labels: Path | str | None = None,
    board: str = "pynq-z2",
    target_fps: int = 1000,
) -> "Run":
    """Return the run of an ONNX file, imported and proven, as `cxrflow import` makes it.

    Args:
        file: quantized, QONNX or QCDQ.
        name: of the run.
        runs: folder that holds the runs.
        fed: what is fed: "float", or a name in contract.values.VALUES; None: what the file says.
        scale: the file reads this times the integers that are fed.
        samples: .npz with inputs `x`, (N, ...), to compare on as well.
        labels: .npz with the classes `y`, (N,), of the samples.
        board: to build for.
        target_fps: images per second to build for.

    Raises:
        CxrflowError: the file is refused, or a field is wrong; says which and why.
    """
    from cxrflow.stages import Run

    given = {"file": file, "input": fed, "input_scale": scale, "samples": samples, "labels": labels}
    run = Run(imported_experiment(name, given, {"board": board, "target_fps": target_fps}), Path(runs), Console())
    with run.locked():
        run.make_import()
    return run


def import_module(module: Any, example: Any, name: str, *, runs: Path | str = Path("runs"), **given: Any) -> "Run":
    """Return the run of a Brevitas module; the file that it becomes is `runs`/NAME.onnx, unless it is refused.

    Args:
        module: a torch.nn.Module with Brevitas' quantizers; it is put into eval mode.
        example: a tensor of one input, (1, ...).
        name: of the run.
        runs: folder that holds the runs.
        given: what else `import_file` takes.

    Raises:
        CxrflowError: as `import_file`, or the module cannot be exported.
    """
    from contract.files import write_whole
    from cxrflow.runs import make_folder
    from export.foreign.module import save_module

    imported_experiment(name, {"file": Path(f"{name}.onnx")}, {"target_fps": 1})  # the name, before a file of it
    make_folder(Path(runs), option="runs")
    file = Path(runs) / f"{name}.onnx"
    earlier = file.read_bytes() if file.is_file() else None
    save_module(module, example, file)
    try:
        return import_file(file, name, runs=runs, **given)
    except BaseException:  # a run that was there before still has its file
        if earlier is None:
            file.unlink(missing_ok=True)
        else:
            write_whole(file, earlier)
        raise
