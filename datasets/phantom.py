"""Draw chest phantoms, so that every stage runs, and learns something, with no data at all.

The images are schematic: body, lungs, ribs, heart, diaphragm, and for pneumonia one-sided opacities. They are made so
that the task needs a network: which side is affected is random, haze on both sides and marks outside the lungs occur
in both classes, and every image has its own exposure and position. So brightness tells nothing, and the difference
between left and right has no fixed sign that a linear model could learn.

With three classes, opacities are of two kinds: a few broad ones in one lung, as of two classes, or many small ones
spread over both. Both kinds add about as much brightness. That alone would still tell some images of a small split
apart, by chance; so each split is exposed as an automatic exposure control would do it, at which the images of every
class have the same mean brightnesses, and only shape and place tell them apart, with whatever seed.

The drawing uses only + - * /, square roots and floor, and adds in a written-out order, so that processors with
different vector units draw the same bytes. The random stream is NumPy's PCG64; it is stable for one NumPy version.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contract.errors import ConfigError
from contract.table import join_names
from datasets.classes import means_healthy
from datasets.labels import Verdict, says_class
from datasets.split import validation_mask
from datasets.xray import CLASS_NAMES, Split, XrayData, fingerprint, known_as, make_report

_Array = NDArray[np.float32]
_FINE = 96  # images are drawn at no less than about this many pixels a side, then averaged
_CHUNK = 8  # images drawn at once: the planes stay in the processor's cache
_MAX_IMAGES = 4  # of one patient
_OPACITIES = 3  # at most, in one image
_IN_LUNG = _OPACITIES + 2  # blobs: the opacities, and haze in either lung
_OPACITY = (0.24, 0.44)  # brightness of the opacities of an image together; tuned, see tests/datasets/test_phantom.py
_HAZE = 0.11  # brightest haze on both sides, of either class
_NORMAL_SHARE = 1 / 3  # of the patients
_SPOTS = 10  # opacities of the second kind, half of them in each lung
_SPOT = (0.13, 0.19)  # half axes of one
_SPOTTED = (0.15, 0.29)  # its brightness; tuned so that both kinds add as much
KINDS = 3  # classes that can be drawn, at most


def make_phantoms(
    *,
    height: int,
    width: int,
    n_train_patients: int = 960,
    n_test_patients: int = 250,
    val_fraction: float,
    seed: int,
    classes: Sequence[str] | None = None,
) -> XrayData:
    """Draw a data set of 1 to 4 images per patient, one third of the patients normal.

    Args:
        height, width: size of the images [pixel].
        n_train_patients: patients for training and validation together.
        n_test_patients: patients for testing.
        val_fraction: share of the training images, by whole patients, that becomes validation.
        seed: chooses everything; the same seed gives the same bytes.
        classes: names for the normal images and for those of one or of two kinds of opacity; None: CLASS_NAMES.

    Raises:
        ConfigError: there are too many classes or too few patients, or a class is called what is drawn for another one.
    """
    names = tuple(classes or CLASS_NAMES)
    if not 2 <= len(names) <= KINDS:
        raise ConfigError(
            f"'data.classes' lists {len(names)} classes, but phantoms are drawn in two or three: normal, broad "
            "opacities, and many small ones. List as many, or give other X-rays."
        )
    strange = [name for name in names[1:] if means_healthy(name)]
    if strange or (classes and says_class(names[0]) == Verdict.POSITIVE):
        kinds = ("normal", "broad opacities", "many small opacities")
        drawn = join_names(f"{name} as {kind}" for name, kind in zip(names, kinds, strict=False))
        raise ConfigError(
            f"'data.classes' lists {join_names(names)[:200]}, and phantoms are drawn in that order: {drawn[:400]}. "
            "List the name that means healthy first, and only there."
        )
    for name, count in (("n_train_patients", n_train_patients), ("n_test_patients", n_test_patients)):
        if count < len(names):
            every = "both classes need" if len(names) == 2 else "every class needs"
            raise ConfigError(f"{name} is {count}, but {every} a patient; give at least {len(names)}.")
    rng = np.random.Generator(np.random.PCG64(seed))
    rest, _ = _draw_split(rng, "train", n_train_patients, height, width, first_patient=0, names=names)
    test, _ = _draw_split(rng, "test", n_test_patients, height, width, first_patient=n_train_patients, names=names)
    in_val = validation_mask(rest.labels, rest.patients, val_fraction=val_fraction, seed=seed, class_names=names)
    train, val = rest.take(~in_val), rest.take(in_val)
    return XrayData(
        train=train,
        val=val,
        test=test,
        fingerprint=fingerprint(
            (name, known_as(classes, label), hashlib.sha256(image.tobytes()).hexdigest())
            for name, split in (("train", rest), ("test", test))
            for label, image in zip(split.labels.tolist(), split.pixels, strict=True)
        ),
        source=f"synthetic phantoms, seed {seed}",
        report=make_report(train, val, test, class_names=names),
        class_names=names,
    )


def planted(
    *, height: int, width: int, n_train_patients: int = 960, n_test_patients: int = 250, seed: int
) -> NDArray[np.float32]:
    """Return how much brighter the opacities made each pixel of `make_phantoms`' test images, before exposure.

    The arguments are those that `make_phantoms` was given; it draws the images again.

    Returns:
        (N, height, width), 0 where no opacity is, and all 0 for a normal image.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    _draw_split(rng, "train", n_train_patients, height, width, first_patient=0)
    _, scene = _draw_split(rng, "test", n_test_patients, height, width, first_patient=n_train_patients)
    healthy = replace(scene, blobs=scene.blobs.copy())
    healthy.blobs[:, :_OPACITIES, 4] = 0
    fine = max(1, round(_FINE / max(height, width)))
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(scene.pose), _CHUNK)]
    ill, well = (
        np.concatenate([_average(_draw(drawn, part, height * fine, width * fine), fine) for part in chunks])
        for drawn in (scene, healthy)
    )
    return np.asarray(ill - well)


@dataclass(frozen=True, eq=False)
class _Scene:
    """What is drawn, in a frame where the image spans -1..1, x to the right and y down; N images."""

    ribs: _Array  # (N, 3) number per unit length, phase, contrast
    lungs: _Array  # (N, 2, 5) left and right in the image: centre x, y, half axes x, y, darkness
    heart: _Array  # (N, 4) centre x, y, half axes x, y
    diaphragm: _Array  # (N, 2) y of the dome on both sides
    blobs: _Array  # (N, B, 5) centre x, y, half axes x, y, brightness: opacities and confounders
    in_lung: int  # the first so many of B show only where there is air
    pose: _Array  # (N, 5) sine of the rotation, shift x, y, scale x, y
    exposure: _Array  # (N, 5) offset, gain, curvature, tilt from left to right, noise


def _draw_split(
    rng: np.random.Generator,
    split: str,
    n_patients: int,
    height: int,
    width: int,
    *,
    first_patient: int,
    names: Sequence[str] = CLASS_NAMES,
) -> "tuple[Split, _Scene]":
    """Draw all images of some patients; return what was drawn, too."""
    kinds = len(names) - 1  # of opacities
    n_normal = min(max(round(n_patients * _NORMAL_SHARE), 1), n_patients - kinds)
    order = rng.permutation(n_patients)
    class_of = np.where(order >= n_normal, 1 + (order - n_normal) % kinds, 0)
    patient = np.repeat(np.arange(n_patients), rng.integers(1, _MAX_IMAGES + 1, n_patients))
    labels = class_of[patient].astype(np.int64)
    scene = _make_scene(rng, patient, labels, kinds)
    pixels = _render(rng, scene, height, width)
    if kinds == 2:
        pixels = _equally_bright(pixels, labels)
    files = tuple(
        f"{split}/{names[label]}/phantom{first_patient + p:05d}-{i:05d}"
        for i, (p, label) in enumerate(zip(patient.tolist(), labels.tolist(), strict=True))
    )
    return Split(pixels, labels, patient.astype(np.int64) + first_patient, files), scene


def _make_scene(rng: np.random.Generator, patient: NDArray[np.int64], labels: NDArray[np.int64], kinds: int) -> _Scene:
    """Choose anatomy per patient and everything else per image."""
    n, n_patients = len(patient), int(patient.max()) + 1

    def per_patient(low: float, high: float, *shape: int) -> _Array:
        return _uniform(rng, low, high, n_patients, *shape)[patient]

    lungs = np.stack(
        [
            per_patient(0.36, 0.44, 2) * np.array([-1, 1], dtype=np.float32),
            per_patient(-0.12, 0.0, 2),
            per_patient(0.25, 0.33, 2),
            per_patient(0.55, 0.68, 2),
            np.repeat(per_patient(0.34, 0.46, 1), 2, axis=1) + _uniform(rng, -0.015, 0.015, n, 2),
        ],
        axis=-1,
    )
    return _Scene(
        ribs=np.stack([per_patient(4.0, 5.5), per_patient(0, 1), per_patient(0.03, 0.08)], axis=-1),
        lungs=lungs,
        heart=np.stack(
            [per_patient(0.08, 0.18), per_patient(0.2, 0.32), per_patient(0.2, 0.3), per_patient(0.24, 0.34)], axis=-1
        ),
        diaphragm=per_patient(0.42, 0.54, 2),
        blobs=_make_blobs(rng, lungs, labels, kinds),
        in_lung=_IN_LUNG + (_SPOTS if kinds == 2 else 0),
        pose=_ranges(rng, n, (-0.08, 0.08), (-0.06, 0.06), (-0.06, 0.06), (0.93, 1.07), (0.93, 1.07)),
        exposure=_ranges(rng, n, (-0.06, 0.08), (0.85, 1.15), (-0.3, 0.3), (-0.03, 0.03), (0.01, 0.03)),
    )


def _make_blobs(rng: np.random.Generator, lungs: _Array, labels: NDArray[np.int64], kinds: int) -> _Array:
    """Choose opacities (pneumonia only), haze on both sides and marks outside the lungs (both classes).

    Returns:
        (N, B, 5) centre x, y, half axes x, y, brightness; the opacities and the haze, which replace air, come first.
    """
    blobs = [*_opacities(rng, lungs, (labels == 1).astype(np.int64)), *_haze(rng, lungs)]
    assert len(blobs) == _IN_LUNG
    if kinds == 2:
        blobs += _spots(rng, lungs, labels == 2)
    n = len(labels)
    # Soft tissue below the lungs, and a narrow bright device line near the middle.
    blobs.append(_ranges(rng, n, (-0.7, 0.7), (0.75, 0.95), (0.15, 0.4), (0.1, 0.2), (0.0, 0.2)))
    blobs.append(_ranges(rng, n, (-0.1, 0.1), (-0.9, -0.3), (0.03, 0.06), (0.3, 0.6), (0.1, 0.35)))
    blobs[-1][:, 4] *= rng.random(n) < 0.3
    return np.stack(blobs, axis=1).astype(np.float32)


def _opacities(rng: np.random.Generator, lungs: _Array, labels: NDArray[np.int64]) -> list[_Array]:
    """Choose 1 to _OPACITIES blobs in one lung of each image with pneumonia, (N, 5) each."""
    n = len(labels)
    lung = lungs[np.arange(n), rng.integers(0, 2, n)]
    count = rng.integers(1, _OPACITIES + 1, n)
    bright = _uniform(rng, *_OPACITY, n) * labels / (0.5 + 0.5 * count)  # several are fainter
    blobs = []
    for k in range(_OPACITIES):
        where = lung[:, :2] + _uniform(rng, -0.6, 0.6, n, 2) * lung[:, 2:4]
        size = [_uniform(rng, 0.2, 0.32, n), _uniform(rng, 0.22, 0.42, n)]
        blobs.append(np.stack([where[:, 0], where[:, 1], *size, bright * (k < count)], axis=-1))
    return blobs


def _spots(rng: np.random.Generator, lungs: _Array, where: NDArray[np.bool_]) -> list[_Array]:
    """Choose _SPOTS small blobs over both lungs of the images in `where`, (N, 5) each."""
    n = len(lungs)
    bright = _uniform(rng, *_SPOTTED, n) * where
    blobs = []
    for k in range(_SPOTS):
        lung = lungs[:, k % 2]
        centre = lung[:, :2] + _uniform(rng, -0.7, 0.7, n, 2) * lung[:, 2:4]
        size = _uniform(rng, *_SPOT, n, 2)
        blobs.append(np.stack([centre[:, 0], centre[:, 1], size[:, 0], size[:, 1], bright], axis=-1))
    return blobs


def _haze(rng: np.random.Generator, lungs: _Array) -> list[_Array]:
    """Choose equal haze in both lungs of every image, (N, 5) each."""
    n = len(lungs)
    bright = _uniform(rng, 0, _HAZE, n)
    height = _uniform(rng, -0.5, 0.5, n)
    wide, high = _uniform(rng, 0.8, 1.4, n), _uniform(rng, 0.48, 0.84, n)
    return [
        np.stack([lung[:, 0], lung[:, 1] + height * lung[:, 3], wide * lung[:, 2], high * lung[:, 3], bright], axis=-1)
        for lung in (lungs[:, 0], lungs[:, 1])
    ]


def _render(rng: np.random.Generator, scene: _Scene, height: int, width: int) -> NDArray[np.uint8]:
    """Draw all images, (N, height, width)."""
    fine = max(1, round(_FINE / max(height, width)))  # fine pixels per pixel and axis
    n = len(scene.pose)
    pixels = np.empty((n, height, width), dtype=np.uint8)
    for start in range(0, n, _CHUNK):
        part = slice(start, start + _CHUNK)
        bright = _average(_draw(scene, part, height * fine, width * fine), fine)
        pixels[part] = _expose(rng, bright, scene.exposure[part])
    return pixels


def _equally_bright(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return (N, H, W) images exposed so that those of every class have the same mean brightnesses.

    Of n images of a class, the one of rank r has then the mean that is now at (r + 1/2) / n of all means. In integers.
    """
    bright = pixels.reshape(len(pixels), -1).sum(axis=1, dtype=np.int64)
    order, wanted = np.sort(bright), np.empty_like(bright)
    for label in np.unique(labels):
        ranked = np.flatnonzero(labels == label)
        ranked = ranked[np.argsort(bright[ranked], kind="stable")]
        wanted[ranked] = order[(2 * np.arange(len(ranked)) + 1) * len(order) // (2 * len(ranked))]
    bright, wanted = np.maximum(bright, 1)[:, None], wanted[:, None]
    levels = np.minimum((2 * np.arange(256) * wanted + bright) // (2 * bright), 255).astype(np.uint8)  # half up
    return np.stack([level[image] for level, image in zip(levels, pixels, strict=True)])


def _draw(scene: _Scene, part: slice, height: int, width: int) -> _Array:
    """Draw some images at full detail: (n, height, width) brightness, about 0..1, before exposure."""
    x, y = _grid(scene.pose[part], height, width)
    u = x / np.float32(1.02)
    outline = 1 - u * u * u * u - np.maximum(-y - np.float32(0.3), 0) * u * u  # narrower towards the neck
    tissue = _bump(x / np.float32(1.15)) * np.float32(0.25) + np.float32(0.5)
    air = _draw_air(scene, part, x, y)
    image = _edge(outline * 2) * tissue - air + _edge(outline) * _draw_ribs(scene.ribs[part], x, y)
    replaced = air * np.float32(2.2)  # opacities and haze show only where there is air
    for k in range(scene.blobs.shape[1]):
        glow = _columns(scene.blobs[part, k])[4] * _soft(_ellipse(x, y, scene.blobs[part, k]))
        image += glow * replaced if k < scene.in_lung else glow
    return np.asarray(image)


def _draw_air(scene: _Scene, part: slice, x: _Array, y: _Array) -> _Array:
    """Draw how much darker than tissue the lungs are, without what heart and diaphragm cover."""
    air = np.zeros_like(x)
    for s, side in enumerate((-1, 1)):
        dome = _bump((x - side * np.float32(0.4)) / np.float32(0.4)) * np.float32(0.1)
        above = _edge((_columns(scene.diaphragm[part])[s] - dome - y) * 3)
        lung = scene.lungs[part, s]
        air += _edge(_ellipse(x, y, lung)) * above * _columns(lung)[4]
    return np.asarray(air * (1 - np.float32(0.85) * _edge(_ellipse(x, y, scene.heart[part]))))


def _draw_ribs(ribs: _Array, x: _Array, y: _Array) -> _Array:
    """Draw periodic arcs."""
    frequency, phase, contrast = _columns(ribs)
    t = (y - np.float32(0.35) * x * x) * frequency + phase
    t = t - np.floor(t)
    return np.asarray(contrast * _soft(4 * t * (1 - t)))


def _grid(pose: _Array, height: int, width: int) -> tuple[_Array, _Array]:
    """Return x and y of every pixel centre in the frame of the phantom, (n, height, width) each."""
    sine, dx, dy, sx, sy = _columns(pose)
    cosine = np.sqrt(1 - sine * sine)
    x = ((np.arange(width, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / width) - 1)[None, None, :]
    y = ((np.arange(height, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / height) - 1)[None, :, None]
    return (cosine * x + sine * y) * sx + dx, (cosine * y - sine * x) * sy + dy


def _expose(rng: np.random.Generator, bright: _Array, exposure: _Array) -> NDArray[np.uint8]:
    """Turn brightness (n, H, W) into pixels, with each image's own curve and noise."""
    offset, gain, curvature, tilt, noise = _columns(exposure)
    across = np.linspace(-1, 1, bright.shape[2], dtype=np.float32)
    bright = bright * gain + offset + tilt * across
    bright = bright + curvature * bright * (1 - bright)  # stands for gamma
    grain = rng.random((3, *bright.shape), dtype=np.float32) * 2 - 1  # three summed: nearly normal, sigma 1
    bright = bright + noise * (grain[0] + grain[1] + grain[2])
    return np.asarray(np.floor(np.clip(bright, 0, 1) * np.float32(255) + np.float32(0.5)), dtype=np.uint8)


def _average(image: _Array, fine: int) -> _Array:
    """Average fine x fine blocks, in a fixed order of additions."""
    total = image[:, 0::fine, 0::fine].copy()
    for i in range(fine):
        for j in range(fine):
            if i or j:
                total += image[:, i::fine, j::fine]
    return total / np.float32(fine * fine)


def _ellipse(x: _Array, y: _Array, shape: _Array) -> _Array:
    """Return 1 in the centre, 0 on the ellipse, negative outside. shape: (n, 4 or more) centre x, y, half axes x, y."""
    cx, cy, rx, ry = _columns(shape)[:4]
    u, v = (x - cx) / rx, (y - cy) / ry
    return 1 - u * u - v * v


def _soft(level: _Array) -> _Array:
    """Return a soft blob from _ellipse's level."""
    level = np.maximum(level, 0)
    return level * level


def _edge(level: _Array) -> _Array:
    """Return a soft-edged mask, 0 outside and 1 inside."""
    t = np.clip(level * np.float32(2.5), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _bump(u: _Array) -> _Array:
    """Return (1 - u^2)^2 for |u| < 1, else 0."""
    return _soft(1 - u * u)


def _columns(table: _Array) -> list[_Array]:
    """Split (n, k) into k arrays of (n, 1, 1)."""
    return [table[:, k, None, None] for k in range(table.shape[1])]


def _uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> _Array:
    return rng.random(shape, dtype=np.float32) * np.float32(high - low) + np.float32(low)


def _ranges(rng: np.random.Generator, n: int, *ranges: tuple[float, float]) -> _Array:
    """Draw (n, k), one column per (low, high)."""
    return np.stack([_uniform(rng, low, high, n) for low, high in ranges], axis=-1)
