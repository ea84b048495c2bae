"""Find out which images belong together, so that no patient is on both sides of a split.

A network that has seen one X-ray of a patient recognises the next one; and the public release holds some contents
twice under different names. Both would make validation look better than it is.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_PERSON = re.compile(r"person(\d+)_(?:bacteria|virus)_\d", re.IGNORECASE)
_NORMAL = re.compile(r"(?:NORMAL2-)?(IM)-(\d+)-\d", re.IGNORECASE)


def patient_key(name: str) -> str:
    """Return what two images of one patient have in common, from a file name with or without its folders.

    personNNNN_(bacteria|virus)_M -> "person N"; IM-XXXX-YYYY and NORMAL2-IM-XXXX-YYYY -> "IM X"; anything else is
    a patient of its own: the name without its suffix, folders included.
    """
    path = PurePosixPath(name)
    if match := _PERSON.match(path.name):
        return f"person {int(match[1])}"
    if match := _NORMAL.match(path.name):
        return f"IM {int(match[2])}"
    return str(path.with_suffix(""))


def names_a_patient(name: str) -> bool:
    """Return whether `patient_key` finds more in a name than the name itself."""
    return patient_key(name) != str(PurePosixPath(name).with_suffix(""))


def group_images(
    patients: Sequence[str], names: Sequence[str], contents: Sequence[str], pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], tuple[tuple[str, ...], ...]]:
    """Number the groups of images that must stay on one side of a split.

    Args:
        patients: (N,) equal for images of one patient.
        names: (N,) file names.
        contents: (N,) sha256 of the file bytes.
        pixels: (N, H, W) decoded images.

    Returns:
        (N,) group numbers from 0: equal for one patient, for identical files, for identical pixels, and for whatever
        these connect; and the names of the images with identical files or pixels, in groups of two or more.
    """
    same_image = _components([list(contents), [image.tobytes() for image in pixels]])
    same_group = _components([list(patients), same_image.tolist()])
    copies: dict[int, list[str]] = {}
    for name, image in zip(names, same_image.tolist(), strict=True):
        copies.setdefault(image, []).append(name)
    return same_group, tuple(tuple(group) for group in copies.values() if len(group) > 1)


def _components(keyings: Sequence[Sequence[object]]) -> NDArray[np.int64]:
    """Connect items that share a key in any keying, each (N,); return (N,) component numbers."""
    n = len(keyings[0])
    edges = []
    for keys in keyings:
        first: dict[object, int] = {}
        edges += [(first.setdefault(key, i), i) for i, key in enumerate(keys)]
    rows, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)  # type: ignore[no-any-return]
