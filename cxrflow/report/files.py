"""What the report reads of a run's files. A field of another type, or out of range, is an error in one sentence.

Runs are copied between machines and people, so a file may say anything: nothing here is believed before it was checked,
and texts are only ever shown escaped.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contract.errors import ArtifactError
from contract.npz import load_npz

MAX_BYTES = 4 << 20  # of one text file; those of the stages have a few kB
Text = Annotated[str, Field(max_length=300)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
Share = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Positive = Annotated[float, Field(allow_inf_nan=False, gt=0, le=1e12)]
Interval = tuple[Share, Share]
Versions = Annotated[dict[Text, Text], Field(max_length=100)]
MAX_SIDE = 256  # of an image that is shown [pixels]
T = TypeVar("T", bound=BaseModel)


class _File(BaseModel):
    """Part of a JSON file; what the report does not show is not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Point(_File):
    """The classifier at one threshold. None: a class is absent."""

    threshold: Number
    accuracy: Share
    balanced_accuracy: Share | None = None
    sensitivity: Share | None = None
    specificity: Share | None = None
    f1: Share | None = None


class Measured(Point):
    """Metrics of one split at the chosen threshold."""

    n: Count
    tn: Count
    fp: Count
    fn: Count
    tp: Count
    auc: Share | None = None
    sensitivity_bacteria: Share | None = None
    sensitivity_virus: Share | None = None
    ece: Share
    intervals: Annotated[dict[Text, Interval], Field(max_length=20)] = {}
    operating_points: Annotated[dict[Text, Point], Field(max_length=20)] = {}


class Calibration(_File):
    """Platt scaling."""

    slope: Number
    intercept: Number
    validation_ece_before: Share
    validation_ece: Share


class MadeFrom(_File):
    """Where a training came from."""

    git_commit: Text | None = None


class Metrics(_File):
    """train/metrics.json."""

    network: Text
    source: Text
    fingerprint: Text
    operating_point_rule: Text
    calibration: Calibration | None = None
    validation: Measured
    test: Measured
    best_epoch: Count
    epochs_trained: Count
    seconds: Number
    counts: Annotated[dict[Text, dict[Text, Count]], Field(min_length=1, max_length=5)]
    made_from: MadeFrom = MadeFrom()
    versions: Versions = {}


class Difference(_File):
    """The first image on which a stage differs from the golden logits."""

    image: Count
    got: Number
    want: Number


# Stages that are counted for information: float32 cannot hold every sum, and FINN computes thresholds in it.
WITNESSES = ("qonnx_float32", "qonnx_to_finn", "streamline")


class Link(_File):
    """One link of the chain of equality. A stage that cannot be executed in Python has no images."""

    stage: Text
    images: Count
    differing: Count | None = None
    first_difference: Difference | None = None
    note: Text = ""  # why it was not executed


Chain = Annotated[list[Link], Field(max_length=100)]


class ExportedLayer(_File):
    """The size of one weight layer."""

    inputs: Count
    outputs: Count


class Exported(_File):
    """export/export.json."""

    chain: Chain
    layers: Annotated[list[ExportedLayer], Field(max_length=100)]


class Built(_File):
    """build/BOARD/build.json."""

    part: Text
    clk_ns: Positive
    chain: Chain
    hls_nodes: Annotated[list[Text], Field(max_length=100)]


class EstimatedLayer(_File):
    """One layer before any RTL; FINN's formulas, or ours for our layers."""

    name: Text
    cycles: Count
    LUT: Number
    BRAM_18K: Number
    DSP: Number


class Estimates(_File):
    """build/BOARD/estimates.json."""

    cycles_per_image: Count
    images_per_s: Number
    layers: Annotated[list[EstimatedLayer], Field(min_length=1, max_length=100)]


class Folded(_File):
    """The folding of one layer, as far as it has one."""

    PE: Count | None = None
    SIMD: Count | None = None


class Folding(_File):
    """build/BOARD/folding.json, by layer."""

    layers: Annotated[dict[Text, Folded], Field(max_length=100)]

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, content: Any) -> Any:
        return {"layers": content}


class Node(_File):
    """One node of the stitched design."""

    name: Text
    op_type: Text
    in_bits: Count
    out_bits: Count


class Design(_File):
    """build/BOARD/rtl/design.json."""

    nodes: Annotated[list[Node], Field(min_length=1, max_length=300)]


class SimulatedLayer(_File):
    """How a layer spent the simulated cycles."""

    name: Text
    busy: Share
    waits_for_input: Share
    waits_for_output: Share


class SimulatedFifo(_File):
    """A FIFO and the most beats it ever held."""

    name: Text
    depth: Count
    peak: Count


class FirstImages(_File):
    """Cycles of the first and the last beat of each of the first images on one stream."""

    into: Text  # the node that the stream enters; "output" behind the last one
    images: Annotated[list[tuple[Count, Count]], Field(max_length=10)]


class Simulated(_File):
    """build/BOARD/sim/sim.json."""

    images: Count
    differing: Count
    images_with_random_stalls: Count
    clock_mhz: Positive
    cycles: Count
    initiation_interval: Number | None  # of one image there is none
    images_per_s: Number | None
    estimated_interval: Count
    first_latency_cycles: Count
    first_latency_us: Number
    simulated_cycles_per_s: Number
    layers: Annotated[list[SimulatedLayer], Field(max_length=100)]
    slowest_layer: Text
    fifos: Annotated[list[SimulatedFifo], Field(max_length=100)]
    remarks: Annotated[list[Text], Field(max_length=100)] = []
    timeline: Annotated[list[FirstImages], Field(max_length=301)] = []

    @model_validator(mode="before")
    @classmethod
    def _without_nan(cls, content: Any) -> Any:
        """Python's JSON has NaN, which is what one image alone has for an interval."""
        if not isinstance(content, dict):
            return content
        return {key: None if isinstance(v, float) and v != v else v for key, v in content.items()}


class Synthesised(_File):
    """What Yosys counted, of one node or in all."""

    name: Text = ""
    lut: Count
    ff: Count
    bram18_equivalents: Count
    dsp: Count


class Synthesis(_File):
    """build/BOARD/synth/synth.json."""

    tool: Text
    version: Text
    layers: Annotated[list[Synthesised], Field(max_length=300)]
    total: Synthesised


class Gates(_File):
    """build/BOARD/gates/gates.json."""

    images: Count
    differing: Count


class RoutedLayer(_File):
    """What Vivado counted, of one node or in all."""

    name: Text = ""
    LUT: Count
    FF: Count
    BRAM_18K: Count
    DSP: Count


class Power(_File):
    """Vivado's estimate."""

    total_w: Number


class Routed(_File):
    """bitstream.json, or Vivado's synth.json."""

    vivado: Text
    clock_mhz: Positive
    wns_ns: Number
    fmax_mhz: Number
    power: Power
    used: RoutedLayer
    accelerator: RoutedLayer | None = None
    layers: Annotated[list[RoutedLayer], Field(max_length=300)]


class Provenance(_File):
    """Where a deploy folder came from."""

    git_commit: Text | None = None
    golden_images_equal_on_cpu: Count | None = None


class Deployed(_File):
    """accelerator.json."""

    provenance: Provenance
    versions: Versions = {}


@dataclass(frozen=True)
class Golden:
    """Test images and what the integers say about them; N of them."""

    pixels: NDArray[np.uint8]  # (N, H, W)
    logits: NDArray[np.int64]  # (N,)
    probability: NDArray[np.float64]  # (N,) of pneumonia, calibrated
    labels: NDArray[np.int64]  # (N,) 0 or 1


@dataclass(frozen=True)
class Epoch:
    """One row of history.csv."""

    epoch: float
    train_loss: float
    val_loss: float
    val_auc: float
    val_auc_aug: float

    @classmethod
    def of(cls, row: dict[str, str]) -> Self:
        """Read the texts of one row. Raises ValueError, KeyError or TypeError."""
        values = {name: float(row[name]) for name in cls.__dataclass_fields__}
        if not np.isfinite(list(values.values())).all():
            raise ValueError("a value is not finite")
        return cls(**values)


def read_json(path: Path, model: type[T]) -> T:
    """Return a JSON file as `model`. Raises ArtifactError."""
    try:
        return model.model_validate_json(read_text(path))
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise _damaged(path, f"'{where}': {first['msg'].rstrip('.')[:200]}") from err
    except (ValueError, RecursionError) as err:
        raise _damaged(path, str(err)[:200]) from err


def read_history(path: Path) -> list[Epoch]:
    """Return history.csv. Raises ArtifactError."""
    try:
        return [Epoch.of(row) for row in csv.DictReader(read_text(path).splitlines())]
    except (ValueError, KeyError, TypeError, csv.Error) as err:
        raise _damaged(path, f"{type(err).__name__}: {err}"[:200]) from err


def read_golden(path: Path) -> Golden:
    """Return golden.npz. Raises ArtifactError."""
    arrays = load_npz(path)
    kinds = {"pixels": (np.uint8, 3), "logits": (np.int64, 1), "probability": (np.float64, 1), "labels": (np.int64, 1)}
    for name, (dtype, dimensions) in kinds.items():
        array = arrays.get(name)
        if array is None or array.dtype != dtype or array.ndim != dimensions or not len(array):
            raise _damaged(path, f"it has no {name} of {dtype.__name__} in {dimensions} dimensions")
        if len(array) != len(arrays["pixels"]):
            raise _damaged(path, f"it has {len(array)} {name} for {len(arrays['pixels'])} images")
    golden = Golden(**{name: arrays[name] for name in kinds})  # type: ignore[arg-type]
    if not np.isin(golden.labels, (0, 1)).all() or not ((golden.probability >= 0) & (golden.probability <= 1)).all():
        raise _damaged(path, "a label is not 0 or 1, or a probability not in 0..1")
    if (np.abs(golden.logits.astype(np.float64)) >= 2**31).any():
        raise _damaged(path, "a logit has more than 32 bits")
    if max(golden.pixels.shape[1:]) > MAX_SIDE or not min(golden.pixels.shape[1:]):
        raise _damaged(path, f"its images are {golden.pixels.shape[1:]} pixels")
    return golden


def read_text(path: Path) -> str:
    """Return a text file of a stage. Raises ArtifactError."""
    if not path.is_file():  # a pipe would be waited for
        raise _damaged(path, "it is not there, or no file")
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise _damaged(path, f"it has more than {MAX_BYTES:,} bytes")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise _damaged(path, str(err)[:200]) from err


def _damaged(path: Path, why: str) -> ArtifactError:
    why = " ".join(why.split()).rstrip(".")
    return ArtifactError(
        f"{path} is damaged ({why}), expected what its stage wrote. Delete {path.parent} and run the stage again."
    )
