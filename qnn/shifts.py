"""How a network holds up when images come out differently: a fixed grid of changes, one at a time.

The changes are made to the network's own uint8 pixels, after the resize. A JPEG artefact of a full-size file is
averaged away by the resize; here the blocks are 8 of the network's pixels wide, which is far harsher.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from datasets.xray import CLASS_NAMES, Split
from qnn.class_metrics import class_metrics
from qnn.metrics import classification_metrics
from qnn.network import PixelMLP, predict_logits

SEED = 0x5EED  # of the noise
JPEG_UNCHANGED = 101


@dataclass(frozen=True)
class Shift:
    """One kind of change and the levels it is tried at; one of them changes nothing."""

    name: str
    unit: str
    unchanged: float
    levels: Sequence[float]


GRID = (
    Shift("rotation", "degrees", 0, (-20, -10, -5, 0, 5, 10, 20)),
    Shift("scale", "factor", 1, (0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3)),
    Shift("exposure", "stops", 0, (-1, -0.5, -0.25, 0, 0.25, 0.5, 1)),
    Shift("noise", "gray levels, std", 0, (0, 5, 10, 20, 40)),
    Shift("jpeg", f"quality, {JPEG_UNCHANGED}: none", JPEG_UNCHANGED, (JPEG_UNCHANGED, 90, 75, 50, 25, 10)),
)


def shifted(pixels: NDArray[np.uint8], name: str, level: float) -> NDArray[np.uint8]:
    """Return changed copies of `pixels` (N, H, W) uint8. What comes into view from outside repeats the border."""
    if name == "rotation":
        return _warped(pixels, angle=math.radians(level), size=1.0)
    if name == "scale":
        return _warped(pixels, angle=0.0, size=level)
    if name == "jpeg":
        return np.stack([_jpeg(image, int(level)) for image in pixels]) if level < JPEG_UNCHANGED else pixels
    values = pixels.astype(np.float64)
    if name == "exposure":
        values *= 2.0**level
    elif name == "noise":
        values += np.random.default_rng(SEED).normal(0, level, pixels.shape)
    else:
        raise AssertionError(name)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def measure_shifts(
    net: PixelMLP, split: Split, *, threshold: float, names: Sequence[str] = CLASS_NAMES
) -> list[dict[str, float | str | None]]:
    """Return one row per shift and level: shift, unit, level, and accuracy, auc, balanced_accuracy and so on.

    The threshold is that of one logit, `names` are those of the classes.
    """
    rows = []
    figures = ["accuracy", "auc", "balanced_accuracy"]
    figures += ["sensitivity", "specificity"] if net.spec.outputs == 1 else []
    for shift in GRID:
        for level in shift.levels:
            logits = predict_logits(net, shifted(split.pixels, shift.name, level))
            found: Mapping[str, Any] = (
                classification_metrics(logits, split.labels, threshold=threshold)
                if logits.ndim == 1
                else class_metrics(logits, split.labels, names)
            )
            rows.append({"shift": shift.name, "unit": shift.unit, "level": level, **{n: found[n] for n in figures}})
    return rows


def _warped(pixels: NDArray[np.uint8], *, angle: float, size: float) -> NDArray[np.uint8]:
    """Turn by `angle` [rad] and enlarge by the factor `size`, about the centre."""
    n, height, width = pixels.shape
    aspect = height / width  # affine_grid's units are half sides
    cos, sin = math.cos(angle) / size, math.sin(angle) / size
    affine = torch.tensor([[cos, -sin * aspect, 0.0], [sin / aspect, cos, 0.0]]).expand(n, 2, 3)
    grid = functional.affine_grid(affine, [n, 1, height, width], align_corners=False)
    images = torch.from_numpy(pixels).float()[:, None]
    warped = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)[:, 0]
    return np.asarray(warped.round().clamp(0, 255).to(torch.uint8).numpy())


def _jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress (H, W) and decode it again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer), dtype=np.uint8)
