"""What a deploy folder answers: a program to be run in it by whatever Python, on whatever processor. It prints JSON.

    cd FOLDER && PYTHONPATH=. python inside.py IMAGES OUT

Everything in the output is an integer, a text or a file's pixels: it has to be the same everywhere, to the last bit.
The folder's own modules are used, and nothing besides them but numpy and Pillow.
"""

import contextlib
import hashlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from contract.errors import ImageError
from contract.manifest import save_manifest
from contract.npz import load_npz
from contract.preprocess import load_gray
from driver import __main__ as command_line
from driver.accelerator import Accelerator
from driver.explain import explain
from driver.package import open_package
from driver.reference import Reference
from driver.simulated.core import ReferenceCore
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.stand_in import StandIn

FOLDER = Path()


def digest(values: Any) -> str:
    """A name for an array: type, shape and bytes."""
    return f"{values.dtype.str}{values.shape} {hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()}"


def gray(images: Path) -> dict[str, str]:
    """Every image in its own size, or that it is refused."""
    seen = {}
    for path in sorted(images.iterdir()):
        try:
            seen[path.name] = digest(load_gray(path, height=28, width=28))
        except ImageError as err:
            seen[path.name] = "refused" if str(err).startswith(f"{path.name}: ") else f"misnamed: {err}"
    return seen


def on(accelerator: Accelerator, images: Path) -> dict[str, Any]:
    """All that one device says."""
    golden = load_npz(FOLDER / "golden.npz")
    files = [str(path) for path in sorted(images.iterdir())]
    found = accelerator.infer(files)
    whole = accelerator.infer(golden["pixels"])  # type: ignore[arg-type]
    explained = explain(accelerator, golden["pixels"][3])  # type: ignore[arg-type]
    return {
        "verified": accelerator.verify(),
        "golden": bool((whole.logits == golden["outputs"][:, 0]).all()),
        "logits": {Path(files[i]).name: int(logit) for i, logit in zip(found.index, found.logits, strict=True)},
        "classes": found.classes.tolist(),
        "refused": sorted(Path(files[i]).name for i in found.failures),
        "map": {name: digest(values) for name, values in explained.arrays().items()},
        "types": [str(values.dtype) for values in (found.index, found.logits, found.classes, explained.counts)],
        "expected_cycles": explained.cycles,
    }


def with_a_board(shell: str, images: Path, out: Path) -> dict[str, Any]:
    """The driver on a simulated board: registers, DMA, memory and clock, and the integer reference for the logic."""
    package = open_package(FOLDER)
    hardware = package.manifest.hardware
    assert hardware is not None
    hardware = with_shell(replace(hardware, shell=None, dma={}), shell)
    out.mkdir()
    for name in package.manifest.sha256:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).symlink_to(Path(name).resolve())
    save_manifest(out / "accelerator.json", replace(package.manifest, hardware=hardware))
    device = SimulatedDevice(hardware, ReferenceCore(Reference.load(FOLDER / "reference.npz").outputs, hardware.input))
    with Accelerator(out, "board", runtime=StandIn(device), capacity=7) as accelerator:
        return {**on(accelerator, images), "cycles": None, "loaded": device.downloads}


def call(*arguments: str) -> list[Any]:
    """One call of `python -m driver`: exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_line.main(list(arguments))
    return [code, out.getvalue(), "Traceback" in err.getvalue(), err.getvalue().count("error: ")]


def main(images: Path, out: Path) -> dict[str, Any]:
    """Everything."""
    with Accelerator(FOLDER, "cpu") as accelerator:
        seen: dict[str, Any] = {"gray": gray(images), "cpu": on(accelerator, images)}
    for shell in ("axi_dma", "finn_iodma"):
        seen[shell] = with_a_board(shell, images, out / shell)
    table = out / "answers.csv"
    seen["command"] = [
        call("verify"),
        call("infer", str(images), "--csv", str(table)),
        call("infer", str(images / "none.png")),
        call("verify", "--folder", str(images)),
        call("verify", "--device", "sim"),
        call("verify", "--device", "board"),
    ]
    seen["table"] = table.read_text()
    figures = json.loads(call("bench", "--seconds", "0.01")[1])
    seen["bench"] = [sorted(figures), [sorted(batch) for batch in figures["batches"]]]
    return seen


if __name__ == "__main__":
    print(
        json.dumps({"numpy": np.__version__, "integer": str(np.array(1).dtype), "seen": main(*map(Path, sys.argv[1:]))})
    )
