"""DICOM files for tests, made here: one gray image, and a patient that nobody may ever see."""

import io
import warnings
from typing import Any

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
