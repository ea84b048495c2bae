"""Throw mutated X-rays at the readers: each must become an image or one sentence, soon and in little memory.

python -m tests.fuzz_images 10000     # tests/fuzzing.py says more

Inputs begin as whole files of every format, layout and transfer syntax that is read, and are then cut, flipped, spliced
and given numbers that programs stumble over; the checksums of PNG are mended, so that damage gets past them.
"""

import struct
import warnings
import zlib
from functools import lru_cache
from random import Random

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset

from contract.errors import ImageError
from contract.preprocess import load_pixels, look
from datasets import dicom
from tests.dicom_files import BIG, EXPLICIT, IMPLICIT, LOSSLESS_CODERS, content, encapsulated, make
from tests.fuzzing import Target, main
from tests.image_files import (
    GRAY,
    JPEG,
    LINEAR,
    SMOOTH,
    SRGB,
    exif,
    icc,
    mpf,
    one_of_each,
    png,
    segment,
    with_segments,
)  # fmt: skip
from tests.tiff_files import LONG, SHORT, UNDEFINED, Tag, tiff

_NUMBERS = [0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1]
_TEXTS = [b"1e-99999999", b"1e99999999", b"-1", b"nan", b"inf", b"0", b"1e9", b".", b"1\\2", b"9" * 16, b""]


@lru_cache(maxsize=1)
def whole_files() -> tuple[bytes, ...]:
    """Return files that are read, and a few of those that are refused late."""
    values = np.repeat(np.repeat(GRAY[:9, :11].astype(np.uint16) * 16, 3, 0), 3, 1)
    window = {"WindowCenter": "2000", "WindowWidth": "900.5", "RescaleSlope": "1.5", "RescaleIntercept": "-1024"}
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [300, 0, 12])
    lut.add_new("LUTData", "OW", np.arange(300, dtype="<u2").tobytes())
    dicoms = [make(values, bits=12, syntax=syntax, **window) for syntax in (IMPLICIT, EXPLICIT, BIG)]
    for syntax, code in LOSSLESS_CODERS.items():
        dicoms.append(encapsulated(make(values, bits=12, **window), syntax, bytes(code(values, 12))))
    for tag in ("ModalityLUTSequence", "VOILUTSequence"):
        dicoms.append(make(values, bits=12, VOILUTFunction="SIGMOID", **window))
        setattr(dicoms[-1], tag, [lut])
    dicoms.append(encapsulated(make(SMOOTH, bits=8), f"{IMPLICIT}.4.50", JPEG))
    extended = bytes(imagecodecs.jpeg_encode(values, bitspersample=12))
    dicoms.append(
        encapsulated(make(values, bits=12, PhotometricInterpretation="MONOCHROME1"), f"{IMPLICIT}.4.51", extended)
    )
    tags: dict[int, Tag | None] = {
        34675: (UNDEFINED, SRGB),
        339: (SHORT, [1]),
        281: (SHORT, [255]),
        254: (LONG, [0]),
        338: (SHORT, [0]),
    }
    profiles = [(b"iCCP", b"x\0\0" + zlib.compress(SRGB)), (b"gAMA", struct.pack(">I", 45455)), (b"eXIf", exif(6))]
    return (
        *one_of_each(), *map(content, dicoms),
        with_segments(JPEG, icc(SRGB), mpf(1), segment(0xE1, b"Exif\0\0" + exif(3, ">")), icc(LINEAR)),
        png(GRAY, 8, 0, *profiles), tiff(np.dstack([GRAY, GRAY]), 8, tile=(16, 32), tags=tags),
    )  # fmt: skip


def damaged(rng: Random) -> bytes:
    """Return one input: a whole file after some mutations."""
    files = whole_files()
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 6])):
        _mutate(rng, data, files)
    return _mended(bytes(data)) if data.startswith(b"\x89PNG") and rng.random() < 0.9 else bytes(data)


def _mutate(rng: Random, data: bytearray, files: tuple[bytes, ...]) -> None:
    """Change something, in the first bytes more often than elsewhere."""
    span = min(len(data), rng.choice([40, 200, 1000, 1 << 30]))
    at = rng.randrange(span) if span else 0
    kind = rng.choice(
        ["flip", "flip", "number", "number", "number", "text", "cut", "drop", "insert", "repeat", "splice"]
    )
    if kind == "flip" and data:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "number":
        size, order = rng.choice([1, 2, 2, 4, 4]), rng.choice("<>")
        at -= at % rng.choice([1, 2])
        value = rng.choice(_NUMBERS) % (1 << 8 * size)
        data[at : at + size] = struct.pack(order + {1: "B", 2: "H", 4: "I"}[size], value)
    elif kind == "text":  # in a decimal string of DICOM, keeping its length
        fields = [b"2000", b"900.5", b"1.5 ", b"-1024 ", b"MONOCHROME2 "]
        found = [(data.find(field), len(field)) for field in fields if field in data]
        if found:
            at, length = rng.choice(found)
            data[at : at + length] = rng.choice(_TEXTS)[:length].ljust(length)
            if rng.random() < 0.5 and at >= 2:  # or another length, which its element then says
                text = rng.choice(_TEXTS).ljust(16)
                data[at - 2 : at + length] = struct.pack("<H", len(text)) + text
    elif kind == "cut":
        del data[rng.randrange(len(data) + 1) :]
    elif kind == "drop":
        del data[at : at + rng.randint(1, 64)]
    elif kind == "insert":
        data[at:at] = rng.randbytes(rng.randint(1, 32))
    elif kind == "repeat":
        data[at:at] = data[at : at + rng.randint(1, 500)] * rng.choice([1, 1, 2, 50])
    elif kind == "splice":
        other = rng.choice(files)
        start = rng.randrange(len(other))
        data[at : at + rng.choice([0, 64, 1 << 30])] = other[start : start + rng.choice([16, 256, 1 << 30])]


def _mended(data: bytes) -> bytes:
    """Return a PNG whose chunks have right checksums, as far as it goes."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        out += data[at:end] + struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(out) + data[at:]


def read(data: bytes) -> str:
    """Read one input as the data loader and the server do; return what it was. Raises ImageError."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom\b")
        try:
            if dicom.is_dicom(data):
                shape = dicom.describe(data, name="x")
                gray, _ = dicom.read(data, name="x", secret=b"s")
                assert gray.shape == (shape.height, shape.width) and gray.dtype == np.uint8
                return "DICOM"
            stored = look(data, name="x")
            width, height = stored.size
            pixels = load_pixels(data, height=min(4, height), width=min(4, width), name="x")
            assert pixels.shape == (min(4, height), min(4, width)) and pixels.dtype == np.uint8
            return stored.format
        except ImageError as err:
            text = str(err)
            assert text.startswith("x: ") and text.endswith(".") and "\n" not in text and "0x" not in text, text
            raise


IMAGES = Target("images", damaged, read)

if __name__ == "__main__":
    whole_files()
    main([IMAGES])
