"""A deploy folder of several integers per image: what C programs, the notebook and the page make of it."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.decision import Choice, Head, OneAgainstRest
from contract.errors import ConfigError
from contract.manifest import load_manifest, save_manifest
from contract.network import Input
from cxrflow.c_header import c_header
from cxrflow.package import copy_code
from cxrflow.serve.devices import Fleet
from driver.__main__ import main
from tests.deploy_folder import write_classes, write_integers
from tests.integer_networks import random_pixels
from tests.notebooks import execute


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


def test_the_c_header_names_the_class(tmp_path: Path) -> None:
    """Bytes of an image's results in, its class out: the driver's, ties and hostile names included."""
    names = ["NORMAL", 'a"; } /* ??/', "*/ \\n %s #define x", "na\u00efve \u80ba"]
    write_classes(tmp_path / "deploy", names)
    path = tmp_path / "deploy" / "accelerator.json"
    manifest, top = load_manifest(path), 2**31 - 1
    points = {"default": OneAgainstRest(0, 5)} | {
        name: OneAgainstRest(label, margin)
        for name, label, margin in (
            ('first"; */', 0, -(2**61)), ("last", 3, 2**59), ("edge", 1, 2**62 - 1), ("low", 2, 1 - 2**62), ("0", 2, 0),
        )
    }  # fmt: skip
    decision = Choice([1, 2**30 - 1, 2**30 - 1, 1], [0, 0, 0, 2**60 - 1], -200, "a test", points)
    save_manifest(path, replace(manifest, decision=decision))
    (tmp_path / "accel.h").write_text(c_header(load_manifest(path)), encoding="utf-8")
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "accel.h"\n'
        "int main(void) { uint8_t r[CXRFLOW_OUT_BYTES]; int32_t y[CXRFLOW_CLASSES];"
        " while (fread(r, 1, sizeof r, stdin) == sizeof r) {"
        " for (unsigned k = 0; k < CXRFLOW_OUTPUTS; k++) y[k] = cxrflow_output(r + k * CXRFLOW_OUTPUT_BYTES);"
        ' printf("%u %s", cxrflow_class(y), cxrflow_class_name(cxrflow_class(y)));'
        " for (unsigned p = 0; p < CXRFLOW_POINTS; p++)"
        ' printf(" %s %u", cxrflow_point_name(p), cxrflow_class_at(p, y));'
        ' puts(""); } return 0; }\n'
    )
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic", "-fsanitize=undefined"]
    subprocess.run(["gcc", *flags, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    ends = [-top - 1, -1, 0, 2**30, 2**30 + 1, top]
    outputs = np.array([[a, b, c, d] for a in ends[::5] for b in ends for c in ends for d in ends], dtype=np.int64)
    said = subprocess.run([tmp_path / "main"], input=outputs.astype("<i4").tobytes(), capture_output=True, check=True)
    want = decision.classes(outputs).tolist()
    assert set(want) == {1, 2, 3} and not said.stderr
    others = {name: decision.classes(outputs, name).tolist() for name in list(points)[1:]}  # the first is no name
    assert len({tuple(classes) for classes in (want, *others.values())}) > 4
    lines = ["".join(f" {name} {classes[n]}" for name, classes in others.items()) for n in range(len(want))]
    assert said.stdout.decode().splitlines() == [f"{k} {names[k]}{line}" for k, line in zip(want, lines, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("head", [None, Head(end="softmax")], ids=["trained", "imported"])
def test_the_notebook_shows_the_answers(tmp_path: Path, head: Head | None) -> None:
    folder = tmp_path / "deploy"
    changes: dict[str, Any] = {} if head is None else {"head": head}
    network = write_classes(folder, ["a", "b", "c"], **changes)
    copy_code(folder)
    text, pictures = execute(folder / "board.ipynb", folder, device="cpu")
    first = " ".join(map(str, network.outputs(random_pixels(30, height=28, width=28))[-1][0].tolist()))
    assert pictures == 1 and f"outputs {first}" in text
    assert ("probabilities 0." if head is None else "results ") in text


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
    assert "this network gives 3 integers per image, expected one logit. Use the integers" in out.err
