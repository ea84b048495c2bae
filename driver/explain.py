"""Why an image got its answer: occlusion sensitivity, computed by the accelerator itself, in exact integers.

Windows slide over the image. For each, a copy of the image with that window replaced goes through the accelerator; all
copies and the image are one batch. What the logit loses is what the window had contributed. A pixel's value is the
mean over the windows that cover it, kept as sum and count, so that every device gives the same integers.

Of several outputs a map is of one class: what that class's own integer loses; where a file's head turns its integer
round, what it gains. What speaks for all classes alike is in each of their maps.

The window is a quarter of the image wide, about the size of a lung opacity, and slides by a ninth: 64 windows on
28 x 28 pixels, which they cover exactly. Finer strides cost more images and found planted opacities no more often.

What fills a window decides what the map means. The image's mean, the usual choice, brightens a lung, and bright areas
in lungs are what these networks look for: the map then shows where an opacity could be put, and its peak never met a
planted one (benchmarks/explanation.py prints both). So a window is filled with the same place on the other side of the
chest, which is what a radiologist compares it with. Where both sides are ill, that removes little: compare with "mean".

Sources: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, section 4.2;
Adebayo et al., "Sanity Checks for Saliency Maps", arXiv:1810.03292.
"""

import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from contract.decision import require_point
from contract.errors import ConfigError, DataError, ImageError
from contract.files import write_whole
from contract.manifest import DISCLAIMER
from contract.npz import save_npz
from contract.preprocess import area_average, load_gray
from contract.table import join_names
from driver.accelerator import Accelerator, Answers

MAPS = ("png", "npz")  # endings of the overlay and of its array, behind the image's whole name
FILLS = ("mirror", "mean")
_FOR, _AGAINST = (255, 110, 0), (0, 120, 255)  # orange and blue: told apart by the colour-blind too
_OPAQUE = 0.65  # of the strongest pixel of an overlay
_SIDE = 448  # longer side of one picture in an overlay file [pixel]


@dataclass(frozen=True)
class Windows:
    """Where the occluding squares are, on an image of `height` x `width` pixels."""

    height: int
    width: int
    size: int  # side of a window [pixel]
    rows: NDArray[np.int64]  # (R,) first row of each window
    columns: NDArray[np.int64]  # (C,) first column of each window

    def cover(self, values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for each pixel the sum of the (R, C) values of the windows over it, and their number, (H, W) each."""
        sums = np.zeros((self.height, self.width), dtype=np.int64)
        counts = np.zeros_like(sums)
        for top, row in zip(self.rows.tolist(), values, strict=True):
            for left, value in zip(self.columns.tolist(), row.tolist(), strict=True):
                sums[top : top + self.size, left : left + self.size] += value
                counts[top : top + self.size, left : left + self.size] += 1
        return sums, counts


@dataclass(frozen=True)
class Explanation:
    """The map of one image and one class. Positive: what is there speaks for that class."""

    target: int  # the class; of one logit always 1
    outputs: NDArray[np.int64]  # (K,) of the image itself
    logit: int  # which of these the map is about
    windows: Windows
    differences: NDArray[np.int64]  # (R, C) logit of the image minus logit of the copy without that window, or turned
    sums: NDArray[np.int64]  # (H, W) of the differences of all windows over a pixel
    counts: NDArray[np.int64]  # (H, W) number of these windows, at least 1
    fill: str  # one of FILLS
    images: int  # in the batch: the copies and the image
    seconds: float  # that the batch took, from pixels to logits
    cycles: int | None  # of the accelerator's clock; None where the folder has no hardware
    cycles_are: str  # "simulated" or "expected": counted here, or images times the interval in accelerator.json
    unlikeness: float | None  # of the image itself, as in Answers

    @property
    def map(self) -> NDArray[np.float64]:
        """The mean difference of the windows over each pixel, (H, W), in units of the integer logit."""
        return self.sums / self.counts

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what an .npz file holds: everything that is an exact integer."""
        several = {"outputs": self.outputs, "target": np.array(self.target, dtype=np.int64)}
        return {
            "logit": np.array(self.logit, dtype=np.int64),
            **(several if len(self.outputs) > 1 else {}),
            "differences": self.differences,
            "rows": self.windows.rows,
            "columns": self.windows.columns,
            "size": np.array(self.windows.size, dtype=np.int64),
            "sums": self.sums,
            "counts": self.counts,
        }


def windows_of(height: int, width: int) -> Windows:
    """Return the windows for an image size; the last row and column of windows end at the image's edge."""
    side = min(height, width)
    size, stride = max(1, round(side / 4)), max(1, round(side / 9))

    def starts(length: int) -> NDArray[np.int64]:
        return np.unique(np.append(np.arange(0, length - size, stride), length - size)).astype(np.int64)

    return Windows(height, width, size, starts(height), starts(width))


def occlude(pixels: NDArray[np.uint8], windows: Windows, *, fill: str = "mirror") -> NDArray[np.uint8]:
    """Return (R * C, H, W) copies of (H, W) pixels, each without one window, row by row of windows."""
    if fill not in FILLS:
        raise ConfigError(f"the fill is {fill!r}, expected one of {', '.join(FILLS)}.")
    if fill == "mirror":
        filling = pixels[:, ::-1]
    else:  # rounded half up, in integers
        filling = np.full_like(pixels, (2 * int(pixels.sum(dtype=np.int64)) + pixels.size) // (2 * pixels.size))
    size = windows.size
    copies = np.repeat(pixels[None], len(windows.rows) * len(windows.columns), axis=0)
    places = [(top, left) for top in windows.rows.tolist() for left in windows.columns.tolist()]
    for copy, (top, left) in zip(copies, places, strict=True):
        area = np.s_[top : top + size, left : left + size]
        copy[area] = filling[area]
    return copies


def explain(
    accelerator: Accelerator,
    pixels: NDArray[np.uint8],
    *,
    fill: str = "mirror",
    target: int | None = None,
    point: str | None = None,
) -> Explanation:
    """Explain one image of (height, width) pixels with one batch on the device.

    Args:
        accelerator: that answers.
        pixels: gray levels.
        fill: one of FILLS.
        target: the class that the map is of; None: the one that the image gets. Of one logit it is class 1.
        point: name of the operating point at which the image gets it; None: the folder's own.

    Raises:
        ConfigError: there is no such fill, class or operating point, or the integers are no classes of pictures.
        DataError: the pixels have another shape or type than the accelerator takes.
        MismatchError, DeviceError: see Accelerator.infer.
    """
    require_classes(accelerator)
    if pixels.ndim != 2:
        raise DataError(f"the image has the shape {pixels.shape}, expected (height, width). Explain images one by one.")
    windows = windows_of(*pixels.shape)
    batch = np.concatenate([pixels[None], occlude(pixels, windows, fill=fill)])
    accelerator.prepare()
    before, start = accelerator.cycles, time.perf_counter()
    answers = accelerator.infer(batch, point=point, measured=False)
    seconds, after = time.perf_counter() - start, accelerator.cycles
    hardware = accelerator.manifest.hardware
    expected = None if hardware is None else len(batch) * hardware.cycles_per_image
    counted = None if before is None or after is None else after - before
    unlikeness = accelerator.unlikeness(pixels[None])
    target, logits, sign = _of_one_class(answers, target)
    differences = (sign * (logits[0] - logits[1:])).reshape(len(windows.rows), len(windows.columns))
    return Explanation(
        target,
        answers.outputs[0],
        int(logits[0]),
        windows,
        differences,
        *windows.cover(differences),
        fill=fill,
        images=len(batch),
        seconds=seconds,
        cycles=expected if counted is None else counted,
        cycles_are="expected" if counted is None else "simulated",
        unlikeness=None if unlikeness is None else float(unlikeness[0]),
    )


def _of_one_class(answers: Answers, target: int | None) -> tuple[int, NDArray[np.int64], int]:
    """Return the class, its column of the outputs, and 1 where a greater integer speaks for it, -1 where a smaller."""
    outputs = answers.outputs
    one_logit = outputs.shape[1] == 1
    if target is None:
        target = 1 if one_logit else int(answers.classes[0])
    if not 0 <= target < len(answers.class_names):
        raise ConfigError(f"class {target} is asked for, expected 0 to {len(answers.class_names) - 1}.")
    if one_logit and target == 0:
        name, other = answers.class_names
        raise ConfigError(
            f"a map of {name} is asked for, and of one logit there is one map, of {other}: what speaks against {other} "
            f"speaks for {name}."
        )
    column = 0 if one_logit else target
    sign = 1 if answers.head is None else answers.head.directions(outputs.shape[1])[column]
    return target, outputs[:, column], sign


def class_number(names: Sequence[str], name: str) -> int:
    """Return the class, of these, that a name, or else a number, means. Raises ConfigError.

    As in the data's labels, case does not matter, nor whether words have a blank, a dash or an underscore between them;
    the very spelling counts first.
    """
    if name in names:
        return names.index(name)
    alike = [at for at, one in enumerate(names) if _spelled(one) == _spelled(name)]
    if len(alike) == 1:
        return alike[0]
    if name.isascii() and name.isdigit() and len(name) < 6 and int(name) < len(names):
        return int(name)
    few = join_names(names[:8]) + (", ..." if len(names) > 8 else "")
    raise ConfigError(f"the class is {name[:60]!r}, expected one of {few}, or its number.")


def _spelled(name: str) -> str:
    return " ".join(re.sub("[-_]", " ", name.casefold()).split())


def overlay(explanation: Explanation) -> NDArray[np.uint8]:
    """Return the map as colour with opacity, (H, W, 4) RGBA: orange for the class, blue against it."""
    values = explanation.map
    strength = np.abs(values) / max(np.abs(values).max(), 1e-9)
    colour = np.where((values > 0)[..., None], _FOR, _AGAINST)
    opacity = np.rint(255 * _OPAQUE * strength)[..., None]
    return np.concatenate([colour, opacity], axis=2).astype(np.uint8)


def picture(gray: NDArray[np.uint8], explanation: Explanation, title: str) -> bytes:
    """Return a PNG file: the image, beside it the image under the map, below them what it is.

    Args:
        gray: (h, w) the image in any size.
        explanation: of the same image.
        title: one line; what is not ASCII becomes a question mark.
    """
    title = title.encode("ascii", "replace").decode()
    scale = _SIDE / max(gray.shape)
    size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
    plain = Image.fromarray(gray).resize(size, Image.BILINEAR).convert("RGBA")  # type: ignore[attr-defined]
    colour = Image.fromarray(overlay(explanation)).resize(size, Image.BILINEAR)  # type: ignore[attr-defined]
    height = size[1] + 44
    sheet = Image.new("RGB", (2 * _SIDE + 8, height), "black")
    sheet.paste(plain.convert("RGB"), (0, 0))
    sheet.paste(Image.alpha_composite(plain, colour).convert("RGB"), (_SIDE + 8, 0))
    draw = ImageDraw.Draw(sheet)
    draw.text((4, height - 38), title, fill="white")
    draw.text((4, height - 20), f"Orange speaks for it, blue against it. {DISCLAIMER}", fill="white")
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


@dataclass(frozen=True)
class Explained:
    """What became of one file."""

    file: Path
    explanation: Explanation
    preprocess_s: float  # reading, decoding and averaging the file
    image: Path  # the overlay, PNG
    array: Path  # the integers, .npz
    name: str  # of the class that the map is of


def explain_files(
    accelerator: Accelerator,
    files: list[Path],
    out: Path,
    *,
    fill: str = "mirror",
    target: str | None = None,
    point: str | None = None,
) -> tuple[list[Explained], dict[str, str]]:
    """Write an overlay (FILE.png) and an array (FILE.npz) per image to the folder `out`.

    Args:
        accelerator: that answers.
        files: images.
        out: folder, made where it is missing.
        fill: one of FILLS.
        target: name or number of the class that the maps are of; None: the one that each image gets.
        point: name of the operating point at which an image gets it; None: the folder's own.

    Returns:
        What was written, and a message per file that could not be used.

    Raises:
        ConfigError: two files have one name, there is no such fill, class or operating point, or the network reads no
            pictures.
        MismatchError, DeviceError: see Accelerator.infer.
        OSError: `out` cannot be written.
    """
    require_classes(accelerator)
    require_point(accelerator.manifest.decision, point)
    number = None if target is None else class_number(accelerator.manifest.classes, target)
    names = [file.name for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two images are called {twice[0]}, and one map would replace the other. Explain them apart.")
    out.mkdir(parents=True, exist_ok=True)
    explained: list[Explained] = []
    failures: dict[str, str] = {}
    for file in files:
        try:
            explained.append(_explain_file(accelerator, file, out, fill, number, point))
        except ImageError as err:
            failures[str(file)] = str(err)
    return explained, failures


def require_classes(accelerator: Accelerator) -> None:
    """Stop where there is nothing to map. Raises ConfigError."""
    manifest = accelerator.manifest
    if not manifest.classes:
        raise ConfigError("accelerator.json has no decision: its integers are no classes to map. Use `infer`.")
    if not manifest.reads_pictures:
        raise ConfigError(
            f"this network reads {manifest.fed}, and a map covers parts of a picture of uint8 gray "
            "levels. Use `infer`; or import it with `--input uint8` and an `--input-scale`."
        )


def explained_row(done: Explained) -> dict[str, str | int | float | None]:
    """Return what a table says about one explained file, JSON-able."""
    explanation = done.explanation
    return {
        "file": str(done.file),
        **({"map_of": done.name} if len(explanation.outputs) > 1 else {}),
        "logit": explanation.logit,
        "images": explanation.images,
        "cycles": explanation.cycles,
        "cycles_are": explanation.cycles_are,
        "preprocess_ms": round(1e3 * done.preprocess_s, 2),
        "device_ms": round(1e3 * explanation.seconds, 2),
        "overlay": str(done.image),
        "array": str(done.array),
    }


def _explain_file(
    accelerator: Accelerator, file: Path, out: Path, fill: str, target: int | None, point: str | None
) -> Explained:
    height, width = accelerator.manifest.height, accelerator.manifest.width
    start = time.perf_counter()
    gray = load_gray(file, height=height, width=width)
    pixels = area_average(gray, height=height, width=width)
    preprocess_s = time.perf_counter() - start
    explanation = explain(accelerator, pixels, fill=fill, target=target, point=point)
    image, array = (out / f"{file.name}.{kind}" for kind in MAPS)
    save_npz(array, explanation.arrays())
    name = accelerator.manifest.classes[explanation.target]
    write_whole(image, picture(gray, explanation, f"{name}: integer logit {explanation.logit}"))
    return Explained(file, explanation, preprocess_s, image, array, name)
