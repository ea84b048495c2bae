import errno
import json
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.errors import ArtifactError, ConfigError, MismatchError
from cxrflow.runs import difference, locked, read_stamp, require_stage, run_stage

REPOSITORY = Path(__file__).parents[2]
EXPERIMENT = {"network": {"hidden": [64, 64]}}


def write(text: str) -> Callable[[Path], None]:
    def work(out: Path) -> None:
        (out / "deep").mkdir(parents=True)
        (out / "deep" / "result.txt").write_text(text, encoding="utf-8")

    return work


def make(folder: Path, text: str = "old", *, work: Callable[[Path], None] | None = None) -> tuple[bool, list[str]]:
    """Run a stage whose one input is `text`; return whether it worked and what it said."""
    said: list[str] = []
    return run_stage(folder, {"text": text}, EXPERIMENT, work or write(text), say=said.append), said


def content(folder: Path) -> str:
    return (folder / "deep" / "result.txt").read_text(encoding="utf-8")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_stage_runs_once_for_the_same_inputs_and_again_for_others(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "stage"
    assert make(folder) == (True, [])
    assert make(folder) == (False, [])
    assert make(folder, "new") == (True, ["stage: again, because text was old, now new"])
    assert content(folder) == "new"
    assert names(folder.parent) == {"stage"}


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), SystemExit(143), ConfigError("no.")])
def test_a_stage_that_fails_leaves_what_was_there(error: BaseException, tmp_path: Path) -> None:
    def work(out: Path) -> None:
        write("half")(out)
        raise error

    make(tmp_path / "stage")
    with pytest.raises(type(error)):
        make(tmp_path / "stage", "new", work=work)
    assert names(tmp_path) == {"stage"} and content(tmp_path / "stage") == "old"


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from cxrflow import runs

    def work(out):
        (out / "deep").mkdir(parents=True)
        (out / "deep" / "result.txt").write_text("half")
        if sys.argv[2] == "work":
            os.kill(os.getpid(), signal.SIGKILL)

    def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    if sys.argv[2] == "stamp":
        runs._write_stamp = killed
    if sys.argv[2] == "replace":
        runs._replace = killed
    runs.run_stage(Path(sys.argv[1]), {"text": "new"}, {}, work, say=print)
"""


@pytest.mark.parametrize("moment", ["work", "stamp", "replace"])
@pytest.mark.parametrize("before", [False, True], ids=["first", "again"])
def test_kill_9_leaves_no_half_stage_and_the_next_call_completes(moment: str, before: bool, tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    if before:
        make(folder)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), moment]
    done = subprocess.run(command, cwd=REPOSITORY, check=False)
    assert done.returncode == -9
    assert folder.exists() == before
    if before:
        assert content(folder) == "old"
    assert make(folder, "new")[0] and content(folder) == "new"
    assert names(tmp_path) == {"stage"}


def test_a_mismatch_keeps_the_tensors_and_points_to_them(tmp_path: Path) -> None:
    def work(out: Path) -> None:
        write("tensors")(out)
        raise MismatchError(f"fold: 3 of 5 outputs differ. The tensors are in {out / 'deep'}.")

    make(tmp_path / "stage")
    for _ in range(2):  # a second failure replaces the first
        with pytest.raises(MismatchError) as caught:
            make(tmp_path / "stage", "new", work=work)
    failed = tmp_path / "stage.failed"
    assert str(caught.value) == f"fold: 3 of 5 outputs differ. The tensors are in {failed / 'deep'}."
    assert content(failed) == "tensors" and content(tmp_path / "stage") == "old"
    assert names(tmp_path) == {"stage", "stage.failed"}
    assert read_stamp(failed) is None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "is full .* Free some space"),
        (errno.EDQUOT, "is full .* Free some space"),
        (errno.EROFS, "cannot be written .* expected a folder that you may write to"),
        (errno.EACCES, "cannot be written .* expected a folder that you may write to"),
    ],
)
def test_a_disk_that_refuses_is_one_sentence(code: int, words: str, tmp_path: Path) -> None:
    def work(out: Path) -> None:
        write("half")(out)
        raise OSError(code, os.strerror(code))

    with pytest.raises(ConfigError, match=words):
        make(tmp_path / "stage", work=work)
    assert names(tmp_path) == set()


def test_a_real_limit_on_file_sizes_is_one_sentence(tmp_path: Path) -> None:
    """Tests run as root, whom permissions do not stop; the system's limit on file sizes stops everyone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ConfigError, match="is full"):
            make(tmp_path / "stage", "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == set()


def test_other_os_errors_stay_bugs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make(tmp_path / "stage", work=Path.rmdir)


@pytest.mark.parametrize("place", ["/proc/no/run", "a_file/run"])
def test_runs_that_cannot_be_a_folder_are_one_sentence(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a_file").touch()
    with pytest.raises(ConfigError, match=r"cannot be written .* Choose another with --runs\."), locked(Path(place)):
        pass


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    hold = "import sys; from pathlib import Path; from cxrflow.runs import locked\n"
    hold += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", hold, str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=r"another cxrflow is working in .*run\. Wait"), locked(tmp_path / "run"):
            pass
        with locked(tmp_path / "another"):
            pass
        other.kill()
    with locked(tmp_path / "run"):  # kill -9 leaves no lock behind
        pass


@pytest.mark.parametrize(("damage", "found"), [("changed", "was changed"), ("gone", "is missing")])
def test_a_file_altered_afterwards_is_noticed_and_not_overwritten(damage: str, found: str, tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    make(folder)
    result = folder / "deep" / "result.txt"
    result.unlink() if damage == "gone" else result.write_text("by hand")
    for call in (lambda: make(folder), lambda: require_stage(folder, tmp_path, "train", EXPERIMENT)):
        with pytest.raises(ArtifactError, match=rf"result\.txt {found}, expected .* or delete {folder} and run"):
            call()
    assert damage == "gone" or content(folder) == "by hand"
    assert make(folder, "new")[0]  # other inputs: it would have been replaced anyway


def test_a_file_added_afterwards_is_nobodys_business(tmp_path: Path) -> None:
    make(tmp_path / "stage")
    (tmp_path / "stage" / ".DS_Store").touch()
    assert make(tmp_path / "stage") == (False, [])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"key": 1}', '{"key": "k", "inputs": [], "experiment": {}, "files": {}}', "[" * 9999],
)
def test_a_damaged_stamp_is_an_unfinished_stage(text: str, tmp_path: Path) -> None:
    make(tmp_path / "stage")
    (tmp_path / "stage" / "stage.json").write_text(text, encoding="utf-8")
    assert read_stamp(tmp_path / "stage") is None
    with pytest.raises(ArtifactError, match=r"not there or not finished\. Run `cxrflow train` first"):
        require_stage(tmp_path / "stage", tmp_path, "train", EXPERIMENT)
    assert make(tmp_path / "stage")[0]


def test_an_earlier_stage_must_belong_to_the_experiment_and_to_the_files_it_read(tmp_path: Path) -> None:
    folder, source = tmp_path / "export", tmp_path / "train.pt"
    source.write_text("1")
    reads = {"reads": {"train.pt": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}}  # sha256 of "1"
    run_stage(folder, reads, EXPERIMENT, write("x"), say=print)
    require_stage(folder, tmp_path, "export", EXPERIMENT)
    with pytest.raises(ConfigError, match=r"hidden was \[64, 64\], now \[32\]\. Give .*experiment\.yaml"):
        require_stage(folder, tmp_path, "export", {"network": {"hidden": [32]}})
    source.write_text("2")
    with pytest.raises(ArtifactError, match=r"was made from an earlier train\.pt\. Run `cxrflow export` again"):
        require_stage(folder, tmp_path, "export", EXPERIMENT)
    source.unlink()  # a run that was copied without its training
    require_stage(folder, tmp_path, "export", EXPERIMENT)


def test_data_that_only_moved_runs_nothing_again(tmp_path: Path) -> None:
    make(tmp_path / "stage")
    moved = {"data": {"source": "elsewhere"}}
    assert not run_stage(tmp_path / "stage", {"text": "old"}, moved, write("x"), say=print)
    require_stage(tmp_path / "stage", tmp_path, "train", moved)
    assert content(tmp_path / "stage") == "old"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, "a.c was 2, now 3"),
        ({"a": 1}, {}, "a was 1, now None"),
        ({"code": "0" * 64}, {"code": "1" * 64}, "code has changed"),
        ({"a": {"b": 1}}, {"a": None}, "a has changed"),
    ],
)
def test_difference(old: dict[str, Any], new: dict[str, Any], text: str) -> None:
    assert difference(old, new) == text


def test_the_stamp_says_what_the_stage_is(tmp_path: Path) -> None:
    make(tmp_path / "stage")
    stamp = json.loads((tmp_path / "stage" / "stage.json").read_text(encoding="utf-8"))
    assert stamp["inputs"] == {"text": "old"} and stamp["experiment"] == EXPERIMENT
    assert list(stamp["files"]) == ["deep/result.txt"]
