"""Read one DICOM file as 8-bit gray pixels, and nothing else of it.

A stored value v becomes gray in steps that are exact until the one rounding at the end; every decimal number in the
header is taken as the rational number that it is written as.

1. Modality: x = RescaleSlope v + RescaleIntercept, or the entry of the Modality LUT Sequence; else x = v.
2. Values of interest, the first of these that the header has:
   VOI LUT Sequence  y = 255 entry / (2^bits - 1), with the entry at floor(x + 1/2), the ends held
   window            centre c, width w; y = 255 (x - lo) / (hi - lo), held to 0..255, with
                     LINEAR (default) lo = c - w/2, hi = c + w/2 - 1; LINEAR_EXACT lo = c - w/2, hi = c + w/2;
                     SIGMOID y = 255 / (1 + exp(-4 (x - c) / w))
   nothing           the ramp over all values that BitsStored allows, as for 16-bit PNG
3. gray = floor(y + 1/2), and 255 - gray for MONOCHROME1.

Raw values of a detector (FOR PROCESSING) are refused unless a window or LUT says how they are shown.

Of several windows or LUTs the first is taken. Pixel padding, overlays and shutters are not looked at. Bits of a word
above BitsStored are no part of a value that is stored as it is, or in run lengths (PS3.5, 8.1.1; they may be an old
overlay); a compressed value beyond BitsStored is refused, because nothing says what it would mean.

Every number is bounded as text or bytes before it is used, and a stream is looked at before its decoder sees it
(datasets.codestream).

Privacy: only the tags in _TAGS are parsed. Of the patient, the id is read, hashed with a secret that lives as long as
one loading, and forgotten; pydicom's own messages, which quote values, are never shown.

Source: DICOM PS3.3, C.7.6.3 (pixels), C.11.1 (modality LUT), C.11.2 (VOI LUT and window functions); PS3.5, 8 and
annexes A.4 and G (encodings of pixels).
"""

import hashlib
import io
import logging
import math
import re
import struct
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import ImageError
from contract.images.coded import LengthError
from contract.images.gray import bands, unpack
from contract.images.packbits import packbits
from contract.preprocess import require_memory, require_size
from datasets import codestream

_CODECS = ("pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
_TAGS = [
    "PatientID", "IssuerOfPatientID", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "PresentationLUTShape",
    "PresentationLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PresentationIntentType", "SOPClassUID",
]  # fmt: skip
# One decoder per transfer syntax, whatever else is installed: two JPEG decoders may differ in the last bit.
_PLAIN, _PILLOW, _LIBJPEG, _OPENJPEG, _RLE = "", "pillow", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "rle"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DECODERS = {
    "1.2.840.10008.1.2": _PLAIN,  # implicit VR little endian
    "1.2.840.10008.1.2.1": _PLAIN,  # explicit VR little endian
    _BIG_ENDIAN: _PLAIN,  # explicit VR, retired
    "1.2.840.10008.1.2.4.50": _PILLOW,  # JPEG baseline: the decoder of .jpeg files
    "1.2.840.10008.1.2.4.51": _LIBJPEG,  # JPEG extended, 12 bit
    "1.2.840.10008.1.2.4.57": _LIBJPEG,  # JPEG lossless
    "1.2.840.10008.1.2.4.70": _LIBJPEG,  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": _LIBJPEG,  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": _LIBJPEG,  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": _OPENJPEG,  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": _OPENJPEG,  # JPEG 2000
    "1.2.840.10008.1.2.5": _RLE,
}
_DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1"  # SOP classes: .1 X-rays, .2 mammography, .3 dental; then .1 is raw
_RAW = {f"{_DIGITAL_X_RAY}.{kind}.1" for kind in (1, 2, 3)}
_NOBODY = {
    "anon", "anonanon", "anonpatient", "anonym", "anonymised", "anonymized", "anonymous", "anonymouspatient",
    "deidentified", "dummy", "dummydummy", "missing", "na", "nan", "nil", "none", "null", "patient",
    "patientid", "removed", "unknown", "unspecified",
}  # fmt: skip
NOBODY = b""  # in place of a person
PERSON_BYTES = 32  # of the hash of an id, and of its issuer
_MODULES = {_LIBJPEG: "libjpeg", _OPENJPEG: "openjpeg"}
# The frames that a transfer syntax may hold: baseline, extended, lossless, JPEG-LS, JPEG 2000.
_PROCESSES = {"50": (0xC0, 0xC1), "51": (0xC0, 0xC1), "57": (0xC3,), "70": (0xC3,), "80": (0xF7,), "81": (0xF7,),
              "90": (0x51,), "91": (0x51,)}  # fmt: skip
_MEMORY = {_PLAIN: 1, _PILLOW: 2, _LIBJPEG: 9, _OPENJPEG: 10, _RLE: 6}  # peak of decoding [byte a pixel]
_ITEM, _ITEMS_END, _IN_ITEMS = 0xE000FFFE, 0xE0DDFFFE, 0xFFFFFFFF
_MAX_FRAGMENTS = 100_000
_COUNT = re.compile(r"\+?\d{1,9}", re.ASCII)  # an integer string that cannot be negative
_MAX_READS = 50_000  # of the parser; each element of the header takes one or a few
_MAX_VALUE = 1024  # of a header value [byte]
_MAX_SEQUENCE = 1 << 21  # of a sequence of LUTs [byte]
_MAX_NUMBER = 10**12  # largest magnitude of a number in the header, and one over the smallest
# A decimal string, checked as text: of "1e-99999999" already the fraction would take for ever. The standard allows 16
# characters; real files have the 20 or so that printing a double gives.
_DECIMAL = re.compile(r"[+-]?(\d{1,32}\.?\d{0,32}|\.\d{1,32})([eE][+-]?\d{1,2})?", re.ASCII)
_Lut = tuple[int, int, tuple[int, ...]]  # value that the first entry is for, bits of an entry, entries
_Ramp = tuple[Fraction, Fraction]  # x that becomes 0, x that becomes 255

logging.getLogger("pydicom").disabled = True  # see Privacy


@dataclass(frozen=True)
class _Rescale:
    slope: Fraction
    intercept: Fraction


@dataclass(frozen=True)
class _Sigmoid:
    centre: Fraction
    width: Fraction


@dataclass(frozen=True)
class Shape:
    """What a header says about its pixels."""

    width: int
    height: int
    photometric: str
    bits_stored: int
    transfer_syntax: str  # UID


def is_dicom(content: bytes) -> bool:
    """Return whether a file is DICOM, by the mark after its preamble."""
    return content[128:132] == b"DICM"


def codec_versions() -> list[str | None]:
    """Return the versions of the packages that decode DICOM, None where one is missing."""
    return [_version(package) for package in _CODECS]


def read(content: bytes, *, name: str, secret: bytes) -> tuple[NDArray[np.uint8], bytes | None]:
    """Return (h, w) gray pixels, and keyed hashes of the patient id and its issuer, if any: see `_person`.

    Args:
        content: the file.
        name: what messages call it.
        secret: key of the hash; with another one, hashes cannot be compared.

    Raises:
        ImageError: the file is damaged, is no single gray image of 8 to 16 bits, or needs a codec that is missing.
    """
    header, at = _parse(content, name)
    shape = _check(header, name, pixels=at is not None)
    words = _decode(content, at or 0, header, shape, name)
    bits, signed = shape.bits_stored, _integer(header, "PixelRepresentation", 0) == 1
    mask, half = (1 << bits) - 1, (1 << (bits - 1) if signed else 0)
    parts = list(bands(shape.height, shape.width))
    # Words without the bits above, where 0 is the lowest value: of two's complement, the sign bit is reversed.
    low, high = mask, 0
    for top, end in parts:
        part = (words[top:end] & mask) ^ half
        low, high = min(low, int(part.min())), max(high, int(part.max()))
    try:
        table = gray_table(
            low - half, high - half, -half, mask - half, _modality(header), _voi(header),
            invert=shape.photometric == "MONOCHROME1",
        )  # fmt: skip
        person = _person(header, secret)
    except Exception as err:  # ours, and pydicom's for sequences that are none
        reason = str(err) if isinstance(err, _HeaderError) else "has a rescale, window or LUT that cannot be read"
        raise ImageError(f"{name}: {reason}; correct the file or leave it out.") from err
    gray = np.empty(words.shape, dtype=np.uint8)
    for top, end in parts:
        gray[top:end] = table[((words[top:end] & mask) ^ half) - low]
    return gray, person


def describe(content: bytes, *, name: str) -> Shape:
    """Return what the header says about the pixels, without decoding them. Raises ImageError."""
    header, at = _parse(content, name)
    return _check(header, name, pixels=at is not None)


class _HeaderError(ValueError):
    """Something in the header that we refuse; the text has no values of the header but numbers of the pixels."""


class _Bounded(io.BytesIO):
    """A stream that ends the parser's work when it reads absurdly often: sequences may hold millions of elements."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > _MAX_READS:
            raise ValueError("too many elements")
        return super().read(size)


def _parse(content: bytes, name: str) -> tuple[Any, int | None]:
    """Return the header's tags that we need, whose values are read when they are used, and where the pixels are."""
    try:
        from pydicom import dcmread
        from pydicom.filereader import read_dataset
    except ImportError as err:
        raise ImageError(f"{name}: is a DICOM file, which needs pydicom; `pip install pydicom`.") from err
    try:
        stream = _Bounded(content)
        stream.seek(132)  # the file meta information, group 2: a deflated file must not be inflated
        meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
        syntax = meta.get("TransferSyntaxUID")
        if syntax in _DECODERS:
            stream.seek(0)
            header = dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS)  # type: ignore[arg-type]
            tag = struct.pack(f"{_order(header)}HH", 0x7FE0, 0x0010)
            return header, stream.tell() if content.startswith(tag, stream.tell()) else None
    except Exception as err:  # pydicom raises nearly everything on hostile input
        raise _damaged(name) from err
    known = "uncompressed, JPEG, JPEG-LS, JPEG 2000 or RLE"
    raise ImageError(f"{name}: has the transfer syntax {ascii(str(syntax))[:70]}, expected {known}; convert the file.")


def _order(header: Any) -> str:
    """Return the order of bytes, < or >."""
    return ">" if header.file_meta.TransferSyntaxUID == _BIG_ENDIAN else "<"


def _check(header: Any, name: str, *, pixels: bool) -> Shape:
    """Stop unless the header describes one gray image of 8 to 16 bits and a sane size."""
    if not pixels:
        raise ImageError(f"{name}: is a DICOM file without pixels, expected an X-ray image; leave it out.")
    try:
        problem = _problem(header)
        if not problem:
            shape = Shape(
                _integer(header, "Columns"),
                _integer(header, "Rows"),
                _text(header, "PhotometricInterpretation"),
                _integer(header, "BitsStored"),
                str(header.file_meta.TransferSyntaxUID),
            )
    except _HeaderError as err:
        raise ImageError(f"{name}: {err}; correct the file or leave it out.") from err
    except Exception as err:  # pydicom converts values only here
        raise _damaged(name) from err
    if problem:
        raise ImageError(f"{name}: {problem}")
    require_size(shape.width, shape.height, height=1, width=1, name=name)
    require_memory(shape.width * shape.height * _MEMORY[_DECODERS[shape.transfer_syntax]], name=name)
    return shape


def _problem(header: Any) -> str:
    frames = _text(header, "NumberOfFrames") or "1"
    if not _COUNT.fullmatch(frames) or int(frames) != 1:
        found = int(frames) if _COUNT.fullmatch(frames) else "an unreadable number of"
        return f"has {found} frames, expected a single X-ray image; export one frame."
    photometric = _text(header, "PhotometricInterpretation") or "none"
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        found = f"has pixels of type {ascii(photometric)[1:-1][:20]}, expected MONOCHROME1 or MONOCHROME2"
        if photometric.startswith(("RGB", "YBR", "PALETTE")):
            return f"{found}: no X-ray is in colour, a copy of a screen is; leave it out, or save it as a gray PNG."
        return f"{found}; convert it."
    if (samples := _integer(header, "SamplesPerPixel", 1)) != 1:
        return f"has {samples} samples per pixel (SamplesPerPixel), expected 1 of {photometric}; convert it."
    allocated, stored = _integer(header, "BitsAllocated"), _integer(header, "BitsStored")
    if allocated not in (8, 16):
        return f"has {allocated} bits allocated per pixel (BitsAllocated), expected 8 or 16; convert it."
    if not 8 <= stored <= allocated:
        return f"has {stored} of {allocated} bits per pixel, expected 8 to {allocated}; convert it."
    high = _integer(header, "HighBit", stored - 1)
    if high != stored - 1:
        return f"has its {stored} bits per pixel up to bit {high}, expected up to {stored - 1} (HighBit); convert it."
    if _integer(header, "PixelRepresentation", 0) > 1:
        return "has pixels that are neither unsigned nor signed (PixelRepresentation); convert it."
    if any(f"{kind}FunctionalGroupsSequence" in header for kind in ("Shared", "PerFrame")):
        return "is an enhanced multi-frame image, whose window is not read, expected a plain one; convert it."
    looks = _text(header, "PresentationLUTShape")
    expected = "IDENTITY" if photometric == "MONOCHROME2" else "INVERSE"
    if looks not in ("", expected) or "PresentationLUTSequence" in header:
        return f"is {photometric} with another presentation LUT than {expected}; convert it."
    raw = _text(header, "PresentationIntentType") == "FOR PROCESSING" or _text(header, "SOPClassUID") in _RAW
    if raw and not _says_white(header):
        return (
            "has raw values of a detector (PresentationIntentType FOR PROCESSING), and no window that says what is "
            "white; use the image for presentation."
        )
    return ""


def _decode(content: bytes, at: int, header: Any, shape: Shape, name: str) -> NDArray[Any]:
    """Return the stored words (h, w), unsigned, of which the lowest BitsStored bits count."""
    decoder = _DECODERS[shape.transfer_syntax]
    if decoder.startswith("pylibjpeg") and None in (_version("pylibjpeg"), _version(decoder)):
        kind = header.file_meta.TransferSyntaxUID.name.split(",")[0]
        raise ImageError(f"{name}: is compressed as {kind}, which needs a codec; `pip install pylibjpeg {decoder}`.")
    try:
        bits, size = _integer(header, "BitsAllocated"), shape.width * shape.height
        if decoder == _PLAIN:
            return _plain(content, at, _order(header), bits, shape)
        frame = _frame(content, at, most=1 if decoder == _RLE else _MAX_FRAGMENTS)
        if decoder == _RLE:
            return _run_lengths(frame, bits // 8, size, row=shape.width).reshape(shape.height, shape.width)
        coded = codestream.look(frame)
        if (coded.width, coded.height, coded.components) != (shape.width, shape.height, 1):
            raise ValueError("the compressed image has another size than the header")
        if coded.process not in _PROCESSES[shape.transfer_syntax[-2:]] or coded.bits > 16:
            raise ValueError("it is compressed in another way than the header says")
        values = codestream.exact_pixels(frame, coded, lambda stream: _unpacked(stream, decoder, shape))
        if values.shape != (shape.height, shape.width) or values.dtype.kind not in "ui":
            raise ValueError("the decoder found something else")
        if coded.bits < shape.bits_stored and not _says_white(header):
            raise _HeaderError(
                f"has compressed pixels of {coded.bits} bits, where {shape.bits_stored} are declared (BitsStored), and "
                "no window that says what is white"
            )
        return _declared(values, coded, shape.bits_stored, signed=_integer(header, "PixelRepresentation", 0) == 1)
    except _HeaderError as err:
        raise ImageError(f"{name}: {err}; convert it.") from err
    except ImageError as err:
        raise ImageError(f"{name}: {err}") from err
    except LengthError as err:
        raise ImageError(f"{name}: is a damaged DICOM file ({err}); replace the file.") from err
    except Exception as err:  # as above; MemoryError too
        raise _damaged(name) from err


def _element(content: bytes, at: int) -> tuple[bytes, int, int]:
    """Return VR, start and length of the pixel data; the length is 2^32 - 1 where they are in items."""
    order = "<" if content[at : at + 2] == b"\xe0\x7f" else ">"
    vr = content[at + 4 : at + 6]
    if vr in (b"OB", b"OW", b"UN", b"OF"):  # no even length begins with these letters
        return vr, at + 12, struct.unpack_from(f"{order}I", content, at + 8)[0]
    return b"OW", at + 8, struct.unpack_from(f"{order}I", content, at + 4)[0]


def _plain(content: bytes, at: int, order: str, allocated: int, shape: Shape) -> NDArray[Any]:
    """Return words that are stored as they are, a view into the file."""
    vr, start, length = _element(content, at)
    size, row = shape.width * shape.height * allocated // 8, shape.width * allocated // 8
    if length == _IN_ITEMS or not size <= length <= len(content) - start:
        raise LengthError("its pixel data end early")
    if length - size >= max(row, 2):  # less may be padding
        raise _HeaderError(f"has {length} bytes of pixels, expected {size} for its rows, columns and bits")
    if allocated == 16:
        return np.frombuffer(content, f"{order}u2", size // 2, start).reshape(shape.height, shape.width)
    if order == ">" and vr == b"OW":  # two pixels in a word
        words = np.frombuffer(content, "u1", (size + 1) // 2 * 2, start).reshape(-1, 2)[:, ::-1]
        return words.reshape(-1)[:size].reshape(shape.height, shape.width)
    return np.frombuffer(content, "u1", size, start).reshape(shape.height, shape.width)


def _frame(content: bytes, at: int, *, most: int) -> bytes:
    """Return the one compressed frame, whose fragments, `most` of them, are items after an offset table."""
    _, at, length = _element(content, at)
    if length != _IN_ITEMS:
        raise ValueError("compressed pixels are in items")
    fragments: list[memoryview] = []
    while True:
        tag, length = struct.unpack_from("<II", content, at)
        if tag == _ITEMS_END:
            break
        if tag != _ITEM or length > len(content) - at - 8 or len(fragments) > most:
            raise ValueError("its items are damaged")
        fragments.append(memoryview(content)[at + 8 : at + 8 + length])
        at += 8 + length
    if not fragments or len(fragments[0]) > 4:
        raise ValueError("several frames")  # the offset table has more than one, or there is no table
    return b"".join(fragments[1:])


def _run_lengths(frame: bytes, segments: int, size: int, *, row: int) -> NDArray[Any]:
    """Return the words of RLE (PS3.5, annex G): all high bytes, then all low bytes; less than a row may be padding."""
    count, *starts = struct.unpack_from("<16I", frame)
    starts = [*starts[:segments], len(frame)]
    if count != segments or starts[0] < 64 or starts != sorted(starts):
        raise ValueError("its segments are damaged")
    words = np.empty((size, segments), dtype=np.uint8)
    for i in range(segments):
        part = memoryview(frame)[starts[i] : starts[i + 1]]
        unpacked = packbits(part, size, spare=max(row, 2))
        if len(unpacked) == size + max(row, 2):
            raise LengthError("its pixel data go on after its last row")
        words[:, segments - 1 - i] = np.frombuffer(unpacked, dtype=np.uint8, count=size)
    return words.view(f"<u{segments}")[:, 0]


def _unpacked(frame: bytes, decoder: str, shape: Shape) -> NDArray[Any]:
    """Let a codec decode a stream that has been looked at."""
    if decoder == _PILLOW:
        return np.asarray(unpack(frame, "JPEG", width=shape.width, height=shape.height, modes=("L",)))
    return np.asarray(import_module(_MODULES[decoder]).decode(frame))


def _declared(values: NDArray[Any], coded: codestream.Coded, bits: int, *, signed: bool) -> NDArray[Any]:
    """Return compressed values as words, after a check that they are within BitsStored.

    Signed values are in the stream as such (JPEG 2000), or as two's complement, of BitsStored bits or extended to the
    bits of the stream.
    """
    beyond = _HeaderError(f"has pixel values beyond the {bits} bits that it declares (BitsStored)")
    if coded.signed:
        if not signed or values.min() < -(1 << (bits - 1)) or values.max() >= 1 << (bits - 1):
            raise beyond
        return values.astype(np.int16).view(np.uint16)
    if signed and coded.bits < bits:
        raise _HeaderError(f"has signed pixels of {bits} bits, compressed with {coded.bits}")
    for top, end in bands(*values.shape):
        above = values[top:end] >> bits if bits < 8 * values.itemsize else np.zeros(1, dtype=np.uint8)
        if above.any():
            extended = (above == (1 << (coded.bits - bits)) - 1) & (values[top:end] >> (bits - 1) & 1 == 1)
            if not (signed and (extended | (above == 0)).all()):
                raise beyond
    return values if bits <= 8 else values.astype(np.uint16, copy=False)


@lru_cache(maxsize=64)  # many files of one device share their numbers
def gray_table(
    low: int,
    high: int,
    lowest: int,
    highest: int,
    modality: _Rescale | _Lut,
    voi: _Ramp | _Sigmoid | _Lut | None,
    *,
    invert: bool,
) -> NDArray[np.uint8]:
    """Return the gray of every stored value from low to high, (high - low + 1,) uint8; see the top of this file.

    Args:
        low, high: stored values that occur.
        lowest, highest: stored values that can occur.
        modality: step 1.
        voi: step 2.
        invert: MONOCHROME1.
    """
    x, unit, full = _modality_values(low, high, lowest, highest, modality)
    if isinstance(voi, _Sigmoid):
        edges = [math.ceil(edge * unit) for edge in _sigmoid_edges(voi)]
        gray = np.array([bisect_right(edges, value) for value in x.tolist()])
    elif isinstance(voi, tuple) and len(voi) == 3:
        first, bits, entries = voi
        top = (1 << bits) - 1
        scaled = np.array([(510 * min(entry, top) + top) // (2 * top) for entry in entries])
        gray = scaled[np.clip((2 * x + unit) // (2 * unit) - first, 0, len(entries) - 1).astype(np.int64)]
    else:
        gray = _ramp(x, unit, full if voi is None else voi)
    return np.asarray(255 - gray if invert else gray, dtype=np.uint8)


def _modality_values(
    low: int, high: int, lowest: int, highest: int, modality: _Rescale | _Lut
) -> tuple[NDArray[Any], int, _Ramp]:
    """Return x of all stored values in units of 1/unit, unit, and the ends of x."""
    if isinstance(modality, tuple):
        first, bits, entries = modality
        at = np.clip(np.arange(low, high + 1) - first, 0, len(entries) - 1)
        return np.array(entries, dtype=object)[at], 1, (Fraction(0), Fraction((1 << bits) - 1))
    unit = math.lcm(modality.slope.denominator, modality.intercept.denominator)
    values = np.arange(low, high + 1).astype(object)  # Python integers: no overflow, whatever the header says
    x = values * int(modality.slope * unit) + int(modality.intercept * unit)
    ends = [modality.slope * end + modality.intercept for end in (lowest, highest)]
    return x, unit, (min(ends), max(ends))


def _ramp(x: NDArray[Any], unit: int, ends: _Ramp) -> NDArray[Any]:
    """Return floor(1/2 + 255 (x - lo) / (hi - lo)), held to 0..255; a step above lo where both are equal."""
    finer = math.lcm(unit, ends[0].denominator, ends[1].denominator)
    x, (lo, hi) = x * (finer // unit), (int(end * finer) for end in ends)
    if hi == lo:
        return np.where(np.asarray(x > lo, dtype=bool), 255, 0)
    return np.asarray(np.clip((510 * (x - lo) + (hi - lo)) // (2 * (hi - lo)), 0, 255), dtype=np.int64)


def _sigmoid_edges(window: _Sigmoid) -> list[Fraction]:
    """Return the x at which gray reaches 1, 2 .. 255; in decimals that are the same on every processor."""
    context = Context(prec=50)
    logs = [context.ln(context.divide(Decimal(511 - 2 * k), Decimal(2 * k - 1))) for k in range(1, 256)]
    return [window.centre - window.width / 4 * Fraction(log) for log in logs]


def _modality(header: Any) -> _Rescale | _Lut:
    if "ModalityLUTSequence" in header:
        signed = _integer(header, "PixelRepresentation", 0) == 1
        table = _lut(header, "ModalityLUTSequence", "modality", signed=signed)
        if table is not None:
            return table
    slope = _number(header, "RescaleSlope", Fraction(1))
    if not slope:
        raise _HeaderError("has a rescale slope of 0, expected another number")
    return _Rescale(slope, _number(header, "RescaleIntercept", Fraction(0)))


def _voi(header: Any) -> _Ramp | _Sigmoid | _Lut | None:
    if "VOILUTSequence" in header:
        slope, intercept = (_number(header, tag, Fraction(0)) for tag in ("RescaleSlope", "RescaleIntercept"))
        signed = _integer(header, "PixelRepresentation", 0) == 1 or slope < 0 or intercept < 0
        table = _lut(header, "VOILUTSequence", "VOI", signed=signed)
        if table is not None:
            return table
    given = [bool(_text(header, tag)) for tag in ("WindowCenter", "WindowWidth")]
    if not any(given):
        return None
    if not all(given):
        raise _HeaderError("has a window of which the centre or the width is missing")
    centre, width = (_number(header, tag, Fraction(1)) for tag in ("WindowCenter", "WindowWidth"))
    function = _text(header, "VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise _HeaderError("has a window function that DICOM does not define, expected LINEAR, LINEAR_EXACT or SIGMOID")
    if width < 1 if function == "LINEAR" else width <= 0:
        raise _HeaderError(f"has a window of width {float(width):g}, expected a positive one, 1 or more for LINEAR")
    if function == "SIGMOID":
        return _Sigmoid(centre, width)
    return centre - width / 2, centre + width / 2 - (function == "LINEAR")


def _says_white(header: Any) -> bool:
    """Return whether a window or a lookup table says what is white; one that cannot be read is refused later."""
    try:
        return _voi(header) is not None
    except Exception:  # as in `read`
        return True


def _lut(header: Any, tag: str, kind: str, *, signed: bool) -> _Lut | None:
    """Return the lookup table of a sequence, None if that is empty.

    `signed`: its first value may be negative, though some headers write it unsigned.
    """
    stored = header.get_item(tag).value
    if isinstance(stored, bytes) and len(stored) > _MAX_SEQUENCE:
        raise _HeaderError(f"has {kind} LUTs of {len(stored)} bytes, expected one of at most 65536 entries")
    if not header[tag].value:
        return None
    item, order = header[tag].value[0], _order(header)
    count, first, bits = struct.unpack(f"{order}3H", _value(item, "LUTDescriptor"))
    signed = signed or item.get_item("LUTDescriptor").VR == "SS"
    count = count or 1 << 16
    data = _value(item, "LUTData", most=_MAX_SEQUENCE)
    # 16 bits per entry; entries of 8 bits may be bytes, and then there are no more than these, made even.
    wide = bits > 8 or len(data) > count + count % 2
    held = min(count, len(data) // (1 + wide))
    entries = tuple(np.frombuffer(data, dtype=f"{order}u{1 + wide}", count=held).tolist())
    if held < count or not 8 <= bits <= 16 or (order == ">" and not wide):
        raise _HeaderError(
            f"has a {kind} LUT with {held} of {count} entries of {bits} bits, expected all, of 8 to 16 bits"
        )
    return (first - (1 << 16) if signed and first >= 1 << 15 else first), bits, entries


def _value(header: Any, tag: str, *, most: int = _MAX_VALUE) -> bytes:
    """Return what the file has for a tag, empty where it has nothing."""
    element = header.get_item(tag)
    if element is None or element.value is None or len(element.value) == 0:
        return b""
    if not isinstance(element.value, bytes) or len(element.value) > most:
        raise _HeaderError(f"has a {tag} that is no plain value")
    return element.value


def _text(header: Any, tag: str) -> str:
    """Return the first of the values of a tag that is text; an empty one before others is no value and no default."""
    first, *others = (value.decode("latin-1").strip(" \0") for value in _value(header, tag).split(b"\\"))
    if not first and any(others):
        raise _HeaderError(f"has several values as {tag}, of which the first is empty")
    return first


def _number(header: Any, tag: str, default: Fraction) -> Fraction:
    """Return a decimal string of the header, exactly; the first one of several."""
    text = _text(header, tag)
    if not text:
        return default
    if _DECIMAL.fullmatch(text) is None:
        raise _HeaderError(f"has a {tag} that is no decimal number of a sane length")
    number = Fraction(text)
    if number and not Fraction(1, _MAX_NUMBER) <= abs(number) <= _MAX_NUMBER:
        raise _HeaderError(f"has {tag} {float(number):g}, expected a number of a sane size")
    return number


def _integer(header: Any, tag: str, default: int | None = None) -> int:
    """Return the unsigned integer of a tag, of 16 bits, or of 32 where a sloppy writer took those."""
    value = _value(header, tag)
    if not value and default is not None:
        return default
    if len(value) not in (2, 4):
        raise ValueError(f"no {tag}")
    return int.from_bytes(value, "little" if _order(header) == "<" else "big")


def _person(header: Any, secret: bytes) -> bytes | None:
    """Return a hash of the patient id, and behind it one of the issuer where there is one; none without an id.

    They are worth nothing without the secret. NOBODY: there is an id, but it names nobody.
    """
    values = [_value(header, tag).strip(b" \0") for tag in ("PatientID", "IssuerOfPatientID")]
    if not values[0]:
        return None
    patient = values[0].decode("latin-1")
    if names_nobody(patient):
        return NOBODY
    values[0] = same_id(patient).encode()
    return b"".join(hashlib.blake2b(value, key=secret, digest_size=PERSON_BYTES).digest() for value in values if value)


def names_nobody(patient: str) -> bool:
    """Return whether a patient id is a word for none, such as an anonymiser writes into every file."""
    word = "".join(char for char in patient.casefold() if char.isalnum())
    return word in _NOBODY or not word.strip("x") or re.fullmatch(r"\s*-\d+([.,]0*)?\s*", patient) is not None


def same_id(patient: str) -> str:
    """Return what all spellings of one patient's id have in common.

    They differ in case, blanks, dashes, underscores and slashes, leading zeros, or a float's ".0".
    Two patients may get one id by this, which costs nothing; one with two would be on both sides of a split.
    """
    text = re.sub(r"\s", "", unicodedata.normalize("NFKC", patient)).casefold()
    text = re.sub(r"(?<=[^\W_])[-_/\u2010-\u2015]+(?=[^\W_])", "", text)  # a sign before a number stays
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"^([+-]?\d+)[.,]0*$", r"\1", text))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _damaged(name: str) -> ImageError:
    # Without pydicom's reason, which can quote the header.
    return ImageError(f"{name}: is a damaged DICOM file and cannot be decoded; replace the file.")
