"""However a command ends, nothing that it started goes on, and the next command finds nothing half done.

The kind of fault: a compiler's compiler outlives a kill, a stage is lost between two renames, a temporary folder stays.
"""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.scratch import scratch
from cxrflow.runs import locked, read_stamp, run_stage
from tests.cxrflow.conftest import REPOSITORY, Place

ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]


def working_in(folder: Path) -> set[str]:
    """The programs whose working folder lies in `folder`."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder) and "zombie" not in (process / "status").read_text():
                found.add((process / "comm").read_text().strip())
    return found


def listed(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def until(true: Callable[[], bool], *, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name)
@pytest.mark.parametrize(("command", "program"), [("simulate", "cc1plus"), ("synth", "yosys-abc")])
def test_what_a_command_started_ends_with_it(finished: Place, end: signal.Signals, command: str, program: str) -> None:
    run, temporary = finished.run, finished.folder / "tmp"
    temporary.mkdir()
    before = listed(finished.folder)
    process = finished.start(command, "tiny.yaml", env={"TMPDIR": str(temporary)}, start_new_session=True)
    until(lambda: bool(working_in(run) & {program, "python", "python3", "python3.11"}) or process.poll() is not None)
    if command == "simulate":
        until(lambda: program in working_in(run) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.send_signal(end)
    _, err = process.communicate(timeout=600)
    assert process.returncode == (-9 if end == signal.SIGKILL else 130), err
    assert "Traceback" not in err
    until(lambda: not working_in(run), seconds=5)
    if end != signal.SIGKILL:
        assert "error: interrupted. Run the same command again" in err
        assert not list(run.rglob(".*")) and not list(temporary.iterdir())
        assert listed(finished.folder) - before <= {"runs/.cache", "runs/.cache/synth"}
    outcome = finished("build", "tiny.yaml")  # clears up before it looks
    assert outcome.code == 0 and "build: nothing changed" in outcome.err
    assert not list(finished.run.rglob(".*.partial")) and not list(finished.run.rglob(".*.old"))


def write(text: str) -> Callable[[Path], None]:
    def work(out: Path) -> None:
        out.mkdir()
        (out / "result.txt").write_text(text)

    return work


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from cxrflow import runs

    def work(out):
        out.mkdir()
        (out / "result.txt").write_text("new")

    rename, times = Path.rename, 0

    def renamed(self, target):
        global times
        times += 1
        if times > int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    with runs.locked(Path(sys.argv[1])):
        Path.rename = renamed
        runs.run_stage(Path(sys.argv[1]) / "train", {"text": "new"}, {}, work, say=print)
"""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_stage_is_whole_after_a_kill_between_two_renames(renames: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_stage(run / "train", {"text": "old"}, {}, write("old"), say=print)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(run), str(renames)]
    done = subprocess.run(command, cwd=REPOSITORY, check=False)
    assert done.returncode == (0 if renames == 2 else -9)
    with locked(run):
        assert (run / "train" / "result.txt").read_text() == ("new" if renames == 2 else "old")
        assert read_stamp(run / "train") is not None
        assert [path.name for path in run.iterdir()] == ["train"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError, None], ids=str)
def test_a_stage_that_was_not_finished_leaves_no_empty_folder(end: type[BaseException] | None, tmp_path: Path) -> None:
    """Nor do those above it, if they were made for it; one that was killed (None) leaves them to the next command."""
    run = tmp_path / "run"
    (run / "sim").mkdir(parents=True)
    (run / "bitstream" / "pynq-z2.mine").mkdir(parents=True)

    def work(out: Path) -> None:
        write("half")(out)
        if end is not None:
            raise end

    if end is None:
        (run / "build").mkdir()
        (run / "bitstream" / "pynq-z2").mkdir()
        with locked(run):
            assert listed(run) == set()
        return
    for stage in "build/pynq-z2", "bitstream/pynq-z2/axi_dma", "sim/pynq-z2":
        with pytest.raises(end):
            run_stage(run / stage, {}, {}, work, say=print)
    assert listed(run) == {"sim", "bitstream", "bitstream/pynq-z2.mine"}


def test_an_ending_that_others_take_for_an_error_of_theirs(tmp_path: Path) -> None:
    """Brevitas has an `except:` around an import: what comes of half a module is no bug of ours."""
    program = """
        import os, signal
        from cxrflow import cli

        def app():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                signal.pause()
            except:
                pass
            raise AttributeError("partially initialized module")

        cli.app = app
        cli.main()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr.startswith("error: interrupted. Run the same command again")
    assert "Traceback" not in done.stderr


def test_pytorch_makes_no_folder_of_its_own(tmp_path: Path) -> None:
    """It did so whenever Brevitas was imported."""
    program = "from cxrflow import cli; cli.app = lambda: __import__('torch._dynamo'); cli.main()"
    subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, check=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert listed(tmp_path) == set()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """Clearing up takes what a killed command can have left, and nothing that somebody may have put there."""
    run = tmp_path / "run"
    ours = ("train.old", "export.partial", "experiment.yaml.17.partial", "wave")
    theirs = (".notes.old", ".mine.partial", "train.old", "report.partial", ".experiment.yaml.partial", ".git")
    for name in (*(f".{name}" for name in ours), *theirs):
        path = run / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("") if "yaml" in name or name == ".mine.partial" else path.mkdir()
    (run / "export").mkdir()
    (run / ".export.old").symlink_to(tmp_path)  # of somebody who means harm
    (run / "build" / "pynq-z2" / "steps").mkdir(parents=True)
    (run / "build" / "pynq-z2" / ".mine").mkdir()
    with locked(run):
        assert {path.name for path in run.iterdir()} == {*theirs, "export", "build"}
        assert (run / "build" / "pynq-z2" / ".mine").is_dir() and tmp_path.is_dir()


def test_a_temporary_folder_of_the_killed_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = "from contract.scratch import scratch\nimport os\nwith scratch('x'): os.kill(os.getpid(), 9)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, env=environment, check=False)
    (left,) = tmp_path.iterdir()
    (tmp_path / "cxrflow-of-somebody").mkdir()
    with scratch("y") as one:
        assert not left.exists() and (tmp_path / "cxrflow-of-somebody").exists()
        with scratch("y") as two:
            assert one.exists() and two.exists() and one != two
    assert [path.name for path in tmp_path.iterdir()] == ["cxrflow-of-somebody"]


@pytest.mark.parametrize(
    "kept", [(), ("lock.new",), ("lock", "sub/file")], ids=["empty", "no lock yet", "half removed"]
)
def test_a_temporary_folder_is_removed_whenever_its_owner_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: tuple[str, ...]
) -> None:
    """Before it had its lock, and while it was removed. What else has no lock may be anybody's, however old."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, young, notes = (tmp_path / f"cxrflow-x-{name}" for name in ("leftover", "just_now", "mynotes1"))
    for name in kept:
        (left / name).parent.mkdir(parents=True, exist_ok=True)
        (left / name).write_text("")
    for folder in (left, young, notes):
        folder.mkdir(exist_ok=True)
    (notes / "text").write_text("mine")
    for folder in (left, notes):
        os.utime(folder, (0, 0))
    with scratch("y"):
        assert not left.exists() and young.exists() and (notes / "text").exists()


def test_the_lock_is_the_last_that_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch("x") as folder:
        for name in "abcmnoxyz":
            (folder / name).write_text("")
        unlink, gone = Path.unlink, []

        def note(path: Path, missing_ok: bool = False) -> None:
            gone.append(path.name)
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", note)
    assert gone[-1] == "lock" and len(gone) == 10 and not folder.exists()


def test_a_stage_on_another_disk_is_replaced_without_a_trace_of_ours_there(tmp_path: Path) -> None:
    """Somebody moved a stage and left a link: what they moved is theirs."""
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run_stage(run / "train", {"text": "old"}, {}, write("old"), say=print)
    (run / "train").rename(elsewhere)
    (run / "train").symlink_to(elsewhere)
    assert not run_stage(run / "train", {"text": "old"}, {}, write("old"), say=print)
    assert run_stage(run / "train", {"text": "new"}, {}, write("new"), say=print)
    assert (run / "train" / "result.txt").read_text() == "new" and (elsewhere / "result.txt").read_text() == "old"
    assert [path.name for path in run.iterdir()] == ["train"]
