"""Answer for image files, with the CPU reference and nothing but a deploy folder."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from contract.errors import ArtifactError, ImageError
from contract.manifest import DISCLAIMER, load_manifest
from contract.npz import load_npz
from contract.preprocess import load_pixels
from cxrflow.runs import hash_file
from driver.reference import Reference


def infer_files(folder: Path, files: list[Path]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return one result per readable image, and a message per unreadable one.

    Raises:
        ArtifactError: the folder is not a whole deploy folder.
    """
    manifest = load_manifest(folder / "accelerator.json")
    for name, digest in manifest.sha256.items():
        path = folder / Path(name).name
        if not path.is_file() or hash_file(path) != digest:
            raise ArtifactError(
                f"{path} is missing or is not the file that accelerator.json names. Package the run again."
            )
    reference = Reference.load(folder / "reference.npz")
    if (reference.network.height, reference.network.width) != (manifest.height, manifest.width):
        raise ArtifactError(f"{folder}: manifest and reference disagree on the image size. Package the run again.")
    decision = manifest.decision
    results, failures = [], {}
    for file in files:
        try:
            pixels = load_pixels(file, height=manifest.height, width=manifest.width)
        except ImageError as err:
            failures[str(file)] = str(err)
            continue
        logit = int(reference(pixels[None])[0])
        real = decision.scale * logit + decision.offset
        results.append(
            {
                "file": str(file),
                "logit": logit,
                "probability": 1 / (1 + math.exp(-real)) if real > -700 else 0.0,
                "class": manifest.class_names[int(logit > decision.threshold)],
            }
        )
    return results, failures


def results_table(results: list[dict[str, Any]]) -> Table:
    """One row per image."""
    table = Table(caption=DISCLAIMER, caption_justify="left")
    for name in ("file", "logit", "probability", "class"):
        table.add_column(name, justify="right" if name in ("logit", "probability") else "left", overflow="fold")
    for row in results:
        table.add_row(row["file"], str(row["logit"]), f"{row['probability']:.4f}", row["class"])
    return table


def check_golden(folder: Path) -> dict[str, int]:
    """Run the golden images of a deploy folder through the CPU reference; count differing logits."""
    golden = load_npz(folder / "golden.npz")
    got = Reference.load(folder / "reference.npz")(golden["pixels"])  # type: ignore[arg-type]
    return {"images": len(got), "differing": int(np.count_nonzero(got != golden["logits"]))}
