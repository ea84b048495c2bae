"""Answer for image files, with the CPU reference and nothing but a deploy folder."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from contract.errors import ArtifactError, ImageError
from contract.manifest import Decision, Manifest, load_manifest
from contract.npz import load_npz
from contract.preprocess import PREPROCESS_VERSION, load_pixels
from cxrflow.runs import hash_file
from driver.reference import Reference


def infer_files(folder: Path, files: list[Path]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return one result per readable image, and a message per unreadable one.

    Raises:
        ArtifactError: the folder is not a whole deploy folder.
    """
    manifest, reference = load_deployed(folder)
    results, failures = [], {}
    for file in files:
        try:
            pixels = load_pixels(file, height=manifest.height, width=manifest.width)
        except ImageError as err:
            failures[str(file)] = str(err)
            continue
        logit = int(reference(pixels[None])[0])
        results.append(
            {
                "file": str(file),
                "logit": logit,
                "probability": probability(logit, manifest.decision),
                "class": manifest.class_names[int(logit > manifest.decision.threshold)],
            }
        )
    return results, failures


def load_deployed(folder: Path) -> tuple[Manifest, Reference]:
    """Read a deploy folder's manifest and reference, checking that they belong together. Raises ArtifactError."""
    manifest = load_manifest(folder / "accelerator.json")
    for name in sorted({"reference.npz", *manifest.sha256}):
        path = folder / Path(name).name
        if not path.is_file() or hash_file(path) != manifest.sha256.get(name):
            raise ArtifactError(
                f"{path} is missing or is not the file that accelerator.json names. Package the run again."
            )
    if manifest.preprocessing.get("version") != PREPROCESS_VERSION:
        raise ArtifactError(
            f"{folder} was made with preprocessing version {manifest.preprocessing.get('version')!r}, expected "
            f"{PREPROCESS_VERSION}. Package the run again with this version of cxrflow."
        )
    reference = Reference.load(folder / "reference.npz")
    if (reference.network.height, reference.network.width) != (manifest.height, manifest.width):
        raise ArtifactError(f"{folder}: manifest and reference disagree on the image size. Package the run again.")
    return manifest, reference


def probability(logit: int, decision: Decision) -> float:
    """Return the sigmoid of the real logit."""
    real = decision.scale * logit + decision.offset
    return 1 / (1 + math.exp(-real)) if real > -700 else 0.0


def check_golden(folder: Path) -> dict[str, int]:
    """Run the golden images of a deploy folder through the CPU reference; count differing logits."""
    golden = load_npz(folder / "golden.npz")
    got = Reference.load(folder / "reference.npz")(golden["pixels"])  # type: ignore[arg-type]
    return {"images": len(got), "differing": int(np.count_nonzero(got != golden["logits"]))}
