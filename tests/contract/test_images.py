"""A file says how its values map to black and white and which side is up; the reader obeys, or refuses in a sentence.

The kind of fault: a tag or chunk that changes brightness or geometry, and that is ignored in silence. Every one that
the formats have is here, either obeyed, with a second reader (tifffile, imagecodecs, Pillow's own transposition) or the
standard's formula as the reference, or refused.
"""

import io
import itertools
import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, TiffTags

from contract.errors import ImageError, ImageTooLargeError
from contract.images import jpeg
from contract.images.icc import _lights, require_display
from contract.images.ifd import xmp_orientations
from contract.images.packbits import packbits
from contract.images.tiff_tags import NEVER, NOTHING, OBEYED, ONLY
from contract.preprocess import load_gray, load_pixels, look
from tests.image_files import (
    ALPHA,
    CMYK_JPEG,
    COLOUR,
    GRAY,
    JPEG,
    JPEG_RGB,
    LINEAR,
    PROGRESSIVE,
    RNG,
    SMOOTH,
    SRGB,
    bmp,
    bmp_rows,
    curve,
    exif,
    icc,
    interlaced,
    mpf,
    one_of_each,
    other_frame,
    other_size,
    parametric,
    png,
    profile,
    save,
    segment,
    with_segments,
)  # fmt: skip
from tests.tiff_files import DEFLATE, LONG, LZW, NONE, PACKBITS, SHORT, UNDEFINED, Tag, tiff

REPOSITORY = Path(__file__).parents[2]
OLDEST = REPOSITORY / ".venv-oldest/bin/python"  # the oldest numpy and Pillow that the driver supports


NBITS = b'<GDALMetadata><Item name="NBITS" sample="0" role="image">%d</Item></GDALMetadata>'
PREFIXED = [  # the same orientation in other spellings of its namespace
    b"""<x:xmpmeta><rdf:Description xmlns:t="http://ns.adobe.com/tiff/1.0/" t:Orientation='6'/></x:xmpmeta>""",
    b"<x:xmpmeta xmlns:a-b = 'http://ns.adobe.com/tiff/1.0/'><a-b:Orientation >6</a-b:Orientation></x:xmpmeta>",
    b'<x:xmpmeta><Orientation xmlns="http://ns.adobe.com/tiff/1.0/">6</Orientation></x:xmpmeta>',
]
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
RAW_EXIF = b"\nexif\n      32\n" + (b"Exif\0\0" + exif(6)).hex().encode() + b"\n"


def gray(content: bytes) -> NDArray[np.uint8]:
    return load_gray(content, height=1, width=1, name="x")


def refusal(content: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        gray(content)
    text = str(caught.value)
    assert text.startswith("x: ") and text.endswith(".") and "\n" not in text and "damaged" not in text
    return text


def full_scale(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return round(255 v / (2^bits - 1)), whose ties cannot occur: 510 v is even, an odd multiple of 2^bits - 1 odd."""
    return np.asarray(np.rint(values.astype(np.float64) * 255 / (2**bits - 1)).astype(np.int64))


def luma(rgb: NDArray[Any]) -> NDArray[Any]:
    r, g, b = np.moveaxis(rgb.astype(np.int64), -1, 0)
    return np.asarray((19595 * r + 38470 * g + 7471 * b + 32768) >> 16)


class TestTiffRamp:
    @settings(max_examples=150, deadline=None)
    @given(
        bits=st.integers(1, 16),
        white_is_zero=st.booleans(),
        order=st.sampled_from("<>"),
        compression=st.sampled_from([NONE, LZW, DEFLATE, PACKBITS]),
        layout=st.sampled_from([{}, {"rows": 5}, {"rows": 37}, {"tile": (16, 32)}, {"tile": (48, 16)}]),
        predicted=st.booleans(),
    )
    def test_gray_of_every_depth(
        self, bits: int, white_is_zero: bool, order: str, compression: int, layout: dict[str, Any], predicted: bool
    ) -> None:
        pixels = np.random.default_rng(bits).integers(0, 1 << bits, (37, 45))
        predictor = 2 if predicted and bits in (8, 16) and compression in (LZW, DEFLATE) else 1
        content = tiff(pixels, bits, photometric=1 - white_is_zero, order=order, compression=compression,
                       predictor=predictor, **layout)  # fmt: skip
        np.testing.assert_array_equal(tifffile.imread(io.BytesIO(content)), pixels)
        expected = full_scale(pixels, bits)
        np.testing.assert_array_equal(gray(content), 255 - expected if white_is_zero else expected)

    @pytest.mark.parametrize("bits", [10, 12, 14, 16])
    def test_every_level(self, bits: int) -> None:
        levels = np.arange(1 << bits).reshape(-1, 64)
        expected = full_scale(levels, bits)
        np.testing.assert_array_equal(gray(tiff(levels, bits)), expected)
        assert (expected[0, 0], expected[-1, -1]) == (0, 255)

    @pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE])
    @pytest.mark.parametrize("planes", [False, True])
    @pytest.mark.parametrize(("bits", "predictor"), [(8, 1), (8, 2), (16, 1), (16, 2)])
    @pytest.mark.parametrize("layout", [{"rows": 7}, {"tile": (16, 16)}])
    def test_colour(self, bits: int, planes: bool, compression: int, predictor: int, layout: dict[str, Any]) -> None:
        if compression == NONE and predictor == 2:
            return
        pixels = RNG.integers(0, 1 << bits, (37, 45, 3))
        content = tiff(pixels, bits, photometric=2, order=">", planes=planes, compression=compression,
                       predictor=predictor, **layout)  # fmt: skip
        read = tifffile.imread(io.BytesIO(content))
        np.testing.assert_array_equal(np.moveaxis(read, 0, -1) if planes else read, pixels)
        np.testing.assert_array_equal(gray(content), luma(full_scale(pixels, bits)))

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    def test_palette(self, bits: int) -> None:
        indices = RNG.integers(0, 1 << bits, (37, 45))
        colours = RNG.integers(0, 256, (1 << bits, 3))
        colours[-1] = 255
        for factor in (256, 257):  # both are in use
            content = tiff(indices, bits, photometric=3, tags={320: (SHORT, (colours.T * factor).ravel().tolist())})
            np.testing.assert_array_equal(gray(content), luma(colours)[indices])
        deep = RNG.integers(0, 1 << 16, (1 << bits, 3))
        content = tiff(indices, bits, photometric=3, tags={320: (SHORT, deep.T.ravel().tolist())})
        np.testing.assert_array_equal(gray(content), luma(full_scale(deep, 16))[indices])

    def test_alpha(self) -> None:
        """Premultiplied pixels are over black already; straight ones are multiplied, within two roundings."""
        premultiplied = np.dstack([COLOUR // 2, np.full_like(ALPHA, 128)])
        content = tiff(premultiplied, 8, photometric=2, tags={338: (SHORT, [1])})
        np.testing.assert_array_equal(gray(content), luma(COLOUR // 2))
        content = tiff(np.dstack([COLOUR, ALPHA]), 8, photometric=2, tags={338: (SHORT, [2])})
        assert np.abs(gray(content) - luma(COLOUR) * ALPHA[:, :, 0] / 255).max() <= 1.5
        content = tiff(np.dstack([GRAY, ALPHA]), 8, tags={338: (SHORT, [2])})
        assert np.abs(gray(content) - GRAY * (ALPHA[:, :, 0] / 255)).max() <= 1

    @pytest.mark.parametrize("planar", ["contig", "separate"])
    @pytest.mark.parametrize(
        ("photometric", "colours", "extra"),
        [("minisblack", 1, (0,)), ("minisblack", 1, (0, 0)), ("minisblack", 1, (0,) * 40), ("minisblack", 1, (2, 0)),
         ("miniswhite", 1, (0,)), ("rgb", 3, (0,)), ("rgb", 3, (0, 0)), ("rgb", 3, (2, 0)), ("rgb", 3, (0, 2)),
         ("separated", 4, (0,))],
    )  # fmt: skip
    def test_samples_that_are_no_alpha_are_further_images(
        self, photometric: str, colours: int, extra: tuple[int, ...], planar: Any
    ) -> None:
        """The kind of fault: one of several images is read in silence. Another reader sees all of them on the page."""
        count = colours + len(extra)
        planes = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1) + np.zeros((1, 32, 40), np.uint8)
        stream = io.BytesIO()
        pixels = planes if planar == "separate" else np.ascontiguousarray(np.moveaxis(planes, 0, 2))
        tifffile.imwrite(
            stream, pixels, photometric=photometric, planarconfig=planar, extrasamples=extra, metadata=None
        )
        with tifffile.TiffFile(io.BytesIO(stream.getvalue())) as file:
            assert len(file.pages) == 1 and file.pages[0].asarray().size == count * 32 * 40
        assert "expected exactly one image" in refusal(stream.getvalue())

    @pytest.mark.parametrize("planes", [1, 2])
    def test_samples_that_nothing_is_said_of(self, planes: int) -> None:
        two, palette = np.dstack([GRAY, GRAY]), {338: (SHORT, [0]), 320: (SHORT, [0] * 768)}
        for pixels, photometric, tags in ((two, 1, {}), (np.dstack([GRAY] * 3), 1, {}), (two, 3, palette),
                                          (np.dstack([COLOUR, GRAY]), 2, {})):  # fmt: skip
            content = tiff(pixels, 8, photometric=photometric, planes=planes == 2, tags=dict(tags))
            assert "expected exactly one image" in refusal(content)

    def test_cmyk(self) -> None:
        inks = np.asarray(Image.fromarray(COLOUR).convert("CMYK"))
        np.testing.assert_array_equal(gray(tiff(inks, 8, photometric=5, rows=9)), luma(COLOUR))

    def test_what_pillow_writes(self) -> None:
        for image in (Image.fromarray(GRAY), Image.fromarray(COLOUR), Image.fromarray(GRAY > 99)):
            for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
                np.testing.assert_array_equal(
                    gray(save(image, "TIFF", compression=compression)), np.asarray(image.convert("L"))
                )

    def test_numbers_that_change_nothing(self) -> None:
        """Statistics, resolution, names and the mere possibility of other pages are no part of the picture."""
        tags: dict[int, Tag | None] = {
            254: (LONG, [2]), 255: (SHORT, [1]), 280: (SHORT, [9]), 281: (SHORT, [200]), 297: (SHORT, [0, 1]),
            266: (SHORT, [1]), 339: (SHORT, [1]), 274: (SHORT, [0]), 282: (LONG, [3]), 34675: (UNDEFINED, SRGB),
        }  # fmt: skip
        np.testing.assert_array_equal(gray(tiff(GRAY, 8, tags=tags)), GRAY)
        np.testing.assert_array_equal(gray(tiff(GRAY * np.uint16(257), 16, tags={281: (SHORT, [65535])})), GRAY)


def other_tags() -> list[tuple[int, Tag]]:
    """Return every tag that anyone has named and the reader does not ask for, and some that nobody has."""
    everyone = {*(code for code, _ in tifffile.TIFF.TAGS.items()), *TiffTags.TAGS_V2, *NOTHING, *ONLY, *NEVER}
    everyone |= {1, 260, 33999, 65000}
    return [
        (tag, (SHORT, [value]))
        for tag in sorted(everyone - OBEYED)
        for value in (ONLY[tag][0] if tag in ONLY else (2,))
    ]


def test_any_other_tag_changes_nothing_or_is_refused_by_its_number() -> None:
    """The kind of fault: a tag that bends or cuts the picture, ignored in silence. Two readers are the witnesses."""
    assert not NOTHING & (ONLY.keys() | NEVER.keys() | OBEYED) and not OBEYED & (ONLY.keys() | NEVER.keys())
    plain = tiff(GRAY, 8)
    for tag, value in other_tags():
        content = tiff(GRAY, 8, tags={tag: value})
        if tag not in NOTHING | ONLY.keys():
            assert re.search(rf"\btag {tag}\b", refusal(content)), tag
            continue
        np.testing.assert_array_equal(gray(content), GRAY, str(tag))
        for read in (lambda file: tifffile.imread(io.BytesIO(file)), imagecodecs.tiff_decode):
            np.testing.assert_array_equal(read(content), read(plain), str(tag))


def described(text: bytes, tags: dict[int, Tag | None] | None = None) -> bytes:
    return tiff(GRAY * np.uint16(257), 16, tags={270: (UNDEFINED, text + b"\0"), **(tags or {})})


@pytest.mark.parametrize("bits", [12, 16])
def test_a_described_range_that_is_the_whole_one(bits: int) -> None:
    """Programs say it, too, where there is nothing to obey."""
    for text in (f"ImageJ=1.53\nmin=0.0\nmax={2**bits - 1}.0\n", f'<OME><Pixels SignificantBits="{bits}"/></OME>'):
        tags: dict[int, Tag | None] = {270: (UNDEFINED, text.encode() + b"\0"), 42112: (UNDEFINED, NBITS % bits)}
        tags[51123] = (UNDEFINED, b'{"BitDepth": %d}' % bits)
        values = full_scale(GRAY, 8).astype(np.uint16) * (2**bits // 256)
        np.testing.assert_array_equal(gray(tiff(values, bits, tags=tags)), full_scale(values, bits))


def imagej(values: NDArray[Any], **metadata: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, imagej=True, metadata=metadata or None)
    return stream.getvalue()


@pytest.mark.parametrize("bits", [8, 16])
def test_the_range_that_imagej_showed(bits: int) -> None:
    """That of the values is what it starts with, and no word about white; any other was chosen by somebody."""
    white = 2**bits - 1
    values = (200 + GRAY.astype(np.uint32) * (white - 300) // 255).astype(np.uint16) if bits == 16 else GRAY // 2 + 99
    own = {"min": float(values.min()), "max": float(values.max())}
    for said in ({}, own, {"min": 0.0, "max": float(white)}, {"Ranges": (own["min"], own["max"])}):
        np.testing.assert_array_equal(gray(imagej(values, **said)), full_scale(values, bits))
    for name, word in (("min", "smallest"), ("max", "largest")):
        for other in (own[name] + 1, own[name] - 1, 50.5, float("nan")):
            assert f"its {word} value is {other} (ImageJ), but" in refusal(imagej(values, **{**own, name: other}))
    ranges = (own["min"], own["max"] - 2)
    assert f"its largest value is {ranges[1]} (ImageJ), but" in refusal(imagej(values, Ranges=ranges))
    dark = values // 4
    said = {"min": float(dark.min()), "max": float(dark.max())}
    assert "value is" in refusal(imagej(dark, **said)) and gray(imagej(dark)).max() <= 64


def test_what_else_imagej_says_of_values() -> None:
    ramp = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(gray(imagej(GRAY, LUTs=[np.stack([ramp] * 3)], Info="x", Labels=["y"])), GRAY)
    assert "a curve of its own for its values (ImageJ)" in refusal(imagej(GRAY, LUTs=[np.stack([ramp[::-1]] * 3)]))
    text = b"ImageJ=1.53t\nunit=mm\ncf=0\nc0=-1024.0\nc1=1.0\nvunit=HU\nmin=0.0\nmax=65535.0\n"
    assert "a scale of its values (ImageJ's calibration)" in refusal(described(text))


def gamma(above: int, below: int, order: str = "<") -> bytes:
    """Return EXIF data of a pointer to the directory that names a gamma."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    outer = struct.pack(f"{order}IHHHIII", 8, 1, 34665, LONG, 1, 26, 0)
    return head + outer + struct.pack(f"{order}HHHIII2I", 1, 42240, 5, 1, 44, 0, above, below)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_gamma_of_exif(order: str) -> None:
    good = [gamma(22, 10, order), gamma(0, 0, order), gamma(220, 100, order)[:40]]
    bad = [gamma(1, 1, order), gamma(10, 22, order), gamma(18, 10, order), gamma(5, 0, order)]
    for exif_data in good + bad:
        files = [with_segments(JPEG, segment(0xE1, b"Exif\0\0" + exif_data)), png(GRAY, 8, 0, (b"eXIf", exif_data))]
        for content in files:
            if exif_data in good:
                assert gray(content).shape
            else:
                assert "(EXIF), expected about 2.2: its values are not for display" in refusal(content)


def test_the_gamma_of_exif_in_a_tiff() -> None:
    content = save(Image.fromarray(GRAY), "TIFF", tiffinfo=gamma_tags(2.2))
    np.testing.assert_array_equal(gray(content), GRAY)
    for tags in (gamma_tags(1.0), gamma_tags(2.2, outside=1.0)):
        assert "has a gamma of 1 (EXIF)" in refusal(save(Image.fromarray(GRAY), "TIFF", tiffinfo=tags))


def gamma_tags(value: float, outside: float = 0.0) -> Any:
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[34665] = {42240: TiffImagePlugin.IFDRational(round(value * 10), 10)}
    if outside:
        directory[42240] = TiffImagePlugin.IFDRational(round(outside * 10), 10)
    return directory


def test_a_range_that_tifffile_describes() -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, GRAY * np.uint16(16), imagej=True, metadata={"min": 0.0, "max": 4095.0})
    with tifffile.TiffFile(io.BytesIO(stream.getvalue())) as file:
        assert file.imagej_metadata is not None and file.imagej_metadata["max"] == 4095.0
    assert "its largest value is 4095.0 (ImageJ)" in refusal(stream.getvalue())


@pytest.mark.parametrize("several", [False, True])
def test_planes_that_tifffile_writes_behind_the_first(several: bool) -> None:
    stream = io.BytesIO()
    pixels = np.stack([GRAY] * 3) if several else GRAY
    tifffile.imwrite(stream, pixels, photometric="minisblack", truncate=True, metadata={"axes": "ZYX"[-pixels.ndim :]})
    with tifffile.TiffFile(io.BytesIO(stream.getvalue())) as file:
        assert len(file.pages) == 1 and file.series[0].shape == pixels.shape
    if several:
        assert "described as several images" in refusal(stream.getvalue())
    else:
        np.testing.assert_array_equal(gray(stream.getvalue()), GRAY)


@pytest.mark.parametrize("between", [b"", b"\0\0", b"\n"])
def test_another_image_behind_the_end(between: bytes) -> None:
    files = (png(GRAY, 8, 0), JPEG, bmp(bmp_rows(COLOUR, 8), 24))
    for content in files:
        for other in (*files, tiff(GRAY, 8)):
            assert "images, expected exactly one" in refusal(content + between + other)
        np.testing.assert_array_equal(gray(content + between), gray(content))


@pytest.mark.parametrize(
    "packet", [b"Orientation ", b"<tiff:Orientation ", b"Orientation=", b"xmlns:", b"a:Orientation\n"]
)
def test_a_packet_of_half_matches_takes_no_time(packet: bytes) -> None:
    """Not many times what a plain search takes: one that tries hundreds of characters at each took 28 times as long."""
    text = packet * (2_000_000 // len(packet))
    begun = time.process_time()
    assert re.findall(rb"\w{1,64}!", text) == []
    plain = time.process_time()
    assert xmp_orientations(text) == set()
    assert time.process_time() - plain < 12 * (plain - begun)


def test_more_of_it_than_any_program_writes_is_refused() -> None:
    packets = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bytes(60_000))
    assert "bytes of XMP, expected at most 16,777,216" in refusal(with_segments(JPEG, *[packets] * 400))


def test_the_orientation_of_imagemagicks_own_chunk() -> None:
    """It stays in a PNG whose texts were taken away."""
    assert "orientation is 1, in another 6" in refusal(png(GRAY, 8, 0, (b"orNT", b"\6")))
    for says_nothing in (b"\0", b"\1", b"\6\6"):
        np.testing.assert_array_equal(gray(png(GRAY, 8, 0, (b"orNT", says_nothing))), gray(png(GRAY, 8, 0)))


@pytest.mark.parametrize("packet", PREFIXED)
def test_the_orientation_of_xmp_under_any_prefix(packet: bytes) -> None:
    for content in (
        tiff(GRAY, 8, tags={700: (UNDEFINED, packet)}),
        with_segments(JPEG, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)),
        png(GRAY, 8, 0, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)),
    ):
        assert "orientation is 1, in another 6" in refusal(content)
    assert "in another 6" in refusal(png(GRAY, 8, 0, (b"tEXt", b"exif:Orientation\x006")))  # as ImageMagick writes it
    other = packet.replace(b"adobe.com/tiff", b"example.com/pose")
    np.testing.assert_array_equal(gray(tiff(GRAY, 8, tags={700: (UNDEFINED, other)})), GRAY)


TIFF_REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("pages", lambda: tiff(GRAY, 8, next_at=8), "holds several pages, expected exactly one image"),
    ("SubIFDs", lambda: tiff(GRAY, 8, tags={330: (LONG, [8])}), "has further images (SubIFDs, tag 330)"),
    ("reduced", lambda: tiff(GRAY, 8, tags={254: (LONG, [1])}), "is a reduced copy"),
    ("mask", lambda: tiff(GRAY, 8, tags={254: (LONG, [4])}), "is a reduced copy or a mask"),
    ("old reduced", lambda: tiff(GRAY, 8, tags={255: (SHORT, [2])}), "has a reduced copy"),
    ("volume", lambda: tiff(GRAY, 8, tags={32997: (LONG, [3])}), "has a volume of several slices"),
    ("no ramp", lambda: tiff(GRAY, 8, tags={262: None}), "does not say whether 0 is black or white"),
    ("mask colours", lambda: tiff(GRAY, 8, photometric=4), "is a TIFF of colours 4, expected gray"),
    ("YCbCr", lambda: tiff(COLOUR, 8, photometric=6), "is a TIFF of colours 6, expected gray"),
    ("LAB", lambda: tiff(COLOUR, 8, photometric=8), "is a TIFF of colours 8, expected gray"),
    ("CFA", lambda: tiff(GRAY, 8, photometric=32803), "is a TIFF of colours 32803, expected gray"),
    ("signed", lambda: tiff(GRAY, 8, tags={339: (SHORT, [2])}), "has signed samples, expected unsigned"),
    ("float", lambda: tiff(GRAY, 16, tags={339: (SHORT, [3])}), "has floating-point samples, expected unsigned"),
    ("undefined", lambda: tiff(GRAY, 8, tags={339: (SHORT, [4])}), "has undefined samples, expected unsigned"),
    ("32 bits", lambda: save(Image.fromarray(GRAY.astype(np.int32)), "TIFF"), "has 32 bits per sample, expected 1 to"),
    ("32-bit float", lambda: save(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), "has 32 bits per sample, expecte"),
    ("mixed bits", lambda: tiff(COLOUR, 8, photometric=2, tags={258: (SHORT, [8, 8, 4])}), "has samples of 4 and 8 bi"),
    ("colour bits", lambda: tiff(COLOUR, 12, photometric=2), "has 12 bits per sample, expected 1 to 16 of gray, 8 or"),
    ("4095 of 65535", lambda: tiff(GRAY, 16, tags={281: (SHORT, [4095])}), "its largest value is 4095 (MaxSampleValue"),
    ("3000 of 65535", lambda: tiff(GRAY, 16, tags={281: (SHORT, [3000])}), "its largest value is 3000 (MaxSampleValue"),
    ("from 3000", lambda: tiff(GRAY, 16, tags={280: (SHORT, [3000])}), "its smallest value is 3000 (MinSampleValue"),
    ("square roots", lambda: tiff(GRAY, 8, tags={33445: (LONG, [2])}), "values that may be square roots"),
    ("NIH Image", lambda: tiff(GRAY, 8, tags={43314: (UNDEFINED, bytes(40))}), "has further planes, or a scale of its"),
    ("MetaMorph", lambda: tiff(GRAY, 8, tags={33629: (LONG, [0] * 18)}), "has further planes (UIC2tag, tag 33629)"),
    ("tifffile, old", lambda: described(b"shape=(3, 37, 45)"), "described as several images"),
    ("sample range", lambda: tiff(GRAY, 8, tags={341: (SHORT, [127])}), "a range of its own for black and white (SMin"),
    ("from 9", lambda: tiff(GRAY, 8, tags={340: (SHORT, [9])}), "a range of its own for black and white (SMin"),
    ("gray palette", lambda: tiff(GRAY, 8, tags={320: (SHORT, [*range(256)] * 3)}), "a palette (ColorMap, tag 320)"),
    ("dithered", lambda: tiff(GRAY, 8, tags={263: (SHORT, [3])}), "gray levels (Threshholding, tag 263, is 3, expecte"),
    ("old signed", lambda: tiff(GRAY, 8, tags={32996: (SHORT, [1])}), "are no unsigned integers (DataType, tag 32996"),
    ("white level", lambda: tiff(GRAY, 16, tags={50717: (SHORT, [255])}), "a white of its own (WhiteLevel, tag 50717)"),
    ("transfer range", lambda: tiff(GRAY, 8, tags={342: (SHORT, [0, 255] * 3)}), "its curve (TransferRange, tag 342)"),
    ("decode", lambda: tiff(GRAY, 8, tags={433: (LONG, [0, 1])}), "range of its own for its samples (Decode, tag 433)"),
    ("indexed", lambda: tiff(GRAY, 8, tags={346: (SHORT, [1])}), "are colours of a palette (Indexed, tag 346, is 1, e"),
    ("nits", lambda: tiff(GRAY, 8, tags={37439: (LONG, [2, 0])}), "its own for brightness (StoNits, tag 37439"),
    ("GDAL", lambda: tiff(GRAY, 8, tags={42112: (UNDEFINED, b'<Item role="scale">2</Item>')}), "a scale or offset of"),
    ("ImageJ", lambda: tiff(GRAY, 8, tags={270: (UNDEFINED, b"ImageJ=1.53\nimages=3\n\0")}), "described as several"),
    ("OME", lambda: tiff(GRAY, 8, tags={270: (UNDEFINED, b'<OME><Pixels SizeZ="3"/></OME>')}), "described as several"),
    ("ImageJ range", lambda: described(b"ImageJ=1.53\nmin=0.0\nmax=4095.0\n"), "largest value is 4095.0 (ImageJ), but"),
    ("ImageJ black", lambda: described(b"ImageJ=1.53\nmin=9\nmax=65535\n"), "its smallest value is 9 (ImageJ), but"),
    ("OME range", lambda: described(b'<OME><Pixels SignificantBits="12"/></OME>'), "is that of 12 bits (SignificantBi"),
    ("GDAL bits", lambda: described(b"", {42112: (UNDEFINED, NBITS % 12)}), "is that of 12 bits (NBITS of GDAL), but"),
    ("Micro-Manager", lambda: described(b"", {51123: (UNDEFINED, b'{"BitDepth":12}')}), "that of 12 bits (BitDepth of"),
    ("XMP", lambda: tiff(GRAY, 8, tags={700: (UNDEFINED, XMP)}), "orientation is 1, in another 6"),
    ("bit order", lambda: tiff(GRAY, 8, tags={266: (SHORT, [2])}), "has bits in reversed order"),
    ("fax", lambda: tiff(GRAY, 8, tags={259: (SHORT, [4])}), "is a TIFF of compression 4, expected none, LZW"),
    ("JPEG", lambda: save(Image.fromarray(GRAY), "TIFF", compression="jpeg"), "is a TIFF of compression 7, expected n"),
    ("float predictor", lambda: tiff(GRAY, 8, compression=LZW, tags={317: (SHORT, [3])}), "is a TIFF of predictor 3"),
    ("bare predictor", lambda: tiff(GRAY, 8, predictor=2), "is a TIFF of predictor 2 on 8 bits, which is not read"),
    ("12-bit predictor", lambda: tiff(GRAY, 12, predictor=2, compression=LZW), "is a TIFF of predictor 2 on 12 bits"),
    ("orientation", lambda: tiff(GRAY, 8, tags={274: (SHORT, [9])}), "has the orientation 9, expected 1 to 8"),
    ("gray curve", lambda: tiff(GRAY, 8, tags={291: (SHORT, [0] * 256)}), "has a curve of gray levels"),
    ("transfer", lambda: tiff(GRAY, 8, tags={301: (SHORT, [0] * 256)}), "has a curve of its values"),
    ("black and white", lambda: tiff(COLOUR, 8, photometric=2, tags={532: (LONG, [16])}), "has a range of its own for"),
    ("DNG", lambda: tiff(GRAY, 8, tags={50706: (LONG, [1])}), "has raw values of a camera (DNGVersion, tag 50706)"),
    ("inks", lambda: tiff(np.dstack([COLOUR, GRAY]), 8, photometric=5, tags={332: (SHORT, [2])}), "has inks that are"),
    ("ink range", lambda: tiff(np.dstack([COLOUR, GRAY]), 8, photometric=5, tags={336: (SHORT, [9, 99])}), "for its i"),
    ("unsaid extra", lambda: tiff(np.dstack([COLOUR, ALPHA]), 8, photometric=2), "has 4 samples per pixel, but says o"),
    ("strange extra", lambda: tiff(np.dstack([GRAY, ALPHA]), 8, tags={338: (SHORT, [3])}), "has extra samples of unkn"),
    ("deep alpha", lambda: tiff(np.dstack([GRAY, ALPHA]), 16, tags={338: (SHORT, [2])}), "has transparency, which is"),
    ("byte colours", lambda: tiff(GRAY, 8, photometric=3, tags={320: (SHORT, [*range(256)] * 3)}), "has a ColorMap of"),
    ("linear", lambda: tiff(GRAY, 8, tags={34675: (UNDEFINED, LINEAR)}), "black, middle and white are 0, 0.5"),
    ("CMYK profile", lambda: tiff(np.dstack([COLOUR, GRAY]), 8, photometric=5, tags={34675: (UNDEFINED, SRGB)}), "is"),
    ("DICOM", lambda: bytes(128) + b"DICM" + bytes(40), "is a DICOM file, expected a JPEG, PNG, BMP or TIFF here"),
    ("BigTIFF", lambda: b"II+\0\x08\0\0\0" + bytes(40), "is a BigTIFF file, expected a plain TIFF"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in TIFF_REFUSED], ids=[c[0] for c in TIFF_REFUSED])
def test_tiff_refused(make: Callable[[], bytes], message: str) -> None:
    assert message in refusal(make())


class TestJpeg:
    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}])
    @pytest.mark.parametrize("pixels", [SMOOTH, COLOUR])
    def test_is_what_another_reader_decodes(self, options: dict[str, Any], pixels: NDArray[np.uint8]) -> None:
        content = save(Image.fromarray(pixels), "JPEG", quality=95, **options)
        read = imagecodecs.jpeg_decode(content)
        np.testing.assert_array_equal(gray(content), read if read.ndim == 2 else luma(read))

    def test_colours_are_those_that_the_segments_say(self) -> None:
        """An Adobe segment makes RGB of what would be YCbCr, and tells inverted CMYK and YCCK apart."""
        content = bytes(imagecodecs.jpeg_encode(COLOUR, level=100, colorspace="RGB", outcolorspace="RGB"))
        assert b"Adobe" in content
        np.testing.assert_array_equal(gray(content), luma(imagecodecs.jpeg_decode(content)))
        assert np.abs(gray(content) - luma(COLOUR)).max() <= 4
        image = Image.fromarray(np.dstack([SMOOTH] * 3)).convert("CMYK")
        content = save(image, "JPEG", quality=95)
        inks = 255 - imagecodecs.jpeg_decode(content).astype(np.int64)  # stored inverted
        light = np.clip(255 - inks[:, :, :3] - inks[:, :, 3:], 0, 255)
        assert np.abs(gray(content) - luma(light)).max() <= 2 and np.abs(gray(content).astype(int) - SMOOTH).max() <= 9

    def test_what_changes_nothing(self) -> None:
        added = [icc(SRGB[:600], 1, 2), icc(SRGB[600:], 2, 2), mpf(1), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
                 segment(0xFE, b"\xff\xd9\xff\xd8\xff a comment")]  # fmt: skip
        np.testing.assert_array_equal(gray(with_segments(JPEG, *added)), gray(JPEG))
        np.testing.assert_array_equal(gray(JPEG + b"a trailer"), gray(JPEG))


JPEG_KINDS: dict[str, dict[str, Any]] = {
    "gray": {"mode": "L"}, "colour": {}, "4:2:2": {"subsampling": 1}, "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True}, "progressive gray": {"mode": "L", "progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
    "CMYK": {"mode": "CMYK"}, "middle gray": {"level": 128}, "black": {"level": 0},
}  # fmt: skip


@pytest.mark.parametrize("kind", JPEG_KINDS)
def test_a_jpeg_has_all_its_coded_data(kind: str) -> None:
    """The kind of fault: where data are missing before a proper end, a decoder makes pixels up and says nothing."""
    options = dict(JPEG_KINDS[kind])
    mode, level = options.pop("mode", "RGB"), options.pop("level", None)
    for height, width in ((64, 80), (57, 89), (33, 17), (9, 7), (1, 1)):
        noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        if level is not None:
            noise[height // 2 :] = level
        content = save(Image.fromarray(noise).convert(mode), "JPEG", quality=90, **options)
        read = Image.open(io.BytesIO(content))
        expected = np.asarray((read.convert("RGB") if mode == "CMYK" else read).convert("L"))
        np.testing.assert_array_equal(gray(content), expected)
        if height < 33:
            continue
        start, frame = content.index(b"\xff\xda") + 14, re.search(rb"\xff[\xc0\xc2]", content)
        assert frame is not None
        at = frame.start() + 5
        taller = content[:at] + struct.pack(">H", height + 32) + content[at + 2 :]
        parts = [content[: start + (len(content) - start) * percent // 100] for percent in (1, 30, 50, 80)]
        ends = [match.start() for match in re.finditer(rb"\xff\xda", content)][1:]  # between scans
        intervals = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", content)][:3]
        for short in (*parts, *(content[:end] for end in (*ends, *intervals))):
            with pytest.raises(ImageError, match=r"x: is damaged .*; replace the file\."):
                gray(short + b"\xff\xd9")
        with pytest.raises(ImageError, match="its pixel data end early"):
            gray(taller)


@pytest.mark.parametrize("kind", JPEG_KINDS)
def test_the_last_bytes_of_a_jpeg_count(kind: str) -> None:
    """What a picture needs is missed to the last byte; and where a cut is not noticed, the picture is the same."""
    options = dict(JPEG_KINDS[kind])
    mode, level = options.pop("mode", "RGB"), options.pop("level", None)
    picture = np.random.default_rng(3).normal(128, 40, (48, 64, 3)).clip(0, 255).astype(np.uint8)
    if level is not None:
        picture[24:] = level
    content = save(Image.fromarray(picture).convert(mode), "JPEG", quality=80, **options)
    whole, refused, scans = gray(content), 0, jpeg.segments(content).scans
    for cut in range(1, 30):
        end = max(scans[-1][0], scans[-1][1] - cut)
        try:
            np.testing.assert_array_equal(gray(content[:end].rstrip(b"\xff") + b"\xff\xd9"), whole)
        except ImageError as err:
            assert "its pixel data end early" in str(err) or "is damaged" in str(err)
            refused += 1
    assert refused >= (25 if len(scans) == 1 and level is None else 0)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.sampled_from([0.0, 0.6, 5, 60]), st.sampled_from(["L", "RGB", "CMYK"]),
    st.fixed_dictionaries(
        {"quality": st.sampled_from([1, 30, 75, 100]), "optimize": st.booleans(), "progressive": st.booleans()},
        optional={
            "subsampling": st.integers(0, 2), "restart_marker_blocks": st.integers(1, 9),
            "restart_marker_rows": st.integers(1, 2),
        },
    ),
)  # fmt: skip
def test_no_whole_jpeg_is_refused(height: int, width: int, noise: float, mode: str, options: dict[str, Any]) -> None:
    if mode == "CMYK":
        options.pop("subsampling", None)
    picture = np.random.default_rng(height).normal(width % 256, noise, (height, width, 3)).clip(0, 255)
    content = save(Image.fromarray(picture.astype(np.uint8)).convert(mode), "JPEG", **options)
    read = Image.open(io.BytesIO(content))
    expected = np.asarray((read.convert("RGB") if mode == "CMYK" else read).convert("L"))
    np.testing.assert_array_equal(gray(content), expected)


@pytest.mark.parametrize("kind", ["gray", "colour", "4:2:2", "4:4:4", "restarts", "CMYK"])
def test_a_jpeg_of_which_the_header_hides_rows(kind: str) -> None:
    options = dict(JPEG_KINDS[kind])
    mode = options.pop("mode", "RGB")
    picture = np.random.default_rng(0).normal(128, 40, (160, 200, 3)).clip(0, 255).astype(np.uint8)
    content = save(Image.fromarray(picture).convert(mode), "JPEG", quality=90, **options)
    at = content.index(b"\xff\xc0") + 5
    for height, width in ((144, 200), (80, 200), (16, 200), (160, 184)):
        with pytest.raises(ImageError, match="its pixel data go on after its last row"):
            gray(content[:at] + struct.pack(">HH", height, width) + content[at + 4 :])


RESTARTS = with_segments(PROGRESSIVE, segment(0xDD, b"\0\1"))  # old Pillow writes none
JPEG_REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("12 bits", lambda: other_frame(0xC1, 12), "is a JPEG with 12 bits per sample, expected 8 bits"),
    ("real 12 bits", lambda: bytes(imagecodecs.jpeg_encode(SMOOTH * np.uint16(9), bitspersample=12)), "with 12 bits p"),
    ("lossless", lambda: other_frame(0xC3), "is a JPEG with arithmetic, lossless or hierarchical coding, expected"),
    ("real lossless", lambda: bytes(imagecodecs.jpeg_encode(SMOOTH, lossless=True)), "is a JPEG with arithmetic, loss"),
    ("JPEG-LS", lambda: bytes(imagecodecs.jpegls_encode(SMOOTH)), "is a JPEG-LS file, expected a JPEG, baseline or"),
    ("arithmetic", lambda: other_frame(0xC9), "is a JPEG with arithmetic, lossless or hierarchical coding"),
    ("hierarchical", lambda: other_frame(0xC5), "is a JPEG with arithmetic, lossless or hierarchical coding"),
    ("unsaid CMYK", lambda: CMYK_JPEG.replace(b"Adobe", b"Adobo"), "of four components and does not say of which"),
    ("both colours", lambda: with_segments(JPEG_RGB, segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")), "says both YCbCr (JFIF"),
    ("several", lambda: with_segments(JPEG, mpf(2)), "holds 2 images, expected exactly one"),
    ("MPO", lambda: save(Image.fromarray(SMOOTH), "MPO", save_all=True, append_images=[Image.fromarray(SMOOTH)]), "ho"),
    ("one after another", lambda: JPEG + JPEG, "holds 2 images, expected exactly one"),
    ("linear", lambda: with_segments(JPEG, icc(LINEAR)), "black, middle and white are 0, 0.5 and 1 of the light"),
    ("half a profile", lambda: with_segments(JPEG, icc(SRGB[:600], 1, 2)), "has a colour profile that is not whole"),
    ("CMYK profile", lambda: with_segments(CMYK_JPEG, icc(SRGB)), "is CMYK with a colour profile"),
    ("bad EXIF", lambda: with_segments(JPEG, segment(0xE1, b"Exif\0\0nonsense")), "nothing tells which side is up"),
    ("orientation", lambda: with_segments(JPEG, segment(0xE1, b"Exif\0\0" + exif(9))), "has the orientation 9"),
    ("restarts", lambda: other_size(RESTARTS, 65500, 65500), "has more than 4000000 restart markers, expected fewer"),
    ("two EXIF", lambda: with_segments(JPEG, *(segment(0xE1, b"Exif\0\0" + exif(side)) for side in (6, 1))), "disagr"),
    ("XMP", lambda: with_segments(JPEG, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)), "is 1, in another 6"),
    ("scans", lambda: JPEG[:-2] + JPEG[JPEG.index(b"\xff\xda") : -2] * 100, "has 101 JPEG scans, expected at most 100"),
    ("many large scans", lambda: other_size(PROGRESSIVE, 9999, 9999), "JPEG scans of 9999 x 9999 pixels, expected few"),
    ("segments", lambda: with_segments(JPEG, segment(0xFE, b"") * 10_000), "has more than 10000 JPEG segments"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in JPEG_REFUSED], ids=[c[0] for c in JPEG_REFUSED])
def test_jpeg_refused(make: Callable[[], bytes], message: str) -> None:
    assert message in refusal(make())


def spiff(colours: int, components: int) -> bytes:
    """Return the first segment of a file as ITU-T T.84 has it."""
    size = struct.pack(">II", 37, 45)
    return segment(0xE8, b"SPIFF\0\1\2\0" + bytes([components]) + size + bytes([colours, 8, 5, 1]) + bytes(8))


def test_the_colours_of_a_spiff_header() -> None:
    """Libjpeg takes three components without JFIF for YCbCr, whatever a SPIFF header says."""
    shades = [save(Image.fromarray(GRAY), "JPEG"), save(Image.fromarray(COLOUR), "JPEG")]
    for content, components, colours in ((shades[0], 1, 8), (shades[1], 3, 3)):
        bare = content[:2] + content[20:]  # without JFIF
        assert content[6:10] == b"JFIF" and bare[2:4] == b"\xff\xdb"
        for found in range(15):
            other = with_segments(bare, spiff(found, components))
            if found == colours:
                np.testing.assert_array_equal(gray(other), gray(content))
            else:
                assert f"a SPIFF header of colours {found}, expected gray (8)" in refusal(other)


class TestPng:
    @pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
    def test_gray_of_every_depth_and_its_clear_level(self, depth: int) -> None:
        values = RNG.integers(0, 1 << depth, (37, 45))
        expected = full_scale(values, depth)
        content = png(values, depth, 0)
        read = imagecodecs.png_decode(content)
        np.testing.assert_array_equal(read if depth in (8, 16) else read * 1, values if depth == 16 else expected)
        np.testing.assert_array_equal(gray(content), expected)
        level = int(values[3, 4])
        for clear in (level, level | 1 << depth if depth < 16 else level):  # bits above the depth do not count
            content = png(values, depth, 0, (b"tRNS", struct.pack(">H", clear)))
            np.testing.assert_array_equal(gray(content), np.where(values == level, 0, expected))

    @pytest.mark.parametrize("depth", [1, 2, 4, 8])
    def test_palette_with_alpha(self, depth: int) -> None:
        indices = RNG.integers(0, 1 << depth, (37, 45))
        colours = RNG.integers(0, 256, (1 << depth, 3))
        chunk = (b"PLTE", colours.astype(np.uint8).tobytes())
        np.testing.assert_array_equal(gray(png(indices, depth, 3, chunk)), luma(colours)[indices])
        alphas = np.array([0, 128][: 1 << depth])
        expected = luma(colours).astype(float)
        expected[: len(alphas)] *= alphas / 255
        content = png(indices, depth, 3, chunk, (b"tRNS", alphas.astype(np.uint8).tobytes()))
        assert np.abs(gray(content) - expected[indices]).max() <= 1.5

    def test_clear_colour(self) -> None:
        key = COLOUR[5, 6]
        content = png(COLOUR, 8, 2, (b"tRNS", struct.pack(">3H", *key.tolist())))
        np.testing.assert_array_equal(gray(content), np.where((key == COLOUR).all(axis=2), 0, luma(COLOUR)))

    @pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA", "P", "1", "I;16"])
    def test_interlaced_files_are_the_same(self, mode: str) -> None:
        pixels = {"L": GRAY, "RGB": COLOUR, "LA": np.dstack([GRAY, ALPHA]), "RGBA": np.dstack([COLOUR, ALPHA])}
        if mode == "I;16":
            content = interlaced(GRAY.astype(np.uint16) * 201, 16, 0)
            plain = png(GRAY.astype(np.uint16) * 201, 16, 0)
        elif mode == "1":
            content, plain = interlaced(GRAY & 1, 1, 0), png(GRAY & 1, 1, 0)
        elif mode == "P":
            palette = (b"PLTE", COLOUR.reshape(-1)[:768].tobytes())
            content, plain = interlaced(GRAY, 8, 3, palette), png(GRAY, 8, 3, palette)
        else:
            colour = {"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}[mode]
            content, plain = interlaced(pixels[mode], 8, colour), png(pixels[mode], 8, colour)
        np.testing.assert_array_equal(gray(content), gray(plain))

    def test_what_changes_nothing(self) -> None:
        usual = [
            [(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", bytes(32)), (b"bKGD", b"\0\xff"), (b"pHYs", bytes(9))],
            [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))],  # sRGB counts, not gAMA
            [(b"iCCP", b"x\0\0" + zlib.compress(SRGB)), (b"tEXt", b"a\0b"), (b"hIST", b"\0" * 8)],
            [(b"cICP", bytes([1, 13, 0, 1])), (b"iCCP", b"x\0\0" + zlib.compress(LINEAR))],  # cICP counts
            [(b"sBIT", b"\x05"), (b"tIME", bytes(7)), (b"zzZz", b"unknown")],
        ]
        for chunks in usual:
            np.testing.assert_array_equal(gray(png(GRAY, 8, 0, *chunks)), GRAY)

    @pytest.mark.parametrize("made", [lambda p: png(p, 8, 0), lambda p: interlaced(p, 8, 0)], ids=["rows", "passes"])
    def test_missing_pixels_are_damage_and_black_ones_are_not(self, made: Callable[[NDArray[Any]], bytes]) -> None:
        """Pillow makes zeros of them, where the compressed data have an end but too few rows."""
        black = GRAY.copy()
        black[1::2] = 0  # the last pass
        if made(GRAY) == png(GRAY, 8, 0):
            black[-1] = 0
        whole = made(black)
        np.testing.assert_array_equal(gray(whole), black)
        at = whole.index(b"IDAT")
        end = at + 4 + int.from_bytes(whole[at - 4 : at], "big")
        for missing in (1, 46, 700):
            data = b"IDAT" + zlib.compress(zlib.decompress(whole[at + 4 : end])[:-missing])
            cut = whole[: at - 4] + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
            with pytest.raises(ImageError, match="x: is damaged"):
                gray(cut + whole[end + 4 :])

    def test_samples_are_full_scale_whatever_sbit_says(self) -> None:
        """The standard has twelve bits scaled to sixteen: white is 65535."""
        twelve = RNG.integers(0, 4096, (37, 45))
        twelve[0, 0] = 4095
        content = png(twelve << 4 | twelve >> 8, 16, 0, (b"sBIT", b"\x0c"))
        np.testing.assert_array_equal(gray(content), full_scale(twelve << 4 | twelve >> 8, 16))
        assert np.abs(gray(content) - full_scale(twelve, 12)).max() <= 1


PNG_REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("animation", lambda: png(GRAY, 8, 0, (b"acTL", bytes(8))), "holds several images, expected exactly one"),
    ("stereo", lambda: png(GRAY, 8, 0, (b"sTER", b"\0")), "holds several images"),
    ("16-bit RGB", lambda: png(COLOUR, 16, 2), "has 16 bits per colour, expected 8; save it as gray, or with 8 bits"),
    ("16-bit LA", lambda: png(np.dstack([GRAY, ALPHA]), 16, 4), "has 16 bits per colour, expected 8"),
    ("16-bit RGBA", lambda: png(np.dstack([COLOUR, ALPHA]), 16, 6), "has 16 bits per colour, expected 8"),
    ("gamma 1/2", lambda: png(GRAY, 8, 0, (b"gAMA", struct.pack(">I", 50_000))), "has a gamma of 0.5 (gAMA)"),
    ("raw EXIF", lambda: png(GRAY, 8, 0, (b"tEXt", b"Raw profile type exif\0" + RAW_EXIF)), "is 1, in another 6"),
    ("packed EXIF", lambda: png(GRAY, 8, 0, (b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(RAW_EXIF))), "r 6"),
    ("XMP", lambda: png(GRAY, 8, 0, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)), "is 1, in another 6"),
    ("linear gamma", lambda: png(GRAY, 8, 0, (b"gAMA", struct.pack(">I", 100_000))), "has a gamma of 1 (gAMA)"),
    ("linear", lambda: png(GRAY, 8, 0, (b"iCCP", b"x\0\0" + zlib.compress(LINEAR))), "are 0, 0.5 and 1 of the light"),
    ("HDR", lambda: png(GRAY, 8, 0, (b"cICP", bytes([9, 16, 0, 1]))), "another range or brightness than a screen's"),
    ("narrow", lambda: png(GRAY, 8, 0, (b"cICP", bytes([1, 13, 0, 0]))), "another range or brightness than a screen's"),
    ("mastering", lambda: png(GRAY, 8, 0, (b"mDCV", bytes(24))), "has the brightness of another screen (mDCV), which"),
    ("light", lambda: png(GRAY, 8, 0, (b"cLLI", bytes(8))), "has a light level of its own (cLLI), which is not read"),
    ("calibrated", lambda: png(GRAY, 8, 0, (b"pCAL", b"x\0" + bytes(12))), "has a scale of its values (pCAL), which"),
    ("orientation", lambda: png(GRAY, 8, 0, (b"eXIf", exif(9))), "has the orientation 9, expected 1 to 8"),
    ("bad EXIF", lambda: png(GRAY, 8, 0, (b"eXIf", b"nonsense")), "nothing tells which side is up"),
    ("chunks", lambda: png(GRAY, 8, 0, *[(b"tEXt", b"")] * 200_000), "has more than 200000 PNG chunks"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in PNG_REFUSED], ids=[c[0] for c in PNG_REFUSED])
def test_png_refused(make: Callable[[], bytes], message: str) -> None:
    assert message in refusal(make())


@pytest.mark.parametrize("space", ["kTRC", "rTRC"])
def test_profiles_of_displays(space: str) -> None:
    """Gray and RGB profiles, each kind of curve; the middle value of a display shows about a fifth of the light."""
    names = (b"kTRC",) if space == "kTRC" else (b"rTRC", b"gTRC", b"bTRC")
    srgb = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    right = [curve(round(2.2 * 256)), curve(round(1.8 * 256)), parametric(0, 2.2), parametric(3, *srgb),
             parametric(4, *srgb, 0, 0), parametric(1, 2.4, 1, 0), parametric(2, 2.2, 1, 0, 0),
             curve(*(round(65535 * (i / 99) ** 2.2) for i in range(100)))]  # fmt: skip
    for good in right:
        require_display(profile(good, names))
    wrong = [curve(), curve(256), parametric(0, 1), parametric(0, 0.45), curve(*range(65535, -1, -655)),
             curve(0, 65535), curve(0, 40000, 14000, 14000, 65535), curve(0, 0, 14000, 14000, 65535),
             parametric(4, *srgb, 0.3, 0), parametric(2, 2.2, 1, 0, 0.5)]  # fmt: skip
    for bad in wrong:
        with pytest.raises(ImageError, match=r"in which black, middle and white are"):
            require_display(profile(bad, names))
    lights = _lights(parametric(4, 2, 1, 0, 0.25, 0.5, 0.25, 0.125))  # ICC.1, 10.18: g a b c d e f
    assert lights[[0, 16, 32]].tolist() == [0.125, 0.5, 1.25]
    table = profile(curve(round(2.2 * 256)), (*names, b"A2B0"))
    with pytest.raises(ImageError, match=r"cannot be read \(it has a table \(A2B0\) in place of its curves\)"):
        require_display(table[:16] + (b"GRAY" if space == "kTRC" else b"RGB ") + table[20:])
    for broken in (
        curve(1, 2)[:-2],
        b"mft2" + bytes(40),
        b"",
        parametric(7),
        parametric(1, 2, 0, 1),
        parametric(0, -1),
    ):
        with pytest.raises(ImageError, match=r"profile that cannot be read"):
            require_display(profile(broken, names))


def test_a_gray_curve_to_lightness() -> None:
    """A straight one is that of a display, and one like a gamma's is not: nobody here computes light of it."""
    right = profile(curve(round(2.2 * 256)))
    with pytest.raises(ImageError, match="its curve gives lightness"):
        require_display(right[:20] + b"Lab " + right[24:])


class TestBmp:
    @pytest.mark.parametrize("bits", [1, 4, 8])
    @pytest.mark.parametrize("size", [12, 40, 124])
    def test_palettes(self, bits: int, size: int) -> None:
        indices = RNG.integers(0, 1 << bits, (37, 45))
        colours = RNG.integers(0, 256, (1 << bits, 4), dtype=np.uint8)  # B G R and a reserved byte
        palette = colours[:, :3].tobytes() if size == 12 else colours.tobytes()
        content = bmp(bmp_rows(indices, bits), bits, size=size, palette=palette, space=b"BGRs")
        np.testing.assert_array_equal(gray(content), luma(colours[:, 2::-1])[indices])

    @pytest.mark.parametrize("channels", [3, 4])
    def test_colour(self, channels: int) -> None:
        pixels = RNG.integers(0, 256, (37, 45, channels), dtype=np.uint8)
        content = bmp(bmp_rows(pixels, 8), 8 * channels)
        expected = luma(pixels[:, :, 2::-1])
        np.testing.assert_array_equal(gray(content), expected)
        if channels == 3:
            np.testing.assert_array_equal(imagecodecs.bmp_decode(content, asrgb=True), pixels[:, :, ::-1])
        rows = b"".join(bmp_rows(pixels[i : i + 1], 8) for i in range(37))
        np.testing.assert_array_equal(gray(bmp(rows, 8 * channels, height=-37)), expected)

    @pytest.mark.parametrize("image", [Image.fromarray(GRAY), Image.fromarray(COLOUR), Image.fromarray(GRAY > 99)])
    def test_what_pillow_writes(self, image: Image.Image) -> None:
        np.testing.assert_array_equal(gray(save(image, "BMP")), np.asarray(image.convert("L")))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (bmp(bytes(9999), 16), "is a BMP of 16 bits in layout 0, expected"),
            (bmp(bytes(9999), 32, layout=3), "is a BMP of 32 bits in layout 3, expected"),
            (bmp(bytes(9999), 8, layout=1, palette=bytes(1024)), "is a BMP of 8 bits in layout 1, expected"),
            (bmp(bytes(9999), 24, size=64), "is a BMP with a header of 64 bytes, expected"),
            (bmp(bytes(9999), 24, size=124, space=b"DEBM"), "is a BMP with a colour profile"),
            (bmp(bytes(9999), 24, size=108, space=bytes(4) + bytes(36) + struct.pack("<I", 1 << 16)), "colour profile"),
        ],
    )
    def test_refused(self, content: bytes, message: str) -> None:
        assert message in refusal(content)


def test_sides_that_agree() -> None:
    """Editors write the orientation into EXIF and XMP; a 1 in XMP is a default, and most descriptions are harmless."""
    side = [segment(0xE1, b"Exif\0\0" + exif(6)), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)]
    np.testing.assert_array_equal(gray(with_segments(JPEG, *side)), gray(with_segments(JPEG, side[0])))
    upright = (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.replace(b"6", b"1"))
    texts = [(b"tEXt", b"Comment\0tiff:Orientation=6")] * 2
    np.testing.assert_array_equal(gray(png(GRAY, 8, 0, upright, *texts)), GRAY)
    tags: dict[int, Tag | None] = {
        270: (UNDEFINED, b'<OME><Pixels SizeZ="1" SizeC="1"/></OME>'), 340: (SHORT, [0]), 341: (SHORT, [255]),
        346: (SHORT, [0]), 42112: (UNDEFINED, b'<Item name="AREA">2</Item>'), 700: (UNDEFINED, XMP.replace(b"6", b"1")),
    }  # fmt: skip
    np.testing.assert_array_equal(gray(tiff(GRAY, 8, tags=tags)), GRAY)


@pytest.mark.parametrize("value", range(9))
def test_which_side_is_up(value: int) -> None:
    """Pillow's own transposition is the reference; its readers obey or not, from version to version."""

    def expected(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image = Image.fromarray(pixels)
        image.getexif()[274] = value
        return np.asarray(ImageOps.exif_transpose(image))

    for order in "<>":
        content = with_segments(JPEG, segment(0xE1, b"Exif\0\0" + exif(value, order)))
        np.testing.assert_array_equal(gray(content), expected(gray(JPEG)))
        np.testing.assert_array_equal(gray(png(GRAY, 8, 0, after=(b"eXIf", exif(value, order)))), expected(GRAY))
        np.testing.assert_array_equal(gray(tiff(GRAY, 8, order=order, tags={274: (SHORT, [value])})), expected(GRAY))
    wide = tiff(GRAY[:20], 8, tags={274: (SHORT, [value])})  # its size is that of the upright image
    if value > 4:
        assert look(wide, name="x").size == (20, 45) and load_pixels(wide, height=45, width=20).shape == (45, 20)
        with pytest.raises(ImageError, match=r"is 20 x 45 pixels .* at least 45 x 20 are needed"):
            load_pixels(wide, height=20, width=45)


RUNS = st.builds(lambda byte, count: bytes([byte]) * count, st.integers(0, 255), st.integers(1, 300))


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=9), RUNS), min_size=1))
def test_packbits_is_that_of_another_program(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    packed = bytes(imagecodecs.packbits_encode(raw))
    assert packbits(packed, len(raw)) == raw and packbits(b"\x80" + packed, len(raw) - 1) == raw[:-1]
    with pytest.raises(ValueError, match=f"{len(raw)} bytes of {len(raw) + 1}"):
        packbits(packed, len(raw) + 1)


class TestBounds:
    """What a few bytes may ask for."""

    @pytest.mark.parametrize(
        "content",
        [
            tiff(GRAY, 8, tags={322: (LONG, [1 << 16]), 323: (LONG, [1 << 16]), 324: (LONG, [8]), 325: (LONG, [9]),
                                273: None, 279: None}),
            tiff(GRAY, 8, tags={257: (LONG, [0])}),
            tiff(GRAY, 8, tags={273: (LONG, [1 << 31])}),
            tiff(GRAY, 8, tags={279: (LONG, [1 << 31])}),
            tiff(GRAY, 8)[:4] + b"\xff\xff\xff\xff",
            bmp(bytes(99), 24),
            bmp(bytes(99), 8, height=-(1 << 31)),
            bmp(bmp_rows(GRAY, 8), 8, palette=bytes(4 * 200)),
            png(GRAY, 8, 3, (b"PLTE", bytes(3 * 200))),
            png(GRAY, 8, 0, (b"tRNS", b"\0")),
            png(GRAY, 8, 3),
            png(GRAY, 8, 0, (b"CgBI", b"")),
            png(GRAY, 8, 0, (b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 25)))),
            png(GRAY, 8, 0)[:-12],
        ],
        ids=itertools.count(),
    )  # fmt: skip
    def test_nonsense_is_damage(self, content: bytes) -> None:
        with pytest.raises(ImageError, match=r"x: is damaged and cannot be decoded \(.*\); replace the file\."):
            gray(content)

    @pytest.mark.parametrize(("compression", "rows"), [(DEFLATE, 38), (PACKBITS, 38), (LZW, 380)])
    def test_a_strip_of_fewer_rows_than_it_says_is_damage(self, compression: int, rows: int) -> None:
        tags: dict[int, Tag | None] = {257: (LONG, [rows]), 278: (LONG, [rows])}
        self.test_nonsense_is_damage(tiff(GRAY, 8, compression=compression, tags=tags))

    def test_tiles_may_not_be_much_larger_than_their_image(self) -> None:
        tags: dict[int, Tag | None] = {322: (LONG, [64]), 323: (LONG, [1 << 16]), 324: (LONG, [8]), 325: (LONG, [9])}
        for size in ({}, {322: (LONG, [1 << 16]), 323: (LONG, [64])}):
            with pytest.raises(ImageError, match=r"tiles of (64 x 65536|65536 x 64) pixels"):
                gray(tiff(GRAY, 8, tags={**tags, **size, 273: None, 279: None}))
        np.testing.assert_array_equal(gray(tiff(GRAY, 8, tile=(1024, 1024))), GRAY)

    def test_pieces(self) -> None:
        many = tiff(GRAY[:1], 8, tags={257: (LONG, [100_001]), 278: (LONG, [1])})
        assert "is cut into 100001 pieces, expected at most 100000" in refusal(many)

    def test_memory_is_bounded_before_anything_is_decoded(self) -> None:
        for content in (
            tiff(
                GRAY[:1, :1], 16, compression=LZW, tags={256: (LONG, [9000]), 257: (LONG, [9000]), 278: (LONG, [9000])}
            ),
            png(COLOUR, 8, 2).replace(struct.pack(">II", 45, 37), struct.pack(">II", 9900, 9900)),
            other_size(save(Image.fromarray(COLOUR), "JPEG", progressive=True, subsampling=0), 6100, 6100),
        ):
            head = bytearray(content)
            if content[1:4] == b"PNG":
                head[29:33] = struct.pack(">I", zlib.crc32(head[12:29]))
            with pytest.raises(ImageTooLargeError, match=r"that take \d+ MB to decode; at most .* 400 MB"):
                gray(bytes(head))

    def test_memory_is_what_was_said(self, tmp_path: Path) -> None:
        """Decode 4 megapixels in a process of its own, whose peak Linux tells; 16 MB are for what all images share."""
        pixels = np.add.outer(np.arange(2000), np.arange(2000)).astype(np.uint16)
        image = Image.fromarray((pixels >> 4).astype(np.uint8))
        files = {
            "gray.jpeg": save(image, "JPEG"),
            "colour.jpeg": save(image.convert("RGB"), "JPEG"),
            "progressive.jpeg": save(image.convert("RGB"), "JPEG", progressive=True, subsampling=0),
            "alpha.png": save(image.convert("RGBA"), "PNG", compress_level=1),
            "sixteen.png": save(Image.fromarray(pixels), "PNG", compress_level=1),
            "twelve.tiff": tiff(pixels, 12, rows=50),
            "lzw.tiff": tiff(pixels, 16, compression=LZW),
            "deflate.tiff": tiff(pixels, 16, compression=DEFLATE, predictor=2),
            "packbits.tiff": tiff(pixels, 16, compression=PACKBITS),
            "palette.bmp": save(image.convert("P"), "BMP"),
        }
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        code = (
            "import re, sys; from pathlib import Path; from contract.preprocess import load_gray, look\n"
            "status = Path('/proc/self/status')\n"
            "def peak(field): return int(re.search(field + r':\\s+(\\d+) kB', status.read_text())[1])\n"
            "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
            "    content = path.read_bytes(); Path('/proc/self/clear_refs').write_text('5'); before = peak('VmRSS')\n"
            "    load_gray(content, height=1, width=1)\n"
            "    print(path.name, 1024 * (peak('VmHWM') - before), look(content, name='x').memory)"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        rows = [(name, int(used), int(said)) for name, used, said in map(str.split, done.stdout.splitlines())]
        assert len(rows) == len(files) and all(used < said + 16e6 for _, used, said in rows), rows
        assert sum(used for _, used, _ in rows) > 60e6  # it does tell


@pytest.mark.skipif(not OLDEST.exists(), reason="the environment with the oldest Pillow is not there")
def test_the_oldest_pillow_gives_the_same(tmp_path: Path) -> None:
    files = one_of_each()
    for i, content in enumerate(files):
        (tmp_path / f"{i:03}").write_bytes(content)
    code = (
        "import sys; from pathlib import Path; from contract.preprocess import load_gray\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()): print(load_gray(path, height=1, width=1).tobytes().hex())"
    )
    done = subprocess.run([OLDEST, "-c", code, tmp_path], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for i, (line, content) in enumerate(zip(done.stdout.split(), files, strict=True)):
        assert line == gray(content).tobytes().hex(), i
