"""DICOM files made here, against the standard's own formulas in rational arithmetic, pixel by pixel."""

import io
import logging
import math
import pickle
import re
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from contract.errors import ImageError
from datasets import codestream, dicom
from tests.dicom_files import BIG, EXPLICIT, IMPLICIT, LOSSLESS_CODERS, NAME, content, encapsulated, make, run_lengths

P = "1.2.840.10008.1.2"
BASELINE, LOSSLESS, J2K, RLE = (f"{P}.{end}" for end in ("4.50", "4.70", "4.90", "5"))
H, W = 9, 13


def gray(ds: Dataset) -> NDArray[np.uint8]:
    return dicom.read(content(ds), name="x.dcm", secret=b"s")[0]


def rounded(y: Fraction) -> int:
    return math.floor(min(max(y, Fraction(0)), Fraction(255)) + Fraction(1, 2))


def window(x: Fraction, c: Fraction, w: Fraction, function: str) -> Fraction:
    """Return y in 0..255 as PS3.3 C.11.2.1.2 and C.11.2.1.3 write it."""
    half = Fraction(1, 2)
    if function == "LINEAR":
        if x <= c - half - (w - 1) / 2:
            return Fraction(0)
        if x > c - half + (w - 1) / 2:
            return Fraction(255)
        return ((x - (c - half)) / (w - 1) + half) * 255
    if function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return Fraction(0)
        return Fraction(255) if x > c + w / 2 else ((x - c) / w + half) * 255
    return Fraction(255 / (1 + math.exp(min(700, -4 * float((x - c) / w)))))


def stored_values(bits: int, *, signed: bool = False) -> NDArray[Any]:
    """Return (H, W) values with both ends of the range and values near its middle."""
    low = -(2 ** (bits - 1)) if signed else 0
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    values = np.random.default_rng(bits).integers(low, low + 2**bits, H * W)
    values[:2] = low, low + 2**bits - 1
    values[2:42] = low + 2 ** (bits - 1) + np.arange(-20, 20)
    return values.reshape(H, W).astype(dtype)


class TestValues:
    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    @pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG], ids=["implicit", "explicit", "big"])
    def test_without_a_window_the_full_range_is_the_ramp(self, bits: int, syntax: str) -> None:
        pixels = stored_values(bits)
        expected = [[rounded(Fraction(255 * int(v), 2**bits - 1)) for v in row] for row in pixels]
        np.testing.assert_array_equal(gray(make(pixels, bits=bits, syntax=syntax)), expected)

    @pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
    @pytest.mark.parametrize(
        ("c", "w", "slope", "intercept", "signed"),
        [
            ("2048", "4096", "1", "0", False),
            ("2047.5", "1000.25", "1", "0", False),
            ("-600", "1500", "1", "-1024", False),
            ("40.5", "3", "0.0625", "-88", False),
            ("100", "500", "-1.5", "7.25", True),
            ("2048", "1", "1", "0", False),
        ],
    )
    def test_windows(self, function: str, c: str, w: str, slope: str, intercept: str, signed: bool) -> None:
        pixels = stored_values(12, signed=signed)
        ds = make(
            pixels, bits=12, WindowCenter=c, WindowWidth=w, VOILUTFunction=function, RescaleSlope=slope,
            RescaleIntercept=intercept,
        )  # fmt: skip
        x = [Fraction(slope) * int(v) + Fraction(intercept) for v in pixels.reshape(-1)]
        expected = [rounded(window(value, Fraction(c), Fraction(w), function)) for value in x]
        np.testing.assert_array_equal(gray(ds).reshape(-1), expected)
        ds.PhotometricInterpretation = "MONOCHROME1"
        np.testing.assert_array_equal(gray(ds).reshape(-1), 255 - np.array(expected))

    def test_the_first_of_several_windows_is_taken(self) -> None:
        pixels = stored_values(12)
        one = make(pixels, bits=12, WindowCenter="1000", WindowWidth="500")
        two = make(pixels, bits=12, WindowCenter=["1000", "9"], WindowWidth=["500", "9"])
        np.testing.assert_array_equal(gray(one), gray(two))

    @pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG], ids=["implicit", "explicit", "big"])
    @pytest.mark.parametrize("vr", ["US", "OW"])
    @pytest.mark.parametrize(("first", "intercept"), [(100, "0"), (-924, "-1024"), (-90, "0")])
    def test_voi_lut(self, syntax: str, vr: str, first: int, intercept: str) -> None:
        pixels = np.arange(H * W, dtype=np.uint16).reshape(H, W) * 3
        entries = (np.arange(200) ** 2 % 1024).astype(np.uint16)
        item = Dataset()
        signed = first < 0
        if syntax == IMPLICIT and (first, intercept) == (-90, "0"):
            return  # nothing in such a file says that the number is signed
        item.add_new("LUTDescriptor", "SS" if signed else "US", [200, first, 10])
        data = entries.astype(">u2" if syntax == BIG else "<u2").tobytes() if vr == "OW" else entries.tolist()
        item.add_new("LUTData", vr, data)
        ds = make(pixels, bits=12, syntax=syntax, RescaleIntercept=intercept, RescaleSlope="1", WindowCenter="1",
                  WindowWidth="1", VOILUTSequence=[item])  # fmt: skip
        at = [min(max(int(v) + int(intercept) - first, 0), 199) for v in pixels.reshape(-1)]
        expected = [rounded(Fraction(255 * int(entries[i]), 1023)) for i in at]
        np.testing.assert_array_equal(gray(ds).reshape(-1), expected)

    def test_modality_lut(self) -> None:
        pixels = np.arange(H * W, dtype=np.uint8).reshape(H, W)
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [100, 10, 16])
        item.add_new("LUTData", "US", [65535 - 600 * i for i in range(100)])
        expected = [rounded(Fraction(65535 - 600 * min(max(v - 10, 0), 99), 257)) for v in range(H * W)]
        np.testing.assert_array_equal(gray(make(pixels, bits=8, ModalityLUTSequence=[item])).reshape(-1), expected)

    @pytest.mark.parametrize("signed", [False, True])
    @pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, RLE], ids=["implicit", "explicit", "big", "rle"])
    def test_bits_above_those_stored_are_no_pixels(self, syntax: str, signed: bool) -> None:
        """As they are stored, and in run lengths, they may be an old overlay (PS3.5, 8.1.1)."""
        pixels = stored_values(12, signed=signed)
        expected = [rounded(Fraction(255 * (int(v) + 2048 * signed), 4095)) for v in pixels.reshape(-1)]
        for above in (0, 0x5000, 0xF000):
            words = (pixels.astype(np.uint16) & 0xFFF | above).view(pixels.dtype)
            ds = make(words, bits=12, syntax=EXPLICIT if syntax == RLE else syntax)
            if syntax == RLE:
                ds = encapsulated(ds, RLE, run_lengths(words))
            np.testing.assert_array_equal(gray(ds).reshape(-1), expected)

    def test_the_high_bit_may_be_unsaid(self) -> None:
        ds = make(stored_values(12), bits=12)
        expected = gray(ds)
        del ds.HighBit
        np.testing.assert_array_equal(gray(ds), expected)

    @pytest.mark.parametrize("vr", ["OB", "OW"])
    def test_bytes_in_big_endian_words_are_swapped(self, vr: str) -> None:
        pixels = np.arange(H * W, dtype=np.uint8).reshape(H, W)
        ds = make(pixels, bits=8, syntax=BIG)
        if vr == "OW":
            ds.PixelData = np.frombuffer(ds.PixelData, dtype=">u2").astype("<u2").tobytes()
        ds["PixelData"].VR = vr
        np.testing.assert_array_equal(gray(ds), pixels)

    def test_what_the_standard_says_twice_changes_nothing(self) -> None:
        pixels = stored_values(12)
        for photometric, shape in (("MONOCHROME2", "IDENTITY"), ("MONOCHROME1", "INVERSE")):
            tags = {"PhotometricInterpretation": photometric}
            expected = gray(make(pixels, bits=12, **tags))
            more: dict[str, Any] = {
                "PixelPaddingValue": 0,
                "PixelAspectRatio": ["1", "2"],
                "PatientOrientation": ["R", "F"],
            }
            ds = make(pixels, bits=12, PresentationLUTShape=shape, NumberOfFrames="1", **tags, **more)
            np.testing.assert_array_equal(gray(ds), expected)
            ds.PixelData += bytes(2 * W - 2)  # less than a row may be padding
            np.testing.assert_array_equal(gray(ds), expected)

    @given(
        st.decimals(-2000, 2000, places=3), st.decimals(1, 4000, places=3), st.decimals(-4, 4, places=4),
        st.decimals(-1000, 1000, places=2),
    )  # fmt: skip
    @settings(max_examples=40, deadline=None)
    def test_any_linear_window(self, c: Any, w: Any, slope: Any, intercept: Any) -> None:
        if not slope:
            return
        c, w, slope, intercept = (Fraction(value) for value in (c, w, slope, intercept))
        table = dicom.gray_table(
            0, 255, 0, 4095, dicom._Rescale(slope, intercept), (c - w / 2, c + w / 2 - 1), invert=False
        )
        assert table.tolist() == [rounded(window(slope * v + intercept, c, w, "LINEAR")) for v in range(256)]


def lossless_jpeg(pixels: NDArray[np.uint16], bits: int) -> bytes:
    """Return a lossless JPEG (ITU-T T.81, process 14, predictor 1); every Huffman code is 5 bits long."""
    h, w = pixels.shape
    stream = []
    for y in range(h):
        for x in range(w):
            before = pixels[y, x - 1] if x else pixels[y - 1, 0] if y else 1 << (bits - 1)
            step = (int(pixels[y, x]) - int(before) + 32768) % 65536 - 32768
            step = 32768 if step == -32768 else step
            size = abs(step).bit_length()
            stream.append(f"{size:05b}")
            if 0 < size < 16:
                stream.append(f"{step if step > 0 else step + (1 << size) - 1:0{size}b}")
    text = "".join(stream)
    text += "1" * (-len(text) % 8)
    coded = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    counts = bytes([0, 0, 0, 0, 17] + [0] * 11)
    return b"".join((
        b"\xff\xd8", segment(0xC3, struct.pack(">BHHB", bits, h, w, 1) + bytes([1, 0x11, 0])),
        segment(0xC4, b"\0" + counts + bytes(range(17))), segment(0xDA, bytes([1, 1, 0, 1, 0, 0])), coded, b"\xff\xd9",
    ))  # fmt: skip


CODERS: dict[str, Callable[[NDArray[Any], int], Any]] = {
    **LOSSLESS_CODERS,
    f"{IMPLICIT}.4.51": lambda v, bits: imagecodecs.jpeg_encode(v, bitspersample=bits),
    f"{IMPLICIT}.4.81": lambda v, bits: imagecodecs.jpegls_encode(v, level=2),
    f"{IMPLICIT}.4.91": lambda v, bits: imagecodecs.jpeg2k_encode(
        v, codecformat="J2K", bitspersample=bits, level=40, reversible=False
    ),
}


class TestCompressed:
    @pytest.mark.parametrize("signed", [False, True])
    @pytest.mark.parametrize("bits", [9, 10, 12, 15, 16])
    @pytest.mark.parametrize("syntax", LOSSLESS_CODERS)
    def test_another_programs_coder(self, syntax: str, bits: int, signed: bool) -> None:
        """Two's complement of BitsStored bits, and extended to sixteen, are the values that were stored."""
        pixels = np.repeat(np.repeat(stored_values(bits, signed=signed), 8, 0), 8, 1)
        expected = gray(make(pixels, bits=bits))
        for words, coded in ((pixels.view(np.uint16) & (1 << bits) - 1, bits), (pixels.view(np.uint16), 16)):
            frame = bytes(LOSSLESS_CODERS[syntax](np.ascontiguousarray(words), coded))
            np.testing.assert_array_equal(gray(encapsulated(make(pixels, bits=bits), syntax, frame)), expected)

    @pytest.mark.parametrize("bits", [8, 12, 16])
    def test_signed_jpeg_2000(self, bits: int) -> None:
        pixels = np.repeat(np.repeat(stored_values(bits, signed=True), 8, 0), 8, 1).astype(np.int16)
        expected = gray(make(pixels, bits=bits))
        frame = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="J2K", bitspersample=bits))
        assert codestream.look(frame).signed
        np.testing.assert_array_equal(gray(encapsulated(make(pixels, bits=bits), J2K, frame)), expected)
        with pytest.raises(ImageError, match=r"x\.dcm: has pixel values beyond the .* \(BitsStored\); convert it\."):
            gray(encapsulated(make(pixels.view(np.uint16), bits=bits), J2K, frame))

    @pytest.mark.parametrize("signed", [False, True])
    @pytest.mark.parametrize("syntax", list(LOSSLESS_CODERS)[:-1])
    def test_compressed_values_beyond_those_declared_are_refused(self, syntax: str, signed: bool) -> None:
        words = np.repeat(np.repeat(stored_values(12).astype(np.uint16), 8, 0), 8, 1)
        words[3, 4] = 4096
        frame = bytes(LOSSLESS_CODERS[syntax](words, 16))
        with pytest.raises(ImageError, match=r"x\.dcm: has pixel values beyond the 12 bits that it declares"):
            gray(encapsulated(make(words.view(np.int16) if signed else words, bits=12), syntax, frame))

    @pytest.mark.parametrize("syntax", [*list(LOSSLESS_CODERS)[:-1], BASELINE])
    def test_fewer_bits_than_are_declared_need_a_window(self, syntax: str) -> None:
        """The kind: stream and header name two whites, and the image is dark by the ratio of them, in silence."""
        pixels = np.repeat(np.repeat(stored_values(8), 8, 0), 8, 1)
        coder = LOSSLESS_CODERS.get(syntax, lambda words, _: imagecodecs.jpeg_encode(words))
        frame = bytes(coder(np.ascontiguousarray(pixels.astype(np.uint8)), 8))
        window: dict[str, Any] = {"WindowCenter": "128", "WindowWidth": "256"}
        wide = pixels.astype(np.uint16)
        with pytest.raises(
            ImageError, match=r"has compressed pixels of 8 bits, where 12 are declared \(BitsStored\), and"
        ):
            gray(encapsulated(make(wide, bits=12), syntax, frame))
        with pytest.raises(ImageError, match="has a window of which the centre or the width is missing"):
            gray(encapsulated(make(wide, bits=12, WindowCenter="128"), syntax, frame))
        expected = gray(encapsulated(make(pixels.astype(np.uint8), bits=8), syntax, frame))
        np.testing.assert_array_equal(gray(encapsulated(make(wide, bits=12, **window), syntax, frame)), expected)

    @pytest.mark.parametrize("kind", ["extended", "near-lossless", "JPEG 2000"])
    def test_lossy_syntaxes(self, kind: str) -> None:
        """Another decoder gives the same values; of JPEG extended, the standard allows a difference of one."""
        values = np.add.outer(np.arange(96) * 17, np.arange(80) * 19).astype(np.uint16)
        values += np.random.default_rng(0).integers(0, 90, values.shape).astype(np.uint16)
        if kind == "extended":
            syntax, most = f"{P}.4.51", 1
            frame = bytes(imagecodecs.jpeg_encode(values, bitspersample=12, level=90))
            expected = imagecodecs.jpeg_decode(frame)
        elif kind == "near-lossless":
            syntax, most, frame = f"{P}.4.81", 0, bytes(imagecodecs.jpegls_encode(values, 3))
            expected = imagecodecs.jpegls_decode(frame)
        else:
            syntax, most = f"{P}.4.91", 0
            frame = bytes(imagecodecs.jpeg2k_encode(values, 40, codecformat="J2K", bitspersample=12, reversible=False))
            expected = imagecodecs.jpeg2k_decode(frame)
        ds = encapsulated(make(values, bits=12), syntax, frame)
        file, (header, at) = content(ds), dicom._parse(content(ds), "x")
        read = dicom._decode(file, at or 0, header, dicom.describe(file, name="x"), "x").astype(int)
        assert np.abs(read - expected.astype(int)).max() <= most and 0 < np.abs(read - values).max() < 400

    @pytest.mark.parametrize(
        "name", ["693_J2KI", "J2K_pixelrep_mismatch", "JPEG2000", "JPEGLSNearLossless_08", "JPEGLSNearLossless_16",
                 "JPGExtended", "CT_small", "MR_small_RLE", "examples_overlay"],
    )  # fmt: skip
    def test_pydicom_finds_the_same_values(self, name: str) -> None:
        """Files of other makers, signed and unsigned, with 8 to 16 bits stored."""
        original = Path(pydicom.__file__).parent / "data" / "test_files" / f"{name}.dcm"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(original)
            values = ds.pixel_array
            ds.PixelData, ds.BitsAllocated = values.tobytes(), 8 * values.itemsize
            ds.file_meta.TransferSyntaxUID, ds["PixelData"].VR = UID(EXPLICIT), "OW"
            ds["PixelData"].is_undefined_length = False
        found = dicom.read(original.read_bytes(), name=name, secret=b"s")[0]
        np.testing.assert_array_equal(found, gray(ds))
        assert len(np.unique(found)) > 1

    @pytest.mark.parametrize("syntax", [*LOSSLESS_CODERS, f"{P}.4.51"])
    def test_half_a_stream_is_damage(self, syntax: str) -> None:
        """The codec makes black pixels of what is missing."""
        pixels = np.repeat(np.repeat(stored_values(12), 8, 0), 8, 1)
        code = LOSSLESS_CODERS.get(syntax, lambda values, bits: imagecodecs.jpeg_encode(values, bitspersample=bits))
        frame = bytes(code(pixels, 12))
        for part in (0.5, 0.9):
            ds = encapsulated(make(pixels, bits=12), syntax, frame[: int(len(frame) * part) // 2 * 2])
            with pytest.raises(ImageError, match="damaged DICOM file"):
                gray(ds)

    def test_several_frames_are_refused_whoever_says_so(self) -> None:
        pixels = np.repeat(np.repeat(stored_values(12), 8, 0), 8, 1)
        for syntax in LOSSLESS_CODERS:
            frame = bytes(LOSSLESS_CODERS[syntax](pixels, 12))
            frame += b"\0" * (len(frame) % 2)
            two_offsets = struct.pack("<HHIII", 0xFFFE, 0xE000, 8, 0, 0) + encapsulate([frame], has_bot=False)[8:]
            for data in (encapsulate([frame, frame]), encapsulate([frame, frame], has_bot=False), two_offsets):
                ds = encapsulated(make(pixels, bits=12), syntax, frame)
                ds.PixelData = data
                with pytest.raises(ImageError, match="damaged DICOM file"):
                    gray(ds)

    def test_jpeg_baseline_is_what_pillow_decodes(self) -> None:
        pixels = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8) * 2
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=90)
        with Image.open(io.BytesIO(stream.getvalue())) as image:
            expected = np.asarray(image)
        np.testing.assert_array_equal(gray(encapsulated(make(pixels, bits=8), BASELINE, stream.getvalue())), expected)

    @pytest.mark.parametrize("bits", [8, 12, 16])
    def test_lossless_jpeg(self, bits: int) -> None:
        pixels = stored_values(bits).astype(np.uint16)
        plain = pixels.astype(np.uint8) if bits == 8 else pixels
        ds = encapsulated(make(plain, bits=bits), LOSSLESS, lossless_jpeg(pixels, bits))
        np.testing.assert_array_equal(gray(ds), gray(make(plain, bits=bits)))

    @pytest.mark.parametrize("bits", [8, 12, 16])
    @pytest.mark.parametrize("syntax", [J2K, RLE], ids=["jpeg2000", "rle"])
    def test_other_lossless_syntaxes(self, syntax: str, bits: int) -> None:
        ds = make(np.repeat(np.repeat(stored_values(bits), 8, 0), 8, 1), bits=bits)
        expected = gray(ds)
        ds.compress(syntax, generate_instance_uid=False)
        np.testing.assert_array_equal(gray(ds), expected)

    @pytest.mark.parametrize("kind", ["RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "expb"])
    def test_files_of_other_makers(self, kind: str) -> None:
        """pydicom ships one image, from GDCM and DCMTK, in these transfer syntaxes."""
        folder = Path(pydicom.__file__).parent / "data" / "test_files"
        pixels = [
            dicom.read((folder / name).read_bytes(), name=name, secret=b"s")[0]
            for name in ("MR_small.dcm", f"MR_small_{kind}.dcm")
        ]
        np.testing.assert_array_equal(pixels[0], pixels[1])
        assert pixels[0].std() > 10

    @pytest.mark.parametrize("syntax", CODERS)
    def test_coded_data_are_as_long_as_the_picture(self, syntax: str) -> None:
        """The kind of fault: the end is missing, behind a proper end marker; or the header tells of fewer rows."""
        pixels = np.random.default_rng(1).normal(2000, 300, (64, 90)).clip(0, 4095).astype(np.uint16)
        frame = bytes(CODERS[syntax](pixels, 12))
        whole = gray(encapsulated(make(pixels, bits=12), syntax, frame))
        end = frame.rindex(b"\xff\xd9") if syntax != RLE else len(frame)
        refused = 0
        for cut in (*range(1, 12), 30, 100, 300, 900):
            short = frame[: end - cut]
            if syntax in (J2K, f"{IMPLICIT}.4.91"):  # as long as its one tile says
                at = short.index(b"\xff\x90") + 6
                short = short[:at] + struct.pack(">I", len(short) - at + 6) + short[at + 4 :]
            short = short if syntax == RLE else short.rstrip(b"\xff") + b"\xff\xd9"
            if len(short) % 2 and syntax == RLE:
                continue  # the byte that makes it even would be taken for data
            try:
                read = gray(encapsulated(make(pixels, bits=12), syntax, short))
            except ImageError as err:
                assert "is a damaged DICOM file" in str(err)
                refused += 1
            else:
                np.testing.assert_array_equal(read, whole)
        assert refused >= (13 if syntax != RLE else 8)

    @pytest.mark.parametrize("syntax", [syntax for syntax in CODERS if not syntax.endswith((".90", ".91"))])
    def test_rows_that_the_header_hides(self, syntax: str) -> None:
        pixels = np.random.default_rng(1).normal(2000, 300, (64, 90)).clip(0, 4095).astype(np.uint16)
        frame = bytearray(CODERS[syntax](pixels, 12))
        found = re.search(rb"\xff[\xc0\xc1\xc3\xf7]\0", frame)
        for rows in (48, 30, 8):
            if syntax != RLE:
                assert found is not None
                frame[found.start() + 5 : found.start() + 7] = struct.pack(">H", rows)
            with pytest.raises(ImageError, match=r"damaged DICOM file \(its pixel data go on after its last row\)"):
                gray(encapsulated(make(pixels[:rows], bits=12), syntax, bytes(frame)))

    def test_a_jpeg_2000_has_all_its_tiles_and_packets(self) -> None:
        picture = np.random.default_rng(1).normal(128, 30, (150, 190)).clip(0, 255).astype(np.uint8)
        for options in ({"tile_size": (64, 64)}, {"quality_layers": [40, 20, 1]}, {"progression": "RPCL", "plt": True}):
            stream = io.BytesIO()
            Image.fromarray(picture).save(stream, "JPEG2000", no_jp2=True, irreversible=False, **options)
            frame = stream.getvalue()
            gray(encapsulated(make(picture, bits=8), J2K, frame))
            starts = [found.start() for found in re.finditer(rb"\xff\x90\0\x0a", frame)]
            with pytest.raises(ImageError, match="damaged DICOM file"):
                gray(encapsulated(make(picture, bits=8), J2K, frame[: starts[-1]] + b"\xff\xd9"))
            size = len(frame) - 2 - starts[-1]
            for length in range(16, size, max(1, size // 20)):  # some of these end between packets
                short = frame[: starts[-1] + length] + b"\xff\xd9"
                short = short[: starts[-1] + 6] + struct.pack(">I", length) + short[starts[-1] + 10 :]
                with pytest.raises(ImageError, match="damaged DICOM file"):
                    gray(encapsulated(make(picture, bits=8), J2K, short))

    @settings(max_examples=100, deadline=None)
    @given(
        st.sampled_from([*LOSSLESS_CODERS]), st.integers(1, 40), st.integers(1, 40),
        st.sampled_from([0.0, 0.6, 20, 900]), st.integers(0, 4095),
    )  # fmt: skip
    def test_no_whole_file_is_refused(self, syntax: str, height: int, width: int, noise: float, level: int) -> None:
        picture = np.random.default_rng(height).normal(level, noise, (height, width)).clip(0, 4095).astype(np.uint16)
        frame = bytes(LOSSLESS_CODERS[syntax](picture, 12))
        expected = gray(make(picture, bits=12))
        np.testing.assert_array_equal(gray(encapsulated(make(picture, bits=12), syntax, frame)), expected)

    @pytest.mark.parametrize(("syntax", "package"), [(LOSSLESS, "libjpeg"), (J2K, "openjpeg")])
    def test_a_missing_codec_is_named(self, syntax: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dicom, "_version", lambda name: None if package in name else "1")
        ds = encapsulated(make(stored_values(8), bits=8), syntax, b"xx")
        with pytest.raises(
            ImageError, match=rf"x\.dcm: is compressed as JPEG.*`pip install pylibjpeg pylibjpeg-{package}`"
        ):
            gray(ds)

    def test_a_frame_of_another_size_than_the_header_is_not_decoded(self) -> None:
        huge = bytearray(lossless_jpeg(stored_values(8).astype(np.uint16), 8))
        at = huge.index(b"\xff\xc3") + 5
        huge[at : at + 4] = b"\xff\xff\xff\xff"
        coded = codestream.look(bytes(huge))
        assert (coded.width, coded.height, coded.bits, coded.components) == (65535, 65535, 8, 1)
        with pytest.raises(ImageError, match="damaged DICOM file"):
            gray(encapsulated(make(stored_values(8), bits=8), LOSSLESS, bytes(huge)))


def set_to(ds: Dataset, tag: str, value: Any) -> Any:
    return setattr(ds, tag, value)


def set_syntax(ds: Dataset, syntax: str) -> Any:
    return encapsulated(ds, syntax, b"\0\0")


def delete(ds: Dataset, tag: str) -> None:
    del ds[tag]


def raw(ds: Dataset, tag: str, value: str) -> None:
    """Say that the values are raw; with the window that there was, they are shown as it says."""
    shown = gray(ds)
    setattr(ds, tag, value)
    np.testing.assert_array_equal(gray(ds), shown)
    del ds["WindowCenter"], ds["WindowWidth"]


REFUSED: list[tuple[str, Callable[[Dataset], Any], str]] = [
    ("high bit", lambda ds: set_to(ds, "HighBit", 15), "has its 12 bits per pixel up to bit 15, expected up to 11 (Hi"),
    ("sign", lambda ds: set_to(ds, "PixelRepresentation", 2), "has pixels that are neither unsigned nor signed"),
    ("half a window", lambda ds: delete(ds, "WindowWidth"), "has a window of which the centre or the width is missing"),
    ("other half", lambda ds: set_to(ds, "WindowCenter", None), "has a window of which the centre or the width is mis"),
    ("no first centre", lambda ds: set_to(ds, "WindowCenter", ["", "1000"]), "several values as WindowCenter, of wh"),
    ("no first width", lambda ds: set_to(ds, "WindowWidth", ["", "500"]), "has several values as WindowWidth, of whic"),
    ("no first slope", lambda ds: set_to(ds, "RescaleSlope", ["", "2"]), "several values as RescaleSlope, of which th"),
    ("no first shape", lambda ds: set_to(ds, "PresentationLUTShape", ["", "INVERSE"]), "several values as Presentatio"),
    ("inverse", lambda ds: set_to(ds, "PresentationLUTShape", "INVERSE"), "is MONOCHROME2 with another presentation L"),
    ("raw", lambda ds: raw(ds, "PresentationIntentType", "FOR PROCESSING"), "has raw values of a detector (Pre"),
    ("raw class", lambda ds: raw(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.1.1.1"), "has raw values of"),
    ("print LUT", lambda ds: set_to(ds, "PresentationLUTSequence", [Dataset()]), "is MONOCHROME2 with another present"),
    ("enhanced", lambda ds: set_to(ds, "SharedFunctionalGroupsSequence", [Dataset()]), "is an enhanced multi-frame im"),
    ("too many pixels", lambda ds: set_to(ds, "Rows", H - 1), "has 234 bytes of pixels, expected 208 for its rows, co"),
    ("no frames", lambda ds: set_to(ds, "NumberOfFrames", 0), "has 0 frames, expected a single X-ray image"),
    ("much memory", lambda ds: [set_to(ds, "Rows", 60000), set_to(ds, "Columns", 1000), set_syntax(ds, J2K)],
     "has pixels that take 600 MB to decode; at most 100 megapixels and 400 MB"),
    ("long number", lambda ds: set_to(ds, "RescaleSlope", ["1"] * 2000), "has a RescaleSlope that is no plain value"),
    ("no pixels", lambda ds: delete(ds, "PixelData"), "is a DICOM file without pixels, expected an X-ray image; leave"),
    ("frames", lambda ds: set_to(ds, "NumberOfFrames", 2), "has 2 frames, expected a single X-ray image; export one"),
    ("colour", lambda ds: set_to(ds, "PhotometricInterpretation", "RGB"), "MONOCHROME2: no X-ray is in col"),
    ("type", lambda ds: set_to(ds, "PhotometricInterpretation", "HSV"), "type HSV, expected MONOCHROME1"),
    ("samples", lambda ds: set_to(ds, "SamplesPerPixel", 3), "has 3 samples per pixel (SamplesPerPixel), expected 1"),
    ("allocated", lambda ds: set_to(ds, "BitsAllocated", 32), "has 32 bits allocated per pixel (BitsAllocated), expec"),
    ("bits", lambda ds: set_to(ds, "BitsStored", 4), "has 4 of 16 bits per pixel, expected 8 to 16; convert"),
    ("no size", lambda ds: delete(ds, "Rows"), "is a damaged DICOM file"),
    ("huge", lambda ds: [set_to(ds, tag, 60000) for tag in ("Rows", "Columns")], "60000 x 60000 pixels; at most"),
    ("short", lambda ds: set_to(ds, "PixelData", b"\0\0"), "is a damaged DICOM file"),
    ("slope", lambda ds: set_to(ds, "RescaleSlope", "0"), "has a rescale slope of 0, expected another number"),
    ("width", lambda ds: set_to(ds, "WindowWidth", "0.5"), "has a window of width 0.5, expected a positive one"),
    ("number", lambda ds: set_to(ds, "WindowWidth", "1e30"), "has WindowWidth 1e+30, expected a number of a sane size"),
    ("exponent", lambda ds: set_to(ds, "RescaleSlope", "1e-99999999"), "RescaleSlope that is no decimal number of a"),
    ("tiny", lambda ds: set_to(ds, "RescaleSlope", "1e-13"), "RescaleSlope 1e-13, expected a number of a sane size"),
    ("function", lambda ds: set_to(ds, "VOILUTFunction", "DOE^JANE"), "window function that DICOM does not define"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_refused(change: Callable[[Dataset], Any], message: str) -> None:
    ds = make(stored_values(12), bits=12, WindowCenter="1000", WindowWidth="500")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change(ds)
    with pytest.raises(ImageError) as caught:
        gray(ds)
    text = str(caught.value)
    assert text.startswith("x.dcm: ") and message in text and text.endswith(".") and "\n" not in text
    assert "Doe" not in text and "DOE" not in text and "SECRET" not in text


def test_an_uncommon_transfer_syntax_is_refused_before_anything_is_unpacked() -> None:
    ds = make(stored_values(8), bits=8)
    data = content(ds).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    with pytest.raises(ImageError, match=r"transfer syntax '1\.2\.840\.10008\.1\.2\.9', expected uncompressed, JPEG"):
        dicom.read(data, name="x.dcm", secret=b"s")


class TestPatient:
    def test_the_hash_depends_on_id_and_secret_only(self) -> None:
        def person(secret: bytes = b"s", **tags: Any) -> bytes | None:
            return dicom.read(content(make(stored_values(8), bits=8, **tags)), name="x", secret=secret)[1]

        assert person() == person(PatientName="Other", PatientID="SECRET-1 ")
        different = [person(), person(PatientID="SECRET-2"), person(b"t"), person(IssuerOfPatientID="A")]
        assert len(set(different)) == 4
        assert person(PatientID="") is None
        assert all(b"SECRET" not in (value or b"") for value in different)

    def test_nothing_of_the_patient_is_parsed(self) -> None:
        header, _ = dicom._parse(content(make(stored_values(8), bits=8)), "x")
        assert NAME not in str(header) and {"PatientName", "PatientBirthDate"} & set(header.dir()) == set()


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=12), st.floats(0.2, 1))
def test_a_damaged_file_is_an_image_or_one_sentence(edits: list[tuple[float, int]], cut: float) -> None:
    data = bytearray(WHOLE)
    for where, value in edits:
        data[132 + int(where * (len(data) - 132))] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels, _ = dicom.read(bytes(data[: int(cut * len(data))]), name="x.dcm", secret=b"s")
        except ImageError as err:
            assert str(err).startswith("x.dcm: ") and "\n" not in str(err)
        else:
            assert pixels.dtype == np.uint8 and pixels.ndim == 2


WHOLE = content(make(stored_values(12), bits=12, WindowCenter="1000", WindowWidth="500", RescaleSlope="1"))


def test_pydicoms_own_messages_are_never_logged(said: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dicom.read(content(make(stored_values(8), bits=8, PatientID="SECRET" * 30)), name="x", secret=b"s")
    assert said.getvalue() == ""


def test_streams_of_nonsense() -> None:
    for frame in (b"", b"\xff\xd8", b"\xff\xd8\xff\xff\xff\xff", b"\xff\xd8\xff\xe0\0\0" * 3, b"PNG"):
        with pytest.raises(ValueError, match=r"no frame|neither JPEG nor JPEG 2000"):
            codestream.look(frame)


def test_the_edges_of_a_sigmoid_rise() -> None:
    assert all(a < b for a, b in pairwise(dicom._sigmoid_edges(dicom._Sigmoid(Fraction(1), Fraction(7)))))


def flood(count: int, *, nested: bool) -> bytes:
    """Return a file with that many elements in sequences before its pixels, side by side or within each other."""
    data = content(make(stored_values(8), bits=8))
    at = data.index(b"\x28\x00\x02\x00US")
    item = struct.pack("<HH2sHIHHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    if nested:
        return data[:at] + item * count + data[at:]
    end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return data[:at] + item + struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 0) * count + end + data[at:]


class TestBounds:
    """What a few bytes may ask for; each of these took minutes or gigabytes."""

    @pytest.mark.parametrize(
        "data", [flood(1_000_000, nested=False), flood(100_000, nested=True)], ids=["wide", "deep"]
    )
    def test_elements(self, data: bytes) -> None:
        dicom.read(flood(1000, nested=False), name="x.dcm", secret=b"s")
        with pytest.raises(ImageError, match="damaged DICOM file"):
            dicom.read(data, name="x.dcm", secret=b"s")

    @pytest.mark.parametrize("tag", ["ModalityLUTSequence", "VOILUTSequence"])
    def test_luts(self, tag: str) -> None:
        def with_lut(descriptor: list[int], data: bytes) -> Dataset:
            item = Dataset()
            item.add_new("LUTDescriptor", "US", descriptor)
            item.add_new("LUTData", "OW", data)
            ds = make(stored_values(8), bits=8)
            set_to(ds, tag, [item])
            return ds

        assert gray(with_lut([0, 0, 16], bytes(2 << 16))).max() == 0  # 0 entries stand for 65536
        for descriptor, data, message in (
            ([0, 0, 16], bytes(1000), "LUT with 500 of 65536 entries of 16 bits"),
            ([0, 0, 16], bytes((2 << 16) - 2), "LUT with 65535 of 65536 entries of 16 bits"),
            ([4096, 0, 12], bytes(4096), "LUT with 2048 of 4096 entries of 12 bits"),
            ([256, 0, 8], bytes(510), "LUT with 255 of 256 entries of 8 bits"),
            ([256, 0, 30], bytes(512), "LUT with 256 of 256 entries of 30 bits"),
            ([256, 0, 16], bytes(3 << 20), "LUTs of 31.* bytes, expected one of at most 65536 entries"),
        ):
            with pytest.raises(ImageError, match=message):
                gray(with_lut(descriptor, data))
        with pytest.raises(ImageError, match="LUT that cannot be read"):
            gray(with_lut([1, 2], bytes(2)))

    def test_run_lengths_end_at_the_size_of_the_image(self) -> None:
        bomb = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x07" * 500_000  # 64 MB in one
        with pytest.raises(ImageError, match="its pixel data go on after its last row"):
            gray(encapsulated(make(stored_values(8), bits=8), RLE, bomb))

    @pytest.mark.parametrize(
        ("find", "replace", "message"),
        [
            (b"\xff\x52\0\x0c\x00\x00\0\x01", b"\xff\x52\0\x0c\x00\x00\xff\xff", "too many layers"),
            (b"\0\0\0\x68\0\0\0\x48\0\0\0\0\0\0\0\0\0\0\0\x68\0\0\0\x48",
             b"\0\0\0\x68\0\0\0\x48\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\1", "too many tiles"),
        ],
        ids=["layers", "tiles"],
    )  # fmt: skip
    def test_jpeg_2000(self, find: bytes, replace: bytes, message: str) -> None:
        frame = bytes(imagecodecs.jpeg2k_encode(np.zeros((72, 104), dtype=np.uint16), codecformat="J2K"))
        assert frame.count(find) == 1
        with pytest.raises(ValueError, match=message):
            codestream.look(frame.replace(find, replace))

    def test_jpeg_2000_may_not_change_its_coding_style(self) -> None:
        frame = bytes(imagecodecs.jpeg2k_encode(np.zeros((72, 104), dtype=np.uint16), codecformat="J2K"))
        at, cod = frame.index(b"\xff\x90"), frame.index(b"\xff\x52")
        style = frame[cod : cod + 14]
        codestream.look(frame)
        precincts = style[:2] + b"\0\x12\1" + style[5:] + b"\xff\0\0\0\0\0"
        blocks = style[:10] + b"\0\0" + style[12:]
        for changed, message in (
            (frame[: at + 12] + style + frame[at + 12 :], "a coding style of one tile"),
            (frame[:at] + b"\xff\x53\0\x09\0\0\5\4\4\0\1" + frame[at:], "a coding style of one component"),
            (frame.replace(style, precincts), "too many precincts"),
            (frame.replace(style, blocks), "too many code blocks"),
        ):
            with pytest.raises(ValueError, match=message):
                codestream.look(changed)

    def test_memory_is_what_was_said(self) -> None:
        """Decode 4 megapixels in a process of its own, whose peak Linux tells; 16 MB are for what all images share."""
        values = np.add.outer(np.arange(2000), np.arange(2000)).astype(np.uint16)
        small = (values >> 4).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(small).save(stream, "JPEG")
        files = {syntax: content(encapsulated(make(values, bits=12), syntax, bytes(code(values, 12))))
                 for syntax, code in LOSSLESS_CODERS.items()}  # fmt: skip
        files[EXPLICIT] = content(make(values, bits=12))
        files[BASELINE] = content(encapsulated(make(small, bits=8), BASELINE, stream.getvalue()))
        code = (
            "import pickle, re, sys; from pathlib import Path; from datasets import dicom; import libjpeg, openjpeg\n"
            "status = Path('/proc/self/status')\n"
            "def peak(field): return 1024 * int(re.search(field + r':\\s+(\\d+) kB', status.read_text())[1])\n"
            "for syntax, data in pickle.load(sys.stdin.buffer).items():\n"
            "    status.with_name('clear_refs').write_text('5'); before = peak('VmRSS')\n"
            "    gray, _ = dicom.read(data, name='x', secret=b's')\n"
            "    print(syntax, peak('VmHWM') - before, gray.size * dicom._MEMORY[dicom._DECODERS[syntax]])"
        )
        done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(files), capture_output=True, check=True)
        rows = [(name, int(used), int(said)) for name, used, said in map(str.split, done.stdout.decode().splitlines())]
        assert len(rows) == len(files) and all(used < said + 16e6 for _, used, said in rows), rows
        assert sum(used for _, used, _ in rows) > 60e6, rows  # it does tell
