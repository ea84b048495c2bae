"""Pixels are checked against fractions, hostile files against one rule: nothing but ImageError comes out."""

import io
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from contract.errors import ImageError
from contract.preprocess import PREPROCESS_VERSION, area_average, describe, load_pixels
from tests.randomness import generator

RNG = generator(0)
GRAY = RNG.integers(0, 256, (37, 45), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (37, 45, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (37, 45), dtype=np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, *, bits: int = 8, colour: int = 0, rows: bytes = b"") -> bytes:
    """Write a PNG by hand: a header that promises width x height, and these rows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def same_size(content: bytes, like: NDArray[np.uint8] = GRAY) -> NDArray[np.uint8]:
    return load_pixels(content, height=like.shape[0], width=like.shape[1])


def luma(rgb: NDArray[np.integer]) -> NDArray[np.int64]:
    r, g, b = np.moveaxis(rgb.astype(np.int64), -1, 0)
    return np.asarray((19595 * r + 38470 * g + 7471 * b + 32768) >> 16)


def exact_average(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Average by fractions, from the definition: overlap of every pixel with every area."""

    def overlaps(n: int, count: int) -> list[list[tuple[int, Fraction]]]:
        step = Fraction(n, count)
        return [
            [
                (p, part)
                for p in range(n)
                if (part := min((i + 1) * step, Fraction(p + 1)) - max(i * step, Fraction(p))) > 0
            ]
            for i in range(count)
        ]

    rows, columns = overlaps(pixels.shape[0], height), overlaps(pixels.shape[1], width)
    area = Fraction(pixels.size, height * width)
    out = np.empty((height, width), dtype=np.uint8)
    for i, j in np.ndindex(height, width):
        total = sum(a * b * int(pixels[y, x]) for y, a in rows[i] for x, b in columns[j])
        out[i, j] = (total / area + Fraction(1, 2)).__floor__()
    return out


class TestAreaAverage:
    @pytest.mark.parametrize(
        ("size", "to"),
        [((30, 30), (28, 28)), ((29, 57), (28, 28)), ((50, 42), (7, 28)), ((37, 45), (37, 45)), ((9, 5), (1, 1))],
    )
    def test_equals_the_definition_in_fractions(self, size: tuple[int, int], to: tuple[int, int]) -> None:
        pixels = RNG.integers(0, 256, size, dtype=np.uint8)
        np.testing.assert_array_equal(area_average(pixels, height=to[0], width=to[1]), exact_average(pixels, *to))

    def test_whole_blocks_are_means_rounded_half_up(self) -> None:
        pixels = RNG.integers(0, 256, (224, 224), dtype=np.uint8)
        sums = pixels.reshape(28, 8, 28, 8).sum(axis=(1, 3), dtype=np.int64)
        np.testing.assert_array_equal(
            load_pixels(encode(Image.fromarray(pixels)), height=28, width=28), (sums + 32) // 64
        )

    def test_is_close_to_pillow(self) -> None:
        """Pillow averages whole blocks with a rounded reciprocal: within 1."""
        pixels = RNG.integers(0, 256, (224, 280), dtype=np.uint8)
        box = np.asarray(Image.fromarray(pixels).reduce((10, 8)), dtype=int)
        assert np.abs(area_average(pixels, height=28, width=28) - box).max() <= 1

    @pytest.mark.parametrize("value", [0, 255])
    def test_a_large_flat_image_stays_flat(self, value: int) -> None:
        pixels = np.full((1201, 1709), value, dtype=np.uint8)
        assert (area_average(pixels, height=28, width=28) == value).all()


class TestModes:
    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
    def test_gray(self, kind: str) -> None:
        np.testing.assert_array_equal(same_size(encode(Image.fromarray(GRAY), kind)), GRAY)

    def test_rgb(self) -> None:
        np.testing.assert_array_equal(same_size(encode(Image.fromarray(COLOUR))), luma(COLOUR))

    def test_gray_and_colour_jpeg_of_the_same_pixels(self) -> None:
        flat = Image.new("L", (64, 64), 77)
        for image in (flat, flat.convert("RGB")):
            assert (load_pixels(encode(image, "JPEG"), height=28, width=28) == 77).all()

    def test_rgba_is_composited_over_black(self) -> None:
        content = encode(Image.fromarray(np.dstack([COLOUR, ALPHA])))
        expected = luma(COLOUR) * ALPHA / 255
        assert np.abs(same_size(content) - expected).max() <= 1.5  # two roundings, of each colour and of the luma

    def test_la_is_composited_over_black(self) -> None:
        content = encode(Image.fromarray(np.dstack([GRAY, ALPHA])))
        assert np.abs(same_size(content) - GRAY.astype(float) * ALPHA / 255).max() <= 1

    def test_palette_with_and_without_transparency(self) -> None:
        image = Image.new("P", (45, 37))
        colours = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [255, 255, 255]], dtype=np.uint8)
        image.putpalette(colours.tobytes())
        image.putdata((GRAY % 4).ravel().tolist())
        expected = luma(colours)
        np.testing.assert_array_equal(same_size(encode(image)), expected[GRAY % 4])
        expected[3] = 0
        np.testing.assert_array_equal(same_size(encode(image, transparency=3)), expected[GRAY % 4])

    def test_transparent_gray_level(self) -> None:
        level = int(GRAY[0, 0])
        content = encode(Image.fromarray(GRAY), transparency=level)
        np.testing.assert_array_equal(same_size(content), np.where(level == GRAY, 0, GRAY))

    def test_cmyk(self) -> None:
        content = encode(Image.fromarray(COLOUR).convert("CMYK"), "TIFF")
        np.testing.assert_array_equal(same_size(content), luma(COLOUR))

    def test_one_bit(self) -> None:
        content = encode(Image.fromarray(GRAY > 127))
        np.testing.assert_array_equal(same_size(content), np.where(GRAY > 127, 255, 0))

    def test_sixteen_bit_png_every_level(self) -> None:
        levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
        expected = np.floor(levels / 257 + 0.5)
        content = png(256, 256, bits=16, rows=rows)
        np.testing.assert_array_equal(load_pixels(content, height=256, width=256), expected)
        assert (expected[0, 0], expected[-1, -1]) == (0, 255)

    @pytest.mark.parametrize(
        ("pixels", "message"),
        [
            (GRAY.astype(np.float32), "has 32 bits per sample, expected 1 to 16"),
            (GRAY.astype(np.int32) * 300, "has 32 bits per sample, expected 1 to 16"),
            (
                GRAY.astype(np.int32) * 257,
                "has 32 bits per sample, expected 1 to 16",
            ),  # whoever wrote them: 12 bits? 16?
        ],
        ids=["float", "beyond 16 bits", "within 16 bits"],
    )
    def test_no_defined_full_scale_is_refused(self, pixels: NDArray[np.generic], message: str) -> None:
        with pytest.raises(ImageError, match=message):
            same_size(encode(Image.fromarray(pixels), "TIFF"))


class TestSources:
    def test_path_bytes_and_stream_are_the_same(self, tmp_path: Path) -> None:
        content = encode(Image.fromarray(GRAY))
        path = tmp_path / "a.png"
        path.write_bytes(content)
        stream = io.BytesIO(content)
        stream.seek(5)
        results = [load_pixels(source, height=7, width=9) for source in (path, content, stream)]
        assert results[0].shape == (7, 9) and results[0].dtype == np.uint8 and results[0].flags.c_contiguous
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])

    def test_describe_names_the_version(self) -> None:
        assert describe()["version"] == PREPROCESS_VERSION


def refusal(source: Path | bytes, name: str | None = None) -> str:
    """Return the message, which must be one sentence that starts with the name."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            load_pixels(source, height=28, width=28, name=name)
    message = str(caught.value)
    expected = name or (source.name if isinstance(source, Path) else "image")
    assert message.startswith(f"{expected}: ") and message.endswith(".") and "\n" not in message and "0x" not in message
    return message


class TestRefusals:
    def test_files_that_are_no_images(self, tmp_path: Path) -> None:
        (tmp_path / "text.jpeg").write_text("not an image\n")
        (tmp_path / "empty.jpeg").touch()
        (tmp_path / "folder.jpeg").mkdir()
        (tmp_path / "broken-link.jpeg").symlink_to(tmp_path / "nowhere")
        assert "is not a JPEG, PNG, BMP or TIFF image" in refusal(tmp_path / "text.jpeg")
        assert "is not a JPEG, PNG, BMP or TIFF image" in refusal(tmp_path / "empty.jpeg")
        assert "is a folder, and no file" in refusal(tmp_path / "folder.jpeg")
        assert "does not exist" in refusal(tmp_path / "broken-link.jpeg")
        assert "does not exist" in refusal(tmp_path / "missing.jpeg")
        assert "cannot be read" in refusal(tmp_path / ("long" * 100)) or "does not exist" in refusal(
            tmp_path / ("long" * 100)
        )

    def test_other_formats(self) -> None:
        for kind in ("GIF", "WEBP", "PPM", "JPEG2000", "TGA", "ICO"):
            assert "is not a JPEG, PNG, BMP or TIFF image" in refusal(encode(Image.fromarray(GRAY), kind))

    @pytest.mark.parametrize("size", [(1, 1), (27, 400), (400, 27)])
    def test_smaller_than_the_network_input(self, size: tuple[int, int]) -> None:
        message = refusal(encode(Image.new("L", size)), "train/a.png")
        assert f"is {size[0]} x {size[1]} pixels" in message and "at least 28 x 28" in message

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
    def test_truncated(self, kind: str) -> None:
        content = encode(Image.fromarray(RNG.integers(0, 256, (300, 300), dtype=np.uint8)), kind)
        for keep in (0.3, 0.6, 0.9):
            refusal(content[: int(len(content) * keep)])

    @pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (10_001, 10_000), (2**31 - 1, 2**31 - 1)])
    def test_too_large_is_refused_from_the_header(self, width: int, height: int) -> None:
        content = png(width, height)
        tracemalloc.start()
        message = refusal(content)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "at most 100 megapixels" in message
        assert peak < 2**20  # Pillow's own pixels are not traced; that the header decides is seen by the message

    def test_ninety_five_megapixels_raise_no_warning(self) -> None:
        message = refusal(png(9_500, 10_000))  # above Pillow's warning, below our limit: refused for having no rows
        assert "damaged" in message


SEEDS = [
    encode(Image.fromarray(GRAY), "JPEG"),
    encode(Image.fromarray(COLOUR), "JPEG"),
    encode(Image.fromarray(GRAY)),
    encode(Image.fromarray(np.dstack([COLOUR, ALPHA]))),
    encode(Image.fromarray(COLOUR).quantize(8)),
    encode(Image.fromarray(GRAY), "TIFF"),
    encode(Image.fromarray(COLOUR), "TIFF", compression="tiff_lzw"),
    encode(Image.fromarray(COLOUR), "BMP"),
]


def image_or_refusal(content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert load_pixels(content, height=4, width=4).shape == (4, 4)
        except ImageError as err:
            assert str(err).startswith("image: ") and "Warning" not in str(err)


SHORT_OF_MEMORY = """
import io, resource, sys
from pathlib import Path
from contract.errors import ImageError
from contract.preprocess import load_pixels
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (96 << 20),) * 2)
if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
    sys.exit("this system ignores the limit")  # an emulated one
for name in sys.argv[1:]:
    with open(name, "rb") as stream:
        for source in (Path(name), stream, Path(name).read_bytes()):
            try:
                print(load_pixels(source, height=28, width=28).sum())
            except ImageError as err:
                print(err)
"""


def test_a_machine_with_little_memory(tmp_path: Path) -> None:
    """The kind: a bound as the size of a request. A board has less memory than the largest file may have bytes.

    What is too large there is told from what is damaged, though decoders do not tell it: libjpeg's lack of memory is
    Pillow's broken data. And it is told before they lose what they have got already.
    """
    small, large = tmp_path / "small.png", tmp_path / "large.jpg"
    small.write_bytes(encode(Image.new("L", (400, 300), 7), "PNG"))
    large.write_bytes(encode(Image.new("RGB", (4000, 3000), (9, 9, 9)), "JPEG", progressive=True, subsampling=0))
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(small), str(large), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ignores the limit" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == lines[6:] == [str(7 * 28 * 28)] * 3
    short = "takes more memory to decode than this machine has left; shrink the image."
    assert lines[3:6] == [f"large.jpg: {short}", f"large.jpg: {short}", f"image: {short}"]


class TestFuzz:
    @settings(max_examples=150, deadline=None)
    @given(
        st.binary(max_size=300),
        st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*"]),
    )
    def test_random_bytes(self, content: bytes, magic: bytes) -> None:
        image_or_refusal(magic + content)

    @settings(max_examples=400, deadline=None)
    @given(
        st.sampled_from(SEEDS),
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
        st.floats(0, 1),
        st.booleans(),
    )
    def test_mutated_images(self, content: bytes, edits: list[tuple[float, int]], cut: float, early: bool) -> None:
        mutated = bytearray(content)
        span = min(len(mutated), 120) if early else len(mutated)  # headers are where the parsers are
        for where, value in edits:
            mutated[int(where * span)] = value
        image_or_refusal(bytes(mutated[: round(len(mutated) * max(cut, 0.2))] if cut < 0.9 else mutated))
