"""Write the deploy folder: everything that a board, a simulated device or a CPU needs to run a trained network.

The folder works wherever it is copied to, without this repository: it brings the driver, the contract, and the
simulator of its own RTL.
"""

import shutil
import tarfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from contract.decision import MEANING, Choice, Decision, integer_threshold, meaning, with_points
from contract.errors import ArtifactError, MismatchError
from contract.files import hash_file, replacing
from contract.golden import load_golden
from contract.likeness import FILE
from contract.manifest import DISCLAIMER, RESULT, SCHEMA, Hardware, Manifest, Stream, save_manifest
from contract.network import Input, IntegerNetwork
from contract.npz import save_npz
from contract.preprocess import describe
from contract.record import Count, Record, Share, Text, Versions, read_record
from cxrflow.c_header import c_header
from cxrflow.experiment import Experiment
from cxrflow.runs import REPOSITORY, git_commit
from cxrflow.stage_table import STAGES
from driver.reference import Reference
from export.records import Exported
from finn_build.licences import write_licences
from finn_build.records import Bitstream, Built, Simulated, Stitched
from qnn.records import Metrics

CODE = (  # what the deploy folder needs of this repository
    "contract/*.py", "contract/images/*.py", "driver/*.py", "driver/simulated/*.py",
    "cxrflow/__init__.py", "cxrflow/serve/*.py", "cxrflow/serve/page/*", "datasets/__init__.py",
    "datasets/codestream.py", "datasets/dicom.py",
)  # fmt: skip
KEPT = (  # of these, only for us here
    "contract/fields.py", "contract/file_tensors.py", "contract/onnx_file.py", "contract/record.py",
    "contract/yaml_text.py",
)  # fmt: skip
TEMPLATES = "cxrflow/deploy"
TEMPLATED = ("*.*", "c/*.c", "c/Makefile")  # and not what somebody compiled there


class Accuracy(Record):
    """The test metrics that people look at first."""

    accuracy: Share | None = None
    auc: Share | None = None


class Provenance(Record):
    """Where a deploy folder came from."""

    network: Text = ""
    data: Text = ""
    git_commit: Text | None = None
    test_metrics: Accuracy = Accuracy()
    golden_images_equal_on_cpu: Count | None = None


class Deployed(Record):
    """accelerator.json as the report reads it; contract.manifest is for who runs it."""

    command = "package"
    provenance: Provenance
    versions: Versions


@dataclass(frozen=True)
class Parts:
    """The folders of the stages that a deploy folder is made of."""

    train: Path | None  # None: an imported network
    export: Path
    build: Path
    sim: Path | None  # None: not simulated
    bitstream: Path | None


def package_run(experiment: Experiment, parts: Parts, out: Path) -> None:
    """Write the new folder `out`.

    Raises:
        MismatchError: the CPU reference does not give the golden logits.
        ArtifactError: a file of a stage is missing or damaged.
    """
    out.mkdir(parents=True)
    for name in ("reference.npz", "golden.npz"):
        shutil.copyfile(parts.export / name, out / name)
    if (parts.export / FILE).is_file():
        shutil.copyfile(parts.export / FILE, out / FILE)
    reference = Reference.load(out / "reference.npz")
    checked = _check_reference(reference, out)
    exported = read_record(parts.export / "export.json", Exported)
    metrics = None if parts.train is None else read_record(parts.train / "metrics.json", Metrics)
    decision = None if metrics is None else _decision(exported, metrics)
    if metrics is not None and isinstance(decision, Choice):
        outputs = load_golden(out / "golden.npz").outputs
        save_npz(out / MEANING, meaning(decision, metrics.class_names, outputs))
    if parts.sim is not None:
        _copy_simulator(parts.sim, parts.build / "rtl", out / "sim")
    if parts.bitstream is not None:
        for name in ("accelerator.bit", "accelerator.hwh"):
            shutil.copyfile(parts.bitstream / name, out / name)
    # What answers are made of. Not the code, which checks it, and not the notebook, which Jupyter saves.
    vouched = {str(p.relative_to(out)): hash_file(p) for p in sorted(out.rglob("*")) if p.is_file()}
    sources = exported, metrics, decision
    manifest = _manifest(experiment, parts, reference.network, vouched, *sources, golden_images=checked)
    save_manifest(out / "accelerator.json", manifest)
    (out / "cxrflow_accel.h").write_text(c_header(manifest), encoding="utf-8")
    copy_code(out)


def shipped_files() -> dict[str, str]:
    """Return which files of this repository every deploy folder holds, and where in it: name here -> name there."""
    code = [str(path.relative_to(REPOSITORY)) for pattern in CODE for path in sorted(REPOSITORY.glob(pattern))]
    home = REPOSITORY / TEMPLATES
    templates = [str(path.relative_to(home)) for pattern in TEMPLATED for path in sorted(home.glob(pattern))]
    return {name: name for name in code if name not in KEPT} | {f"{TEMPLATES}/{name}": name for name in templates}


def copy_code(out: Path) -> None:
    """Copy what every deploy folder holds: the driver and the page, their documents, the licences."""
    for name, place in shipped_files().items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, out / place)
    write_licences(out)


def write_archive(folder: Path) -> Path:
    """Write FOLDER.tar.gz beside `folder`, whole or not at all; return its path."""
    archive = folder.with_name(f"{folder.name}.tar.gz")
    with replacing(archive) as partial, tarfile.open(partial, "w:gz") as tar:
        tar.add(folder, arcname=folder.name, filter=lambda f: None if f.name.endswith("stage.json") else f)
    return archive


def _check_reference(reference: Reference, out: Path) -> int:
    """Run the golden images through the CPU reference; return how many there are. Raises MismatchError."""
    golden = load_golden(out / "golden.npz")
    got = reference.outputs(golden.pixels)
    differing = int(np.count_nonzero((got != golden.outputs).any(axis=1)))
    if differing:
        raise MismatchError(
            f"CPU reference: {differing} of {len(got)} logits differ from the golden ones. "
            "This is a bug: please report it with this run's checkpoint.pt."
        )
    return len(got)


def _copy_simulator(sim: Path, rtl: Path, out: Path) -> None:
    """Copy the compiled RTL and the memory files that it reads."""
    out.mkdir()
    program = sim / "harness"
    if not program.is_file():
        raise ArtifactError(f"{program} is not there. Delete {sim}. Run `cxrflow simulate` again.")
    shutil.copy(program, out / "harness")
    for memory in sorted(rtl.glob("*.dat")):
        shutil.copyfile(memory, out / memory.name)


def _manifest(
    experiment: Experiment,
    parts: Parts,
    network: IntegerNetwork,
    vouched: dict[str, str],
    exported: Exported,
    metrics: Metrics | None,
    decision: Decision | Choice | None,
    *,
    golden_images: int,
) -> Manifest:
    source = network.input
    return Manifest(
        schema=SCHEMA,
        name=experiment.name,
        disclaimer=DISCLAIMER,
        class_names=[] if metrics is None else list(metrics.class_names),
        preprocessing=describe(),
        height=source.height,
        width=source.width,
        channels=source.channels,
        datatype=source.datatype,
        outputs=network.output_size,
        decision=decision,
        hardware=_hardware(source, parts),
        sha256=vouched,
        versions={tool: version(tool) for tool in STAGES["package"].tools},
        provenance={
            "run": experiment.name,
            "network": exported.network,
            "activations": [layer.activation for layer, _ in network.products()],
            "git_commit": git_commit(),
            **_origin(exported, metrics),
            "golden_images_equal_on_cpu": golden_images,
        },
        rule=exported.rule,
        head=exported.head,
        fed_shape=None if exported.imported is None else exported.imported.shape,
    )


def _origin(exported: Exported, metrics: Metrics | None) -> dict[str, Any]:
    """Return where the network and what is known of it came from."""
    if metrics is not None:
        test = {} if metrics.test is None else metrics.test.model_dump(mode="json", exclude_unset=True)
        return {"data": metrics.source, "data_fingerprint": metrics.fingerprint, "test_metrics": test}
    if exported.imported is None:
        raise ArtifactError("export.json names no imported file, and there is no training. Import or train it again.")
    labels = exported.imported.labels
    measured = {} if labels is None else {"accuracy": labels.correct / max(1, labels.images)}
    return {"data": exported.imported.file, "file_sha256": exported.imported.sha256, "test_metrics": measured}


def _decision(exported: Exported, metrics: Metrics) -> Decision | Choice:
    if exported.choice is not None:
        if metrics.one_class is None:
            return exported.choice
        return with_points(exported.choice, metrics.class_names.index(metrics.one_class), metrics.operating_points)
    scale, offset, threshold = exported.scale, exported.offset, exported.threshold
    if scale is None or offset is None or threshold is None:
        raise ArtifactError("export.json has no scale, offset or threshold, expected those of a logit. Export again.")
    return Decision(
        scale=scale,
        offset=offset,
        threshold=threshold,
        rule=metrics.operating_point_rule,
        operating_points={
            rule: integer_threshold(point, scale, offset) for rule, point in metrics.operating_points.items()
        },
    )


def _hardware(image: Input, parts: Parts) -> Hardware | None:
    """Describe the verified RTL; None where there is none."""
    if parts.sim is None:
        return None
    built, sim = read_record(parts.build / "build.json", Built), read_record(parts.sim / "sim.json", Simulated)
    design = read_record(parts.build / "rtl" / "design.json", Stitched)
    bitstream = Bitstream(dma={})
    if parts.bitstream is not None:
        bitstream = read_record(parts.bitstream / "bitstream.json", Bitstream)
    source, sink = design.input, design.output
    packed_bytes, width_bits = sink.beats * sink.bits // 8, sink.bits
    if bitstream.output is not None:  # FINN's own shell ends in the last layer's width
        packed_bytes, width_bits = bitstream.output.packed_bytes, bitstream.output.width_bits
    return Hardware(
        shell=bitstream.shell,
        board=built.board,
        part=built.part,
        clock_mhz=sim.clock_mhz,
        input=Stream(
            shape=list(image.shape),
            datatype=source.datatype,
            folded_shape=[source.beats, source.pixels_per_beat],
            packed_bytes=source.beats * source.bits // 8,
            width_bits=source.bits,
        ),
        output=Stream(
            shape=[sink.beats],
            datatype=RESULT,
            folded_shape=[sink.beats, 1],
            packed_bytes=packed_bytes,
            width_bits=width_bits,
        ),
        dma=bitstream.dma,
        cycles_per_image=round(sim.cycles_per_image),
    )
