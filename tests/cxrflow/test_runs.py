import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.errors import ArtifactError, ConfigError, MismatchError
from cxrflow.runs import difference, locked, matching, read_stamp, require_stage, run_stage, stale
from cxrflow.stage_table import STAGES

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
    folder = tmp_path / "train"
    make(folder)
    result = folder / "deep" / "result.txt"
    result.unlink() if damage == "gone" else result.write_text("by hand")
    for call in (lambda: make(folder), lambda: require_stage(tmp_path, "", "train", EXPERIMENT)):
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
    make(tmp_path / "train")
    (tmp_path / "train" / "stage.json").write_text(text, encoding="utf-8")
    assert read_stamp(tmp_path / "train") is None
    with pytest.raises(ArtifactError, match=r"not there or not finished\. Run `cxrflow train` first"):
        require_stage(tmp_path, "", "train", EXPERIMENT)
    assert make(tmp_path / "train")[0]


def chain(run: Path, **text: str) -> None:
    """A training, an export, a build and a simulation, each made from files of the one before."""
    for name, file in (
        ("train", "checkpoint.pt"),
        ("export", "golden.npz"),
        ("build", "rtl/a.v"),
        ("simulate", "sim.json"),
    ):
        reads = dict[str, str]()
        for before, patterns in STAGES[name].reads.items():
            folder = STAGES[before].place(run, "b")
            stamp = read_stamp(folder)
            assert stamp is not None
            reads |= matching(stamp, f"{folder.relative_to(run)}/", patterns)

        def work(out: Path, file: str = file, name: str = name) -> None:
            (out / file).parent.mkdir(parents=True)
            (out / file).write_text(text.get(name, "old"), encoding="utf-8")
            (out / "log").write_text(str(text), encoding="utf-8")  # that nobody reads

        run_stage(STAGES[name].place(run, "b"), {"reads": reads, "text": text.get(name)}, EXPERIMENT, work, say=print)


def test_a_stage_is_stale_when_what_it_read_has_another_content(tmp_path: Path) -> None:
    chain(tmp_path)
    assert [stale(tmp_path, "b", name) for name in STAGES] == [None] * len(STAGES)
    require_stage(tmp_path, "b", "simulate", EXPERIMENT)
    sim, build = (STAGES[name].place(tmp_path, "b") for name in ("simulate", "build"))
    kept = tmp_path / "kept"
    shutil.copytree(sim, kept)
    chain(tmp_path, build="new")
    assert stale(tmp_path, "b", "simulate") is None  # the chain made it again; as it was before, it is stale:
    shutil.rmtree(sim)
    kept.rename(sim)
    assert stale(tmp_path, "b", "simulate") == "build"
    with pytest.raises(ArtifactError, match=r"sim/b was made from an earlier build\. Run `cxrflow simulate` again"):
        require_stage(tmp_path, "b", "simulate", EXPERIMENT)
    shutil.rmtree(build)
    require_stage(tmp_path, "b", "simulate", EXPERIMENT)  # a run that was copied without its build


def test_what_is_made_again_to_the_same_result_makes_nothing_stale(tmp_path: Path) -> None:
    chain(tmp_path)
    build = STAGES["build"].place(tmp_path, "b")
    before = read_stamp(build)
    assert before is not None
    run_stage(build, before.inputs | {"code": "new"}, EXPERIMENT, same, say=print)
    assert read_stamp(build) != before
    assert stale(tmp_path, "b", "simulate") is None


def same(out: Path) -> None:
    (out / "rtl").mkdir(parents=True)
    (out / "rtl" / "a.v").write_text("old", encoding="utf-8")


def test_a_stage_made_from_a_stale_one_is_stale(tmp_path: Path) -> None:
    chain(tmp_path)
    run_stage(tmp_path / "train", {"other": 1}, EXPERIMENT, checkpoint, say=print)
    assert [stale(tmp_path, "b", name) for name in ("export", "build", "simulate")] == ["train"] * 3


def checkpoint(out: Path) -> None:
    out.mkdir()
    (out / "checkpoint.pt").write_text("new", encoding="utf-8")


def test_an_earlier_stage_must_belong_to_the_experiment(tmp_path: Path) -> None:
    chain(tmp_path)
    with pytest.raises(ConfigError, match=r"hidden was \[64, 64\], now \[32\]\. Give .*experiment\.yaml"):
        require_stage(tmp_path, "b", "export", {"network": {"hidden": [32]}})
    shutil.rmtree(tmp_path / "export")
    shutil.rmtree(tmp_path / "train")
    shutil.rmtree(STAGES["build"].place(tmp_path, "b"))
    with pytest.raises(ArtifactError, match=r"train is not there or not finished\. Run `cxrflow train` first"):
        require_stage(tmp_path, "b", "build", EXPERIMENT)  # the first of the road that is missing


def test_what_others_leave_in_a_stage_stays_when_it_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    make(folder)
    (folder / "results").mkdir()
    (folder / "results" / "brought").write_text("hours", encoding="utf-8")
    (folder / "scratch").mkdir()
    assert run_stage(folder, {"text": "new"}, EXPERIMENT, write("new"), say=print, keeps=("results", "others"))
    assert names(folder) == {"deep", "results", "stage.json"} and content(folder) == "new"
    assert (folder / "results" / "brought").read_text(encoding="utf-8") == "hours"
    assert make(folder, "new") == (False, [])  # they are no file of the stage: whoever takes them looks at them


def test_data_that_only_moved_runs_nothing_again(tmp_path: Path) -> None:
    make(tmp_path / "train")
    moved = {"data": {"source": "elsewhere"}}
    assert not run_stage(tmp_path / "train", {"text": "old"}, moved, write("x"), say=print)
    require_stage(tmp_path, "", "train", moved)
    assert content(tmp_path / "train") == "old"


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


def test_several_differences_are_named_and_many_are_counted() -> None:
    old, new = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 2, "c": 2}, "d": 4}
    assert difference(old, new) == "a.b was 1, now 2"
    assert difference(old, new, most=4) == "a.b was 1, now 2; d was 3, now 4"
    many = {str(n): n for n in range(9)}
    assert difference(many, {}, most=2) == "0 was 0, now None; 1 was 1, now None, and 7 more"


def test_the_stamp_says_what_the_stage_is(tmp_path: Path) -> None:
    make(tmp_path / "stage")
    stamp = json.loads((tmp_path / "stage" / "stage.json").read_text(encoding="utf-8"))
    assert stamp["inputs"] == {"text": "old"} and stamp["experiment"] == EXPERIMENT
    assert list(stamp["files"]) == ["deep/result.txt"]
