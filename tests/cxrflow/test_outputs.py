"""No output that somebody asks for by its name replaces what the command reads.

The kind: an option that names a place to write to, and an input of the same command at that place, by its own name, by
a link or by a hard link, or in a folder that is read as a whole. Each is one sentence before any work is done, and
everything read stays as it is. The command's own earlier output is no input: a second run replaces it.
"""

import pytest

from driver.__main__ import main as drive
from tests.cxrflow.conftest import Place
from tests.cxrflow.test_cli import tree

DEPLOY = "runs/tiny/deploy/pynq-z2"
IMAGE = "xrays/test/NORMAL/IM-test0000-0001.png"
TABLE = "path,label\n" + "".join(
    f"xrays/train/{name},{name.partition('/')[0]}\n"
    for i in range(8)
    for name in (f"NORMAL/IM-train{i:04d}-0001.png", f"PNEUMONIA/persontrain{i}_bacteria_{i}.png")
)


@pytest.fixture
def full(finished: Place) -> Place:
    """A place with other names of an image, and a table of images."""
    finished.experiment()  # of these X-rays, not of those that they are a copy of
    (finished.folder / "table.csv").write_text(TABLE)
    (finished.folder / "link.png").symlink_to(IMAGE)
    (finished.folder / "hard.png").hardlink_to(finished.folder / IMAGE)
    (finished.folder / "plain").mkdir()
    (finished.folder / "plain" / "golden").write_bytes((finished.folder / IMAGE).read_bytes())
    (finished.folder / "plain" / "golden.png").write_bytes((finished.folder / IMAGE).read_bytes())
    return finished


TABLES = (
    f"{IMAGE} --csv {IMAGE}",
    f"xrays/test/NORMAL --csv {IMAGE}",
    f"{IMAGE} --csv link.png",
    f"link.png --csv {IMAGE}",
    f"{IMAGE} --csv hard.png",
    f"{IMAGE} --csv {DEPLOY}/accelerator.json",
    f"{IMAGE} --csv {DEPLOY}/golden.npz",
    f"{IMAGE} --csv {DEPLOY}/driver/accelerator.py",
    "xrays/test/NORMAL --csv xrays/test/NORMAL/answers.csv",
)
MAPS = (
    "plain/golden plain/golden.png --out plain",
    "plain --out plain",
    f"plain/golden --out {DEPLOY}",
)


@pytest.mark.parametrize(
    "command",
    [
        *(f"infer {DEPLOY} --device cpu {words}" for words in TABLES),
        *(f"explain {DEPLOY} --device cpu {words}" for words in MAPS),
        "data check --data xrays --figure xrays/train/NORMAL/IM-train0000-0001.png",
        "data check --data xrays --figure xrays/new.png",
        "data check --data xrays --runs xrays",
        "data check --data xrays --runs xrays/train/runs",
        "data check --data .",
        "train tiny.yaml --data xrays --runs xrays/runs",
        "train tiny.yaml --data . --runs runs",
        "export tiny.yaml --data xrays --runs xrays/test/new",
        "data check --data table.csv --figure table.csv",
        "data check --data table.csv --figure xrays/train/NORMAL/IM-train0000-0001.png",
        "data check tiny.yaml --figure tiny.yaml",
        "compare tiny tiny --out runs/tiny/train/metrics.json",
        "compare tiny tiny --out runs/tiny/experiment.yaml",
        f"compare tiny tiny --out {DEPLOY}/new.html",
        "simulate tiny.yaml --wave tiny.yaml",
        "simulate tiny.yaml --wave runs/tiny/build/wave.fst",
        f"run tiny.yaml --wave {IMAGE}",
        "run tiny.yaml --data table.csv --wave xrays/train/NORMAL/IM-train0000-0001.png",
    ],
)
def test_an_output_that_is_an_input_is_one_sentence(full: Place, command: str) -> None:
    before = tree(full.folder)
    outcome = full(*command.split())
    outcome.assert_refused("which this command reads", "Choose another with --")
    assert outcome.out == "" and tree(full.folder) == before


@pytest.mark.parametrize("command", [*(f"infer {words}" for words in TABLES), *(f"explain {words}" for words in MAPS)])
def test_the_driver_has_the_same_rule(full: Place, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(full.folder)
    before = tree(full.folder)
    assert drive([*command.split(), "--folder", DEPLOY, "--device", "cpu"]) == 2
    assert tree(full.folder) == before


@pytest.mark.parametrize(
    "command",
    [
        f"infer {DEPLOY} --device cpu {IMAGE} --csv answers.csv",
        f"infer {DEPLOY} --device cpu {IMAGE} --csv {DEPLOY}/answers.txt",
        f"explain {DEPLOY} --device cpu {IMAGE} --out {DEPLOY}/explained",
        "data check tiny.yaml --figure figure.png",
        "compare tiny tiny --out runs/tiny/compare.html",
        "compare tiny tiny --out runs/compare.html",
        "report tiny",
    ],
)
def test_a_second_run_replaces_the_output_of_the_first(full: Place, command: str) -> None:
    for _ in range(2):
        outcome = full(*command.split())
        assert outcome.code == 0, outcome.err
