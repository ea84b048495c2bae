"""How well the host tells what is unlike the training images: sets made for it, kind by kind.

python -m benchmarks.unlike experiments/w8a8.yaml --data path/to/chest_xray

Of each kind: the AUC of its unlikeness against the test images', and the share that is called unlike. Training and
validation images alone make the measures and their limits; that there are three limits, and 32 components, was chosen
with these kinds in view, of the real X-rays. Changed test images are changed at the size that the network reads, but
for those "in the file": at its own size, which is averaged to the network's afterwards, so what is finer is averaged
away. Photographs are random square crops of those that matplotlib and scikit-learn bring; pages are lines of words;
slices are the CT and MR files that pydicom brings.
"""

import argparse
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

from contract.likeness import Likeness
from contract.preprocess import area_average, load_gray
from cxrflow.console import Console
from cxrflow.experiment import DataConfig, load_experiment
from cxrflow.stages import load_data
from datasets.likeness import fit_likeness
from datasets.phantom import make_phantoms
from datasets.source import listed

IMAGES = 400  # of each kind that is drawn
NOISE_SIDES = (224, 512)  # of files [pixel]
WORDS = ("patient", "report", "the", "of", "page", "left", "right", "no", "and", "with")

_Images = NDArray[np.uint8]


def changed(pixels: _Images, rng: np.random.Generator) -> Iterator[tuple[str, _Images]]:
    """Yield each kind of change of (N, H, W) images."""
    gray = pixels.astype(np.float64)
    yield "inverted gray", 255 - pixels
    yield "turned by 90 degrees", np.rot90(pixels, axes=(1, 2))
    yield "upside down", pixels[:, ::-1]
    yield "mirrored", pixels[:, :, ::-1]
    yield "turned by 20 degrees", _each(pixels, lambda image: image.rotate(20, Image.Resampling.BILINEAR))
    yield "one quarter of it, enlarged", _each(pixels, _quarter)
    yield "small, on a white page", _each(pixels, _on_a_page)
    yield "half as bright", np.rint(gray / 2).astype(np.uint8)
    yield "half the contrast", np.rint(gray / 2 + 64).astype(np.uint8)
    yield "blurred, 2 pixels", _each(pixels, _blurred)
    yield "with noise of 25 gray levels", _noisy(pixels, 25, rng)
    yield "with noise of 10 gray levels", _noisy(pixels, 10, rng)
    yield "1.5 times as bright", _brighter(pixels)
    yield "its left half mirrored", _left_twice(pixels)
    yield "its pixels shuffled", rng.permuted(pixels.reshape(len(pixels), -1), axis=1).reshape(pixels.shape)


def changed_in_the_file(
    files: Iterable[NDArray[np.uint8]], size: dict[str, int], rng: np.random.Generator
) -> Iterator[tuple[str, _Images]]:
    """Yield kinds of change of whole files, (h, w) each, averaged afterwards."""
    kinds: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        "with noise of 25 gray levels, in the file": lambda gray: _noisy(gray, 25, rng),
        "1.5 times as bright, in the file": _brighter,
        "blurred, 2 pixels, in the file": lambda gray: _each(gray[None], _blurred)[0],
    }
    found: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in kinds}
    for gray in files:
        for name, change in kinds.items():
            found[name].append(area_average(change(gray), **size))
    yield from ((name, np.stack(images)) for name, images in found.items())


def whole_files(data: DataConfig, names: Sequence[str], size: dict[str, int]) -> Iterator[_Images]:
    """Yield the gray of images of these names, each in its own size; of JPEG or PNG files, or of an array."""
    assert isinstance(data.source, Path)
    with listed(data.source, data.label_rules) as listing:
        read = {file.name: file.read for file in listing.files}
        for name in names:
            content = read[name]()
            yield (
                load_gray(content, height=size["height"], width=size["width"])
                if isinstance(content, bytes)
                else content
            )


def drawn(height: int, width: int, rng: np.random.Generator) -> Iterator[tuple[str, _Images]]:
    """Yield each kind of picture that is no chest X-ray."""
    size = {"height": height, "width": width}
    photos = [Image.fromarray(image).convert("L") for image in load_sample_images().images]
    photos.append(Image.open(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("L"))
    crops = [np.asarray(_crop(photos[i % len(photos)], rng)) for i in range(IMAGES)]
    yield "photographs", np.stack([area_average(crop, **size) for crop in crops])
    yield "pages of words", np.stack([area_average(_page(rng), **size) for _ in range(IMAGES)])
    yield "noise", rng.integers(0, 256, (IMAGES, height, width), dtype=np.uint8)
    for side in NOISE_SIDES:
        files = (rng.integers(0, 256, (side, side), dtype=np.uint8) for _ in range(IMAGES))
        yield f"noise, in a file of {side} x {side}", np.stack([area_average(file, **size) for file in files])
    levels = np.linspace(0, 255, IMAGES).astype(np.uint8)
    yield "one gray level", np.broadcast_to(levels[:, None, None], (IMAGES, height, width))
    slices = list(_slices(size))
    yield "CT and MR slices", np.stack(slices)
    phantoms = make_phantoms(height=height, width=width, val_fraction=0.1, seed=1)
    yield "phantoms of this project", phantoms.test.pixels


def _each(pixels: _Images, change: Callable[[Image.Image], Image.Image]) -> _Images:
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in pixels])


def _noisy(pixels: _Images, deviation: float, rng: np.random.Generator) -> _Images:
    noise = rng.normal(0, deviation, pixels.shape)
    return np.asarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _brighter(pixels: _Images) -> _Images:
    return np.asarray(np.minimum(255, np.rint(1.5 * pixels)), dtype=np.uint8)


def _left_twice(pixels: _Images) -> _Images:
    width = pixels.shape[2]
    left = pixels[:, :, : width - width // 2]
    return np.concatenate([left, pixels[:, :, : width // 2][:, :, ::-1]], axis=2)


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(2))


def _quarter(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.resize(image.size, Image.Resampling.BILINEAR, (0, 0, width / 2, height / 2))


def _on_a_page(image: Image.Image) -> Image.Image:
    page = Image.new("L", image.size, 255)
    page.paste(image.resize((image.width // 2, image.height // 2)), (image.width // 4, image.height // 4))
    return page


def _crop(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = int(rng.integers(64, min(photo.size) + 1))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
    return photo.crop((left, top, left + side, top + side))


def _page(rng: np.random.Generator) -> NDArray[np.uint8]:
    page = Image.new("L", (420, 594), 245)
    draw = ImageDraw.Draw(page)
    for line in range(40, 560, int(rng.integers(14, 28))):
        draw.text((40, line), " ".join(rng.choice(WORDS, int(rng.integers(2, 12)))), fill=20)
    return np.asarray(page)


def _slices(size: dict[str, int]) -> Iterator[_Images]:
    from pydicom import dcmread
    from pydicom.data import get_testdata_files

    for file in sorted(get_testdata_files("*.dcm")):
        try:
            found = dcmread(io.BytesIO(Path(file).read_bytes()))
            if found.Modality not in ("CT", "MR") or found.pixel_array.ndim != 2:
                continue
            values = found.pixel_array.astype(np.float64)
        except Exception:  # files to test a reader with: many are damaged on purpose
            continue
        if min(values.shape) >= max(size.values()) and np.ptp(values):
            low, high = np.percentile(values, (1, 99))
            yield area_average(np.clip((values - low) * 255 / max(high - low, 1), 0, 255).astype(np.uint8), **size)


def row(name: str, likeness: Likeness, usual: NDArray[np.float64], pixels: _Images) -> str:
    """Return a kind's line of the table; `usual` are the test images' scores."""
    scores = likeness.unlikeness(np.ascontiguousarray(pixels))
    truth = np.repeat([0, 1], [len(usual), len(scores)])
    auc = roc_auc_score(truth, np.concatenate([usual, scores]))
    return f"| {name} | {len(scores)} | {auc:.3f} | {100 * (scores > 1).mean():.1f} % | {np.median(scores):.2f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--data", type=Path, help="the X-rays, where the experiment's own are elsewhere")
    arguments = parser.parse_args()
    experiment = load_experiment(arguments.experiment, data=arguments.data)
    data, rng = load_data(experiment, cache=Path("runs/.cache"), console=Console()), np.random.default_rng(0)
    likeness = fit_likeness(data.train.pixels, data.val.pixels)
    assert likeness is not None
    usual = likeness.unlikeness(data.test.pixels)
    print(f"{data.source}: {len(data.train.pixels)} training, {len(data.val.pixels)} validation images; ", end="")
    print(f"{len(likeness.components)} components\n")
    print(
        "| kind | images | AUC against test images | called unlike | median: times the limit |\n|---|---|---|---|---|"
    )
    print(f"| test images as they are | {len(usual)} | | {100 * (usual > 1).mean():.1f} % | {np.median(usual):.2f} |")
    height, width = experiment.network.height, experiment.network.width
    size = {"height": height, "width": width}
    kinds = [changed(data.test.pixels, rng), drawn(height, width, rng)]
    if experiment.data.source != "phantom":  # which has no files
        files = whole_files(experiment.data, data.test.names, size)
        kinds.insert(1, changed_in_the_file(files, size, rng))
    for name, pixels in chain(*kinds):
        print(row(name, likeness, usual, pixels), flush=True)


if __name__ == "__main__":
    main()
