"""Image files of every format and kind of pixel that the driver reads, and damaged ones."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests import tiff_files

SIDE = 61  # no multiple of 28


def write_every_format(folder: Path) -> None:
    """Fill the new `folder`: what is right, what is cut off, and what has a byte changed in its middle."""
    folder.mkdir()
    whole = _files()
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    for name in ("gray.jpg", "gray.png", "gray.bmp", "gray.tif", "sixteen.png", "deflate.tif"):
        content = whole[name]
        (folder / f"cut-{name}").write_bytes(content[: len(content) * 2 // 3])
        (folder / f"head-{name}").write_bytes(content[:20])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image")
    (folder / "small.png").write_bytes(_saved(Image.new("L", (27, 40)), "PNG"))


def _files() -> dict[str, bytes]:
    rng = np.random.default_rng(8)
    ramp = np.add.outer(np.arange(SIDE) * 3, np.arange(SIDE)) // 2
    gray = np.clip(ramp + rng.integers(0, 90, (SIDE, SIDE)), 0, 255).astype(np.uint8)
    wide = (gray.astype(np.uint16) << 8) + rng.integers(0, 256, gray.shape).astype(np.uint16)
    picture = Image.fromarray(gray)
    colour = Image.fromarray(np.stack([gray, gray[::-1], gray.T], axis=2))
    seen_through = colour.copy()
    seen_through.putalpha(picture)
    files = {
        f"{name}.{kind}": _saved(image, {"jpg": "JPEG"}.get(kind, kind.upper()), **options)
        for name, kind, image, options in (
            ("gray", "jpg", picture, {"quality": 90}),
            ("progressive", "jpg", picture, {"progressive": True}),
            ("colour", "jpg", colour, {"subsampling": 2}),
            ("print", "jpg", colour.convert("CMYK"), {}),
            ("gray", "png", picture, {}),
            ("line", "png", picture.convert("1"), {}),
            ("colour", "png", colour, {}),
            ("palette", "png", colour.quantize(64), {}),
            ("alpha", "png", seen_through, {}),
            ("sixteen", "png", Image.fromarray(wide), {}),
            ("gray", "bmp", picture, {}),
            ("line", "bmp", picture.convert("1"), {}),
            ("colour", "bmp", colour, {}),
        )
    }
    for name, pixels, bits, options in (
        ("gray", gray, 8, {}),
        ("big-endian", wide, 16, {"order": ">"}),
        ("twelve", wide >> 4, 12, {}),
        ("packed", gray, 8, {"compression": tiff_files.PACKBITS, "rows": 7}),
        ("deflate", wide, 16, {"compression": tiff_files.DEFLATE, "rows": 9, "predictor": 2}),
        ("negative", gray, 8, {"photometric": 0}),
        ("colour", np.asarray(colour), 8, {"photometric": 2}),
        ("tiles", gray, 8, {"tile": (32, 16)}),
    ):
        files[f"{name}.tif"] = tiff_files.tiff(pixels, bits, **options)  # type: ignore[arg-type]
    return files


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
