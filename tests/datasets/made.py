"""Small sources of X-rays, made here, and how the tests load them."""

import csv
import io
import warnings
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from contract.errors import DataError
from datasets.labels import LabelRules
from datasets.source import load_xrays
from datasets.xray import XrayData

SIZE = 8
RULES = {field.name for field in fields(LabelRules)}


def load(path: Path, **changes: Any) -> XrayData:
    """Load with some options of `load_xrays` and some fields of `LabelRules`."""
    options = {"height": SIZE, "width": SIZE, "val_fraction": 0.25, "seed": 0, "strict": False, "cache": None}
    rules = LabelRules(**{key: changes.pop(key) for key in list(changes) if key in RULES})
    return load_xrays(path, rules=rules, **{**options, **changes})


def refused(path: Path, *words: str, where: Path | None = None, **options: Any) -> None:
    """One sentence that names the source, or the file at fault, what was found, what was expected and what to do."""
    with pytest.raises(DataError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert message.startswith(str(where or path)) and message.endswith((".", "?")) and "\n" not in message, message
    for word in words:
        assert word in message, (word, message)


def image(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (12, 16), dtype=np.uint8)


def png(seed: int, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image(seed)).save(stream, kind)
    return stream.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, files: dict[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def everything(data: XrayData) -> dict[str, tuple[str, int]]:
    """Return (split, label) by name."""
    splits = {"train": data.train, "val": data.val, "test": data.test}
    return {
        name: (where, label)
        for where, split in splits.items()
        for name, label in zip(split.names, split.labels.tolist(), strict=True)
    }


def medmnist(tmp_path: Path, size: int = SIZE, name: str = "pneumoniamnist.npz", **changes: Any) -> Path:
    rng = np.random.default_rng(size)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 20), ("val", 6), ("test", 8)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    arrays |= changes
    path = tmp_path / name
    np.savez_compressed(path, **{key: value for key, value in arrays.items() if value is not None})  # type: ignore[arg-type]
    return path


def table(path: Path, rows: list[tuple[Any, ...]], heading: str = "path,label,patient,split") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        columns = heading.split(",")
        writer.writerow(columns)
        writer.writerows(row[: len(columns)] for row in rows)
    return path
