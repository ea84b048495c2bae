"""Every file of a run, damaged in every way that a disk, an editor or somebody who means harm could.

The kind of fault: a reader believes a file's shape, and a stranger's run folder is a traceback. Whoever reads says one
sentence with the file's name, ends with that error's code, and shows the other runs.
"""

import io
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import ArtifactError, CxrflowError
from contract.files import hash_file
from contract.golden import load_golden, load_labelled
from tests.cxrflow.conftest import REPOSITORY, Place
from tests.cxrflow.test_sources import BUILD, forged

__all__ = ["forged"]  # a fixture
RECORDS = (
    "experiment.yaml", "train/stage.json", "train/metrics.json", "train/history.csv", "export/export.json",
    "export/golden.npz", "export/reference.npz", f"{BUILD}/stage.json", f"{BUILD}/build.json",
    f"{BUILD}/estimates.json", f"{BUILD}/folding.json", f"{BUILD}/rtl/design.json", "sim/pynq-z2/sim.json",
    "synth/pynq-z2/synth.json", "synth_vivado/pynq-z2/synth.json", "deploy/pynq-z2/accelerator.json",
    "deploy/pynq-z2/golden.npz",
)  # fmt: skip
STAGES = ("train", "export", BUILD, "sim/pynq-z2", "synth/pynq-z2", "synth_vivado/pynq-z2", "deploy/pynq-z2")
TEXTS = ("", "null", "[]", "7", '"x"', "{", "{}", '{"a": 1}', "[" * 100_000, "\udcff", "x" * 5_000_000)
NASTY: tuple[Any, ...] = (None, "5", -1, 0.5, 10**400, True, float("nan"), float("inf"), [], {}, [[1]], "x" * 400)


def write(path: Path, content: str | bytes) -> None:
    if path.is_symlink() or path.exists():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))


def no_file(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


THINGS: tuple[Callable[[Path], None], ...] = (no_file, folder, pipe, dangling, endless)


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    """A .npy file that says it holds more than there is."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def npz(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def bad_arrays(path: Path) -> Iterator[bytes]:
    """Yield .npz files in which one array is not what it was."""
    whole = {name: array for name, array in np.load(path).items()}
    yield b""
    yield path.read_bytes()[:-30]
    yield npz(**{name: npy(array) for name, array in list(whole.items())[1:]})
    for name, array in whole.items():
        others = {other: npy(kept) for other, kept in whole.items() if other != name}
        numbers = np.zeros(array.shape, np.int64) if array.dtype.kind == "U" else array
        for wrong in (
            np.atleast_1d(array)[:0], array[None], np.float32(3), np.array(["x"]), np.full(array.shape, np.nan),
            numbers.astype("M8[s]"), np.zeros((3, 3, 3), "V4"), numbers.astype(">i8"), np.arange(7),
            np.iinfo(np.int64).min + np.arange(16),
        ):  # fmt: skip
            yield npz(**others, **{name: npy(wrong)})
        for said in (
            header((10**12,)),
            header((10**30,)),
            header((2**62, 4), "<i8"),
            header((-1,)),
            b"",
            header((1,), "|O"),
        ):
            yield npz(**others, **{name: said})


def restamp(run: Path, name: str) -> None:
    """Let every stage say that the file is the one that it wrote or read, as somebody who means harm would."""
    for stage in STAGES:
        path = run / stage / "stage.json"
        if name == f"{stage}/stage.json" or not path.is_file():
            continue
        stamp = json.loads(path.read_text(encoding="utf-8"))
        for files, file in ((stamp["files"], name.removeprefix(f"{stage}/")), (stamp["inputs"].get("reads", {}), name)):
            if file in files and (run / name).is_file() and not (run / name).is_symlink():
                files[file] = hash_file(run / name)
        path.write_text(json.dumps(stamp), encoding="utf-8")


@pytest.fixture
def two(forged: Place) -> Place:
    """A run to be damaged and another one."""
    shutil.copytree(forged.run, forged.folder / "runs" / "other")
    return forged


def assert_told(place: Place, *command: str | Path) -> int:
    """The command shows what it can, says one sentence about the rest, and ends with that error's code: this one."""
    outcome = place(*command)
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert outcome.code in (0, 1, 2) and len(errors) == (outcome.code != 0), (command, outcome)
    assert all(len(error) < 1000 and error.endswith((".", "?")) for error in errors), errors
    if command == ("results",):
        assert "| other |" in outcome.out, outcome
    if command[0] == "compare":
        assert "other" in outcome.out.splitlines()[1].split(), outcome
    return outcome.code


@pytest.mark.parametrize("command", ["results", "results --seeds", "sweep select s"])
@pytest.mark.parametrize("form", ["markdown", "json", "csv"])
def test_nothing_readable_is_no_empty_table(
    bare: Place, command: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: tuple[list[object], list[CxrflowError]] = [], [ArtifactError("runs/tiny is damaged. Delete it.")]
    for name in ("cxrflow.report.facts.finished", "cxrflow.report.facts.trained", "cxrflow.sweep.command.select"):
        monkeypatch.setattr(name, lambda *_, **__: nothing)
    done = bare(*command.split(), "--format", form)
    done.assert_refused("runs/tiny is damaged", code=ArtifactError.exit_code)
    assert done.out == ""


def damages(path: Path, rng: random.Random) -> Iterator[Callable[[Path], object]]:
    """Yield some of the ways in which a file can be damaged."""
    yield rng.choice(THINGS)
    if path.suffix == ".npz":
        contents: list[str | bytes] = list(rng.sample(list(bad_arrays(path)), 4))
    else:
        text = path.read_text(encoding="utf-8")
        contents = [text[: len(text) // 2], "[" * 100_000, *rng.sample(TEXTS, 2)]
    if path.suffix == ".json":
        for _ in range(2):
            content = json.loads(text)
            *before, last = rng.choice(leaves(content))
            inside = content
            for key in before:
                inside = inside[key]
            inside[last] = rng.choice(NASTY)
            contents.append(json.dumps(content))
    yield from (partial(write, content=content) for content in contents)


def leaves(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where every value is, sections included."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(leaf for key, value in pairs for leaf in leaves(value, (*path, key)))][0 if path else 1 :]


@pytest.mark.usefixtures("_drawn_once")
@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDS)
def test_a_damaged_file_hides_nothing_else(two: Place, name: str) -> None:
    rng = random.Random(name)
    shutil.copytree(two.run, two.folder / "whole")
    image = next((two.folder / "xrays" / "test" / "NORMAL").iterdir())
    others: tuple[tuple[str | Path, ...], ...] = (
        ("results", "--seeds"), ("ip", "runs/tiny/experiment.yaml"), ("package", "runs/tiny/experiment.yaml"),
        ("infer", "runs/tiny/deploy/pynq-z2", image, "--device", "cpu"),
    )  # fmt: skip
    for damage in damages(two.run / name, rng):
        damage(two.run / name)
        if rng.random() < 0.8:  # otherwise the stamps know that it is another file
            restamp(two.run, name)
        results, report = assert_told(two, "results"), assert_told(two, "report", "tiny")
        assert (results == 0) == (report == 0), (name, results, report)  # what one refuses is no row of the other
        for command in (("compare", "tiny", "other"), rng.choice(others)):
            assert_told(two, *command)
        shutil.rmtree(two.run)
        shutil.copytree(two.folder / "whole", two.run)


def test_every_misshapen_array_is_refused_before_it_takes_memory(finished: Place, tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    for content in bad_arrays(finished.run / "export" / "golden.npz"):
        path.write_bytes(content)
        for load in (load_labelled, load_golden):
            try:
                golden = load(path)
            except ArtifactError as err:
                assert str(path) in str(err) and len(str(err)) < 1000 and "\n" not in str(err)
            else:
                assert golden.pixels.shape[0] == len(golden.logits) == 16


# --- paths that somebody gives

NO_PLACE = (
    "a_file/x.out", "a_folder", "/dev/full", "/proc/x/y.out", "ring", "pipe", "n" * 300, f"{'d' * 300}/x.out",
    "/dev/null",
)  # fmt: skip
PLACES = ("a_file", "link", "m" * 250, os.fsdecode(b"caf\xe9.out"), "new.out")


@pytest.fixture
def odd(finished: Place) -> Place:
    """A place with files that are none."""
    at = finished.folder
    (at / "a_file").write_text("")
    (at / "a_folder").mkdir()
    (at / "ring").symlink_to("gnir")
    (at / "gnir").symlink_to("ring")
    (at / "link").symlink_to("linked")
    os.mkfifo(at / "pipe")
    return finished


@pytest.mark.parametrize("place", [*NO_PLACE, *PLACES])
def test_a_file_that_is_asked_for_is_there_or_one_sentence(odd: Place, place: str) -> None:
    image = next((odd.folder / "xrays" / "test" / "NORMAL").iterdir())
    deploy = "runs/tiny/deploy/pynq-z2"
    for command in (
        ("infer", deploy, image, "--device", "cpu", "--csv", place),
        ("compare", "tiny", "tiny", "--out", place),
        ("data", "check", "tiny.yaml", "--figure", place),
    ):
        outcome = odd(*command)
        if place in NO_PLACE:
            outcome.assert_refused("Choose another")
        else:
            assert outcome.code == 0 and (odd.folder / place).stat().st_size > 0, outcome.err
    assert (odd.folder / "link").is_symlink() and Path("/dev/full").is_char_device()
    assert not list(odd.folder.rglob("*.partial"))


@pytest.mark.parametrize("place", ["a_file", "a_file/x", "/dev/full", "/proc", "/proc/x", "ring", "n" * 300])
def test_a_folder_that_cannot_be_made_is_one_sentence(odd: Place, place: str) -> None:
    image = next((odd.folder / "xrays" / "test" / "NORMAL").iterdir())
    odd("explain", "runs/tiny/deploy/pynq-z2", image, "--device", "cpu", "--out", place).assert_refused(
        "Choose another"
    )
    for command in ("train", "export"):
        outcome = odd(command, "tiny.yaml", "--runs", place)
        outcome.assert_refused()
        assert "another cxrflow is working" not in outcome.err
    for words in (
        ["results", "--runs", place],
        ["report", "tiny", "--runs", place],
        ["data", "check", "--data", place],
    ):
        odd(*words).assert_refused()


@pytest.mark.parametrize(
    "content",
    [
        None, b"", b"\xff\xfe", b"- a", b"a: &b [1]\nc: *b", b"name: a\nname: b",
        b"!!python/object/apply:os.system [x]", b"a: " + b"[" * 50_000, b"name: " + b":".join([b"1"] * 3000),
        b"seed: " + b"9" * 5000, b"a: 2020-99-99",
        b"? [a]\n: 3", b"a: 1\n---\nb: 2", b'name: "a\\0b"', b"x" * 2_000_000, b"<<: 3",
    ],
    ids=lambda content: repr(content)[:20],
)  # fmt: skip
def test_an_experiment_that_is_none_is_one_sentence(finished: Place, content: bytes | None) -> None:
    path = finished.folder / "odd.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    for command in ("train", "package", "sweep"):
        finished(command, "odd.yaml").assert_refused("odd.yaml")
    for thing in THINGS[1:]:
        write(path, "name: x")
        thing(path)
        finished("train", "odd.yaml").assert_refused("odd.yaml")


def test_output_that_nobody_takes_is_no_traceback(finished: Place) -> None:
    """A full disk behind standard output, and a reader that has seen enough."""
    for target in ("/dev/full", "| head -c 1"):
        redirect = f"> {target}" if target.startswith("/") else target
        program = f"{shlex.quote(sys.executable)} -m cxrflow.cli results {redirect}"
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            ["sh", "-c", program], cwd=finished.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
        assert ("error: " in done.stderr) == target.startswith("/")
