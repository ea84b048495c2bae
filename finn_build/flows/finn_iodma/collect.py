"""What the container leaves: taken over whole, and only if every file has the hash that was written down inside."""

import json
from pathlib import Path
from typing import Any

from contract.errors import ArtifactError, ToolError
from contract.files import hash_file, read_json
from finn_build.flows.finn_iodma import AGAIN


def take_results(result: Path, out: Path, image: str) -> dict[str, Any]:
    """Check every file against the hashes written inside, add the image's id, and give the folder the name `out`.

    Raises:
        ToolError: a file is not what the container wrote, or no verification was passed.
    """
    path = result / "bitstream.json"
    try:
        content: dict[str, Any] = read_json(path, advice=f"No bitstream was taken over; {AGAIN}.")
        hashes, points = dict(content["sha256"]), list(content["verification"])
    except (ArtifactError, ValueError, KeyError, TypeError) as err:
        raise ToolError(
            f"the container reports success but left no whole {path} ({err}). No bitstream was taken over; {AGAIN}."
        ) from err
    for name in ("accelerator.bit", "accelerator.hwh", *hashes):
        file = result / name
        if not file.is_file() or hash_file(file) != hashes.get(name):
            state = "is not what the container wrote" if file.is_file() else "is missing"
            raise ToolError(
                f"{file} {state}, though the container reports success. No bitstream was taken over; {AGAIN}."
            )
    if not points or any(point.get("differing") != 0 or not point.get("images") for point in points):
        raise ToolError(f"{path} shows no passed verification. No bitstream was taken over; run `make docker-build`.")
    content["image"] = image
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if out.exists():
        out.rmdir()  # empty, or it is an error
    result.rename(out)
    return content
