"""Nobody measures on images that a network was trained on without being told, however the images come back.

The kind of fault: the whole source was compared, so that one image more, one less, another name, folder or format made
training images look like new ones.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.files import hash_file
from datasets.phantom import make_phantoms
from datasets.seen import count_seen, save_seen
from datasets.source import load_xrays
from tests.cxrflow.conftest import Outcome, Place, draw_xrays


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("trained"))
    draw_xrays(place.folder / "xrays")
    place.experiment(data={"source": str(place.folder / "xrays")}, train={"epochs": 1})
    assert place("train", "tiny.yaml").code == 0
    return place


def used(place: Place) -> dict[str, list[str]]:
    """Return the names of the images that were trained on and chosen by."""
    options: dict[str, Any] = {"height": 8, "width": 8, "val_fraction": 0.125, "seed": 0, "strict": False}
    data = load_xrays(place.folder / "xrays", cache=None, **options)
    return {"train": list(data.train.names), "val": list(data.val.names)}


def images(place: Place, name: str, *, old: list[str], new: int, save_as: str = "png") -> Path:
    """Make a folder of two classes from images of the run's own and `new` others."""
    root = place.folder / name
    draw_xrays(root / "drawn", train=20, test=0)
    for k, class_name in enumerate(("NORMAL", "PNEUMONIA")):
        (root / class_name).mkdir()
        for i, path in enumerate(sorted((root / f"drawn/train/{class_name}").iterdir())):
            if 2 * i + k < new:
                pixels = 255 - np.asarray(Image.open(path))  # not those of the run
                Image.fromarray(pixels).save(root / class_name / f"new{i}.png")
    shutil.rmtree(root / "drawn")
    for i, name in enumerate(old):
        with Image.open(place.folder / "xrays" / name) as image:
            image.save(root / name.split("/")[1] / f"renamed{i}.{save_as}")
    return root


def seen(place: Place, outcome: Outcome) -> dict[str, int] | None:
    assert outcome.code == 0, outcome.err
    folder = place.folder / outcome.out.strip().splitlines()[-1]
    content: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    found: dict[str, int] | None = content["seen"]
    return found


def test_all_training_images_but_one(trained: Place) -> None:
    names = used(trained)["train"]
    source = images(trained, "but-one", old=names[1:], new=0)
    words = f"folder but-one: {len(names) - 1} of {len(names) - 1} images were used in the training", "trained on, 0 to"
    for options in ((), ("--shifts",)):
        outcome = trained("evaluate", "tiny", "--data", source, "--all", *options)
        outcome.assert_refused(*words, "would measure on training images. Give other X-rays.")
    outcome = trained("evaluate", "tiny", "--data", source)  # the test images, drawn from it
    outcome.assert_refused("of 8 images were used in the training (8 trained on, 0 to choose by)")
    own = trained("evaluate", "tiny", "--all")
    own.assert_refused("48 of 64 images were used in the training", "Leave --all out to take its test images.")
    assert seen(trained, trained("evaluate", "tiny")) == {"train": 0, "val": 0, "images": 16}


@pytest.mark.parametrize("kind", ["png", "bmp", "zip"])
def test_some_images_among_others(trained: Place, kind: str) -> None:
    names = used(trained)
    old = [*names["train"][:9], *names["val"][:3]]
    source = images(trained, f"some-{kind}", old=old, new=28, save_as="bmp" if kind == "bmp" else "png")
    if kind == "zip":
        source = Path(shutil.make_archive(str(source), "zip", source))
    outcome = trained("evaluate", "tiny", "--data", source, "--all")
    assert seen(trained, outcome) == {"train": 9, "val": 3, "images": 40}
    assert "warning: 12 of 40 images were used in the training (9 trained on, 3 to choose by)" in outcome.err
    assert f"40 images of {'zip' if kind == 'zip' else 'folder'} some-{kind}" in outcome.out
    assert ", of which the training has used 12. Research use only" in outcome.out


def test_without_all_the_test_images_are_counted(trained: Place) -> None:
    root = trained.folder / "leak"
    shutil.copytree(trained.folder / "xrays", root)
    shutil.copy(root / used(trained)["train"][0], root / "test" / used(trained)["train"][0].split("/")[1] / "x.png")
    outcome = trained("evaluate", "tiny", "--data", root, "--shifts")
    assert seen(trained, outcome) == {"train": 1, "val": 0, "images": 17}
    assert "warning: 1 of 17 images were used in the training" in outcome.err


def test_other_images_say_nothing(trained: Place) -> None:
    outcome = trained("evaluate", "tiny", "--data", images(trained, "others", old=[], new=40), "--all")
    assert seen(trained, outcome) == {"train": 0, "val": 0, "images": 40} and "used in the training" not in outcome.err


def test_a_run_of_an_earlier_version(trained: Place) -> None:
    shutil.copytree(trained.folder / "runs/tiny", trained.folder / "runs/old")
    stage = trained.folder / "runs/old/train"
    (stage / "images.npz").unlink()
    stamp = json.loads((stage / "stage.json").read_text())
    del stamp["files"]["images.npz"]
    (stage / "stage.json").write_text(json.dumps(stamp))
    trained("evaluate", "old", "--all").assert_refused("is what old was trained on", "Leave --all out")
    outcome = trained("evaluate", "old", "--data", images(trained, "new", old=[], new=40), "--all")
    assert seen(trained, outcome) is None and "nothing says which images old was trained on" in outcome.err

    np.savez(stage / "images.npz", train=np.zeros(3))
    stamp["files"]["images.npz"] = hash_file(stage / "images.npz")
    (stage / "stage.json").write_text(json.dumps(stamp))
    trained("evaluate", "old").assert_refused("images.npz holds other arrays than hashes", "Run `cxrflow train` again.")


def test_counts_equal_a_comparison_of_all_pairs(tmp_path: Path) -> None:
    data = make_phantoms(height=8, width=8, n_train_patients=30, n_test_patients=10, val_fraction=0.2, seed=3)
    save_seen(tmp_path / "images.npz", data)
    pixels = np.concatenate([data.train.pixels[::3], data.val.pixels[:2], data.test.pixels, data.train.pixels[:1]])
    found = count_seen(tmp_path / "images.npz", pixels)
    same = [[bool((a == b).all()) for b in data.train.pixels] for a in pixels]
    in_train = [any(row) for row in same]
    in_val = [any((a == b).all() for b in data.val.pixels) for a in pixels]
    assert found is not None and found.train == sum(in_train) and found.images == len(pixels)
    assert found.val == sum(val and not train for val, train in zip(in_val, in_train, strict=True))
