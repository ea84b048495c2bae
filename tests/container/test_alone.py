"""What `make docker-check` leaves when it ends, however it ends, and the base that it keeps for the next time.

The kinds: what is left by whoever is stopped half-way, and a kept file that is trusted though it is not what would be
made now. Stand-ins for the check and for mmdebstrap: no image is built here.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.container import stand_ins
from tests.container.alone import BUILDING, mounts

# As an engine does: a mount, a process in a session of its own, files.
CHECK = """
mkdir -p storage; mount -t tmpfs none storage; touch storage/a; echo half > base.partial
setsid sh -c 'trap "" INT TERM HUP; while :; do sleep 1; done' $0 & echo $TMPDIR > begun; wait"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode:
        pytest.skip("this user may make no namespaces, without which there is no `make docker-check`")
    return tmp_path


def command(work: Path, *words: str) -> list[str]:
    script = "import sys; from pathlib import Path; from tests.container.alone import RefusalError, run_alone\ntry: "
    script += "sys.exit(run_alone(sys.argv[2:], Path(sys.argv[1])))\nexcept RefusalError as r: sys.exit(str(r))"
    return [sys.executable, "-c", script, str(work), *words]


@contextmanager
def running(work: Path) -> Iterator["subprocess.Popen[str]"]:
    """The check, after its engine has begun."""
    words = command(work, "sh", "-c", f"cd {work}; {CHECK}", f"mark-of-{work.name}")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: (work / "begun").exists() and bool(alive(work)))
            yield process
        finally:
            process.kill()


def alive(work: Path) -> list[int]:
    """The processes that the check's own shell and its engine are."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if f"mark-of-{work.name}".encode() in words and words[0] == b"sh":
                found.append(int(path.parent.name))
    return found


def until(condition: "object", seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_check_leaves_nothing(work: Path, how: signal.Signals) -> None:
    with running(work) as process:
        process.send_signal(how)
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 130 and said.endswith("what it was building is removed.\n")
        assert not alive(work) and not mounts(work)
    assert sorted(path.name for path in work.iterdir()) == [".lock", "begun"]
    assert (work / "begun").read_text().strip() == str(work / "tmp")


def test_a_killed_check_leaves_files_for_the_next_one(work: Path) -> None:
    with running(work) as process:
        process.kill()
        process.wait()
        until(lambda: not alive(work))
        assert not mounts(work)
    until(lambda: subprocess.run(command(work, "true")).returncode == 0)  # whose lock the last process has
    assert sorted(path.name for path in work.iterdir()) == [".lock", "begun"]


def test_a_second_check_is_refused(work: Path) -> None:
    with running(work):
        done = subprocess.run(command(work, "true"), stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and done.stderr == f"another check runs in {work}. Wait for its end, or stop it.\n"
        assert (work / "storage").is_dir() and (work / "base.partial").exists() and alive(work)


@pytest.mark.parametrize("code", [0, 1, 5])
def test_its_exit_code_is_the_checks(work: Path, code: int) -> None:
    assert subprocess.run(command(work, "sh", "-c", f"touch {work}/tmp/x; exit {code}")).returncode == code
    assert not [name for name in BUILDING if (work / name).exists()]


def test_a_kept_base_is_what_would_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mmdebstrap"
    program.write_text('#!/bin/sh\neval "out=\\${$(($# - 1))}"; echo made >> "$out.count"; echo content > "$out"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    out = tmp_path / "base.tar"

    def times() -> int:
        stand_ins.write_base(out)
        assert out.read_text() == "content\n"
        return len((tmp_path / "base.partial.count").read_text().splitlines())

    assert [times(), times()] == [1, 1]
    out.write_text("cont")
    assert times() == 2
    out.with_suffix(".seal").unlink()
    assert times() == 3
    monkeypatch.setattr(stand_ins, "_PACKAGES", "python3")
    assert [times(), times()] == [4, 4]
    os.utime(out, (0, time.time() - 31 * 86400))
    assert times() == 5
    monkeypatch.setattr(stand_ins, "SUITE", "trixie")
    assert times() == 6
