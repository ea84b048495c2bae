"""Two seconds of mutated images; `python -m tests.fuzz_images 10000` reads ten thousand."""

import contextlib
from pathlib import Path

from contract.errors import ImageError
from tests.fuzz_images import IMAGES, read, whole_files
from tests.fuzzing import run


def test_each_is_an_image_or_one_sentence(tmp_path: Path) -> None:
    seen = set()
    for content in whole_files():  # and so they are in the memory of whoever reads the mutated ones
        with contextlib.suppress(ImageError):
            seen.add(read(content))
    assert seen >= {"JPEG", "PNG", "BMP", "TIFF", "DICOM"}
    outcome = run(IMAGES, 500, found=tmp_path)
    assert not outcome.findings
    assert min(outcome.accepted, outcome.refused) > 50 and outcome.done() == 500
