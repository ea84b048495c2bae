"""DICOM files for tests, made here: one gray image, and a patient that nobody may ever see."""

import io
import struct
import warnings
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
NAME = "Doe^Jane"


def make(pixels: NDArray[Any], *, bits: int, syntax: str = EXPLICIT, **tags: Any) -> Dataset:
    """Return a gray image of (h, w) stored values with a patient that nobody may ever see."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID("1.2.3.4")
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = NAME, "SECRET-1", "19700101"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 * pixels.itemsize, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    raw = pixels.astype(pixels.dtype.newbyteorder(">")) if syntax == BIG else pixels
    ds.PixelData = raw.tobytes() + b"\0" * (raw.nbytes % 2)
    ds["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for tag, value in tags.items():
        setattr(ds, tag, value)
    return ds


def encapsulated(ds: Dataset, syntax: str, frame: bytes) -> Dataset:
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def content(ds: Dataset) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        syntax = ds.file_meta.TransferSyntaxUID
        pydicom.dcmwrite(
            stream, ds, enforce_file_format=True, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG
        )
    return stream.getvalue()


def run_lengths(words: NDArray[Any]) -> bytes:
    """Return an RLE frame of (h, w) words of 16 bits: segments of high and of low bytes (PS3.5, annex G)."""
    flat = words.astype(">u2").view(np.uint8).reshape(-1, 2)
    high, low = (bytes(imagecodecs.packbits_encode(flat[:, i].tobytes())) for i in (0, 1))
    return struct.pack("<16I", 2, 64, 64 + len(high), *[0] * 13) + high + low


LOSSLESS_CODERS: dict[str, Callable[[NDArray[Any], int], Any]] = {
    f"{IMPLICIT}.4.57": lambda v, bits: imagecodecs.jpeg_encode(v, lossless=True, bitspersample=bits, predictor=4),
    f"{IMPLICIT}.4.70": lambda v, bits: imagecodecs.jpeg_encode(v, lossless=True, bitspersample=bits, predictor=1),
    f"{IMPLICIT}.4.80": lambda v, bits: imagecodecs.jpegls_encode(v),  # of 16 bits, always
    f"{IMPLICIT}.4.90": lambda v, bits: imagecodecs.jpeg2k_encode(v, codecformat="J2K", bitspersample=bits),
    f"{IMPLICIT}.5": lambda v, bits: run_lengths(v),
}
