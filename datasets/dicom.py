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

Of several windows or LUTs the first is taken. Pixel padding and overlays are not looked at.

Privacy: only the tags in _TAGS are parsed. Of the patient, the id is read, hashed with a secret that lives as long as
one loading, and forgotten; pydicom's own messages, which quote values, are never shown.

Source: DICOM PS3.3, C.7.6.3 (pixels), C.11.1 (modality LUT), C.11.2 (VOI LUT and window functions).
"""

import hashlib
import io
import logging
import math
import re
from bisect import bisect_right
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import ImageError
from contract.preprocess import require_size

DICOM_VERSION = 2  # raise it when any output pixel of any file, or who it is said to be of, can change
_CODECS = ("pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
_TAGS = [
    "PatientID", "IssuerOfPatientID", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "PixelData",
]  # fmt: skip
# One decoder per transfer syntax, whatever else is installed: two JPEG decoders may differ in the last bit.
_PILLOW, _LIBJPEG, _OPENJPEG, _PYDICOM = "pillow", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pydicom"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DECODERS = {
    "1.2.840.10008.1.2": "",  # implicit VR little endian; "": nothing to decode
    "1.2.840.10008.1.2.1": "",  # explicit VR little endian
    _BIG_ENDIAN: "",  # explicit VR, retired
    "1.2.840.10008.1.2.4.50": _PILLOW,  # JPEG baseline: the decoder of .jpeg files
    "1.2.840.10008.1.2.4.51": _LIBJPEG,  # JPEG extended, 12 bit
    "1.2.840.10008.1.2.4.57": _LIBJPEG,  # JPEG lossless
    "1.2.840.10008.1.2.4.70": _LIBJPEG,  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": _LIBJPEG,  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": _LIBJPEG,  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": _OPENJPEG,  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": _OPENJPEG,  # JPEG 2000
    "1.2.840.10008.1.2.5": _PYDICOM,  # RLE
}
_NOBODY = {
    "anon", "anonym", "anonymised", "anonymized", "anonymous", "anonymouspatient", "anonpatient", "deidentified",
    "missing", "na", "nan", "nil", "none", "null", "patient", "patientid", "removed", "unknown", "unspecified",
}  # fmt: skip
NOBODY = b""  # in place of a person
PERSON_BYTES = 32  # of the hash of an id, and of its issuer
_MAX_SCANS = 100  # of a JPEG image; a progressive one has about ten, and each may cost a pass over all pixels
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
    header = _parse(content, name)
    shape = _check(header, name)
    bits, signed = shape.bits_stored, _integer(header, "PixelRepresentation", 0) == 1
    stored = _decode(header, shape, name)
    try:
        modality, voi = _modality(header), _voi(header)
        lowest = -(1 << (bits - 1)) if signed else 0
        low, high = int(stored.min()), int(stored.max())
        table = gray_table(
            low, high, lowest, lowest + (1 << bits) - 1, modality, voi, invert=shape.photometric == "MONOCHROME1"
        )
    except Exception as err:  # ours, and pydicom's for numbers that are none
        reason = str(err) if isinstance(err, _HeaderError) else "has a rescale, window or LUT that cannot be read"
        raise ImageError(f"{name}: {reason}; correct the file or leave it out.") from err
    gray = np.empty(stored.shape, dtype=np.uint8)
    for to, row in zip(gray, stored, strict=True):  # row by row: the indices of a whole image are 16 times its size
        to[:] = table[row.astype(np.int64) - low]
    return gray, _person(header, secret)


def describe(content: bytes, *, name: str) -> Shape:
    """Return what the header says about the pixels, without decoding them. Raises ImageError."""
    return _check(_parse(content, name), name)


class _HeaderError(ValueError):
    """Something in the header that we refuse; the text has no values of the header but numbers of the pixels."""


def _parse(content: bytes, name: str) -> Any:
    """Return the header's tags that we need; they are converted when they are used."""
    try:
        from pydicom import dcmread
        from pydicom.filereader import read_dataset
    except ImportError as err:
        raise ImageError(f"{name}: is a DICOM file, which needs pydicom; `pip install pydicom`.") from err
    try:
        stream = io.BytesIO(content)
        stream.seek(132)  # the file meta information, group 2: a deflated file must not be inflated
        meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
        syntax = meta.get("TransferSyntaxUID")
        if syntax in _DECODERS:
            stream.seek(0)
            return dcmread(stream, specific_tags=_TAGS)  # type: ignore[arg-type]
    except Exception as err:  # pydicom raises nearly everything on hostile input
        raise _damaged(name) from err
    known = "uncompressed, JPEG, JPEG-LS, JPEG 2000 or RLE"
    raise ImageError(f"{name}: has the transfer syntax {ascii(str(syntax))[:70]}, expected {known}; convert the file.")


def _check(header: Any, name: str) -> Shape:
    """Stop unless the header describes one gray image of 8 to 16 bits and a sane size."""
    try:
        problem = _problem(header)
        if not problem:
            shape = Shape(
                _integer(header, "Columns"),
                _integer(header, "Rows"),
                str(header.PhotometricInterpretation),
                _integer(header, "BitsStored"),
                str(header.file_meta.TransferSyntaxUID),
            )
    except Exception as err:  # pydicom converts values only here
        raise _damaged(name) from err
    if problem:
        raise ImageError(f"{name}: {problem}")
    require_size(shape.width, shape.height, height=1, width=1, name=name)
    return shape


def _problem(header: Any) -> str:
    if "PixelData" not in header:
        return "is a DICOM file without pixels, expected an X-ray image; leave it out."
    frames = _integer(header, "NumberOfFrames", 1)
    if frames != 1:
        return f"has {frames} frames, expected a single X-ray image; export one frame."
    photometric = str(header.get("PhotometricInterpretation", "none"))
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or _integer(header, "SamplesPerPixel", 1) != 1:
        return f"has pixels of type {ascii(photometric)[1:-1][:20]}, expected MONOCHROME1 or MONOCHROME2; convert it."
    allocated = _integer(header, "BitsAllocated")
    stored = _integer(header, "BitsStored")
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        return f"has {stored} of {allocated} bits per pixel, expected 8 to 16; convert it."
    return ""


def _decode(header: Any, shape: Shape, name: str) -> NDArray[Any]:
    """Return the stored values (h, w)."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import pixel_array

    decoder = _DECODERS[shape.transfer_syntax]
    if decoder.startswith("pylibjpeg") and None in (_version("pylibjpeg"), _version(decoder)):
        kind = header.file_meta.TransferSyntaxUID.name.split(",")[0]
        raise ImageError(f"{name}: is compressed as {kind}, which needs a codec; `pip install pylibjpeg {decoder}`.")
    try:
        if decoder in (_PILLOW, _LIBJPEG, _OPENJPEG):
            frame = get_frame(header.PixelData, 0, number_of_frames=1)
            if decoder == _PILLOW:
                require_scans(frame, name=name)
            coded = coded_size(frame)
            if coded != (shape.width, shape.height):  # or a few bytes could ask for gigabytes
                raise ValueError("the compressed image has another size than the header")
        values = np.asarray(pixel_array(header, raw=True, decoding_plugin=decoder.partition("-")[0]))
    except ImageError:
        raise
    except Exception as err:  # as above; MemoryError too
        raise _damaged(name) from err
    if values.shape != (shape.height, shape.width) or values.dtype.kind not in "ui":
        raise _damaged(name)
    return values


def require_scans(jpeg: bytes, *, name: str) -> None:
    """Stop at a JPEG image of absurdly many scans, which would take hours to decode. Raises ImageError."""
    scans = jpeg.count(b"\xff\xda")  # within a scan, 0xff is always followed by 0 or a restart marker
    if scans > _MAX_SCANS:
        raise ImageError(f"{name}: has {scans} JPEG scans, expected at most {_MAX_SCANS}; save it again.")


def coded_size(frame: bytes) -> tuple[int, int] | None:
    """Return (width, height) that a JPEG, JPEG-LS or JPEG 2000 stream claims, None if it claims none."""
    if frame[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: SOC, SIZ: extent minus offset
        x1, y1, x0, y0 = (int.from_bytes(frame[at : at + 4], "big") for at in (8, 12, 16, 20))
        return x1 - x0, y1 - y0
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:  # start of frame
            return int.from_bytes(frame[at + 7 : at + 9], "big"), int.from_bytes(frame[at + 5 : at + 7], "big")
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


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
    if header.get("ModalityLUTSequence"):
        return _lut(
            header, header.ModalityLUTSequence[0], "modality", signed=_integer(header, "PixelRepresentation", 0) == 1
        )
    slope = _number(header, "RescaleSlope", Fraction(1))
    if not slope:
        raise _HeaderError("has a rescale slope of 0, expected another number")
    return _Rescale(slope, _number(header, "RescaleIntercept", Fraction(0)))


def _voi(header: Any) -> _Ramp | _Sigmoid | _Lut | None:
    if header.get("VOILUTSequence"):
        slope, intercept = (_number(header, tag, Fraction(0)) for tag in ("RescaleSlope", "RescaleIntercept"))
        signed = _integer(header, "PixelRepresentation", 0) == 1 or slope < 0 or intercept < 0
        return _lut(header, header.VOILUTSequence[0], "VOI", signed=signed)
    if header.get("WindowCenter") is None or header.get("WindowWidth") is None:
        return None
    centre, width = (_number(header, tag, Fraction(1)) for tag in ("WindowCenter", "WindowWidth"))
    function = str(header.get("VOILUTFunction") or "LINEAR")
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise _HeaderError("has a window function that DICOM does not define, expected LINEAR, LINEAR_EXACT or SIGMOID")
    if width < 1 if function == "LINEAR" else width <= 0:
        raise _HeaderError(f"has a window of width {float(width):g}, expected a positive one, 1 or more for LINEAR")
    if function == "SIGMOID":
        return _Sigmoid(centre, width)
    return centre - width / 2, centre + width / 2 - (function == "LINEAR")


def _lut(header: Any, item: Any, kind: str, *, signed: bool) -> _Lut:
    """Return a lookup table. `signed`: its first value may be negative, though some headers write it unsigned."""
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    count = count or 1 << 16
    data = item.LUTData
    if isinstance(data, bytes):  # VR OW: 16 bits per entry, unless there is room for 8 only
        wide = len(data) >= 2 * count
        order = ">" if header.file_meta.TransferSyntaxUID == _BIG_ENDIAN else "<"
        data = np.frombuffer(data[: 2 * count if wide else count], dtype=f"{order}u{1 + wide}")
    entries = tuple(int(entry) for entry in np.atleast_1d(np.asarray(data)))[:count]
    if len(entries) < count or not 8 <= bits <= 16:
        raise _HeaderError(
            f"has a {kind} LUT with {len(entries)} of {count} entries of {bits} bits, expected all, of 8 to 16 bits"
        )
    return (first - (1 << 16) if signed and first >= 1 << 15 else first), bits, entries


def _number(header: Any, tag: str, default: Fraction) -> Fraction:
    """Return a decimal string of the header, exactly; the first one of several."""
    value = header.get(tag)
    if value is None or value == "":
        return default
    if not isinstance(value, str) and hasattr(value, "__len__"):
        value = value[0]
    text = str(getattr(value, "original_string", value)).strip(" \0")
    if _DECIMAL.fullmatch(text) is None:
        raise _HeaderError(f"has a {tag} that is no decimal number of a sane length")
    number = Fraction(text)
    if number and not Fraction(1, _MAX_NUMBER) <= abs(number) <= _MAX_NUMBER:
        raise _HeaderError(f"has {tag} {float(number):g}, expected a number of a sane size")
    return number


def _integer(header: Any, tag: str, default: int | None = None) -> int:
    value = header.get(tag)
    if value in (None, "") and default is not None:
        return default
    return int(value)


def _person(header: Any, secret: bytes) -> bytes | None:
    """Return a hash of the patient id, and behind it one of the issuer where there is one; none without an id.

    They are worth nothing without the secret. NOBODY: there is an id, but it names nobody.
    """
    parts = [header.get_item(tag) for tag in ("PatientID", "IssuerOfPatientID")]
    values = [b"" if part is None or part.value is None else bytes(part.value).strip(b" \0") for part in parts]
    if not values[0]:
        return None
    if names_nobody(values[0].decode("latin-1")):
        return NOBODY
    return b"".join(hashlib.blake2b(value, key=secret, digest_size=PERSON_BYTES).digest() for value in values if value)


def names_nobody(patient: str) -> bool:
    """Return whether a patient id is a word for none, such as an anonymiser writes into every file."""
    word = "".join(char for char in patient.casefold() if char.isalnum())
    return word in _NOBODY or not word.strip("x")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _damaged(name: str) -> ImageError:
    # Without pydicom's reason, which can quote the header.
    return ImageError(f"{name}: is a damaged DICOM file and cannot be decoded; replace the file.")
