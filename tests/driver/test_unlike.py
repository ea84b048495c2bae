"""What is unlike the training images is answered and said to be so: by the driver, its command line and its table.

The kind of fault: a remark beside the wrong image where some files cannot be used, in another batch, or on no device.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.decision import Head
from contract.errors import ArtifactError
from contract.likeness import FILE
from driver.__main__ import main
from driver.accelerator import Accelerator
from driver.explain import explain
from tests.deploy_folder import write_classes, write_deploy, write_likeness

RNG = np.random.default_rng(3)
PLAIN = RNG.integers(90, 110, (20, 28, 28), dtype=np.uint8)
STRANGE = RNG.integers(0, 256, (20, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["one logit", "classes", "imported"])
def test_each_answer_says_so_of_its_image(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder, names = tmp_path / "deploy", ["a", "b", "c"]
    if kind == "one logit":
        write_deploy(folder)
    else:
        changes: dict[str, Any] = {"head": Head()} if kind == "imported" else {}
        write_classes(folder, names, **changes)
    with Accelerator(folder, "cpu") as accelerator:
        plain = accelerator.infer(PLAIN)
        assert plain.unlikeness is None and explain(accelerator, PLAIN[0]).unlikeness is None
    likeness = write_likeness(folder, PLAIN)
    images = np.concatenate([PLAIN[:3], STRANGE[:2], PLAIN[3:4]])
    with Accelerator(folder, "cpu", capacity=4) as accelerator:
        answers = accelerator.infer(images)
        assert accelerator.infer(PLAIN).outputs.tolist() == plain.outputs.tolist()
        assert answers.unlikeness is not None and answers.unlikeness.tolist() == likeness.unlikeness(images).tolist()
        assert (answers.unlikeness > 1).tolist() == [False, False, False, True, True, False]
        assert explain(accelerator, STRANGE[0]).unlikeness == answers.unlikeness[3]
    paths = []
    for i, image in enumerate(images):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(image).save(paths[-1])
    (tmp_path / "1.png").write_text("no image")
    given = ["infer", "--folder", str(folder), "--device", "cpu", *paths, "--csv", str(tmp_path / "o.csv")]
    assert main(given) == 1
    said = [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()]
    times = f"{answers.unlikeness[3]:.3g}"
    assert said[2] == f"unlike the training images ({times} times the limit): the answer may mean nothing"
    assert ["unlike" in line for line in said] == [False, False, True, True, *[False] * (len(said) - 4)]
    with (tmp_path / "o.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["unlike"] for row in rows] == ["0", "0", "1", "1", "0"]
    assert [float(row["unlikeness"]) for row in rows] == np.delete(answers.unlikeness, 1).tolist()


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    write_deploy(tmp_path)
    write_likeness(tmp_path, PLAIN[:, :14])
    with pytest.raises(ArtifactError, match="does not say what images of 28 x 28 look like"):
        Accelerator(tmp_path, "cpu")
    write_likeness(tmp_path, PLAIN)
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"likeness\.npz has sha256"):
        Accelerator(tmp_path, "cpu")
