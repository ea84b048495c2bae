"""A deploy folder of several integers per image: what C programs read of it, and who refuses it in a sentence."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.errors import ConfigError
from contract.manifest import load_manifest
from contract.network import Input
from cxrflow.c_header import c_header
from cxrflow.serve.devices import Fleet
from driver.__main__ import main
from tests.deploy_folder import write_integers


def test_the_c_header_reads_each_integer(tmp_path: Path) -> None:
    write_integers(tmp_path / "deploy", Input(4, 8, 3, "bipolar"), 32, outputs=3, result_bits=24)
    header = c_header(load_manifest(tmp_path / "deploy" / "accelerator.json"))
    assert "4u /* pixels, row-major, their channels side by side, each bipolar (-1 or +1): 32 to a beat" in header
    (tmp_path / "accel.h").write_text(header)
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "accel.h"\n'
        "int main(void) { uint8_t r[CXRFLOW_OUT_BYTES]; fread(r, 1, sizeof r, stdin);"
        " for (unsigned k = 0; k < CXRFLOW_OUTPUTS; k++)"
        ' printf("%ld ", (long)cxrflow_output(r + k * CXRFLOW_OUTPUT_BYTES));'
        ' printf("%u %u\\n", CXRFLOW_CHANNELS, CXRFLOW_IN_BYTES); return 0; }\n'
    )
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wno-unused-result", "-pedantic"]
    subprocess.run(["gcc", *flags, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    values = [-1, 2**23 - 1, -(2**23)]
    raw = b"".join(value.to_bytes(3, "little", signed=True) for value in values)
    printed = subprocess.run([tmp_path / "main"], input=raw, capture_output=True, check=True).stdout
    assert [int(word) for word in printed.split()] == [*values, 3, 12]


def test_classes_of_several_integers_are_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, image = tmp_path / "deploy", tmp_path / "a.png"
    write_integers(folder, Input(8, 8), 4, outputs=3, result_bits=32)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(image)
    with pytest.raises(ConfigError, match="gives 3 integers per image and no decision: the page shows classes"):
        Fleet([folder], [])
    assert main(["verify", "--folder", str(folder), "--device", "cpu"]) == 0
    assert main(["infer", "--folder", str(folder), "--device", "cpu", str(image)]) != 0
    out = capsys.readouterr()
    assert "cpu: all 20 golden logits are equal" in out.out
    assert "this network gives 3 integers per image, and a class and a probability are made of one logit" in out.err
