"""What is said about an emulated board: how many tests passed without a time, and why one cannot be fetched.

The kinds: a line that is taken by its place, though another one may come to lie there; and a failure of which the last
words do not name the cause. No board is fetched here.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.board import emulated
from tests.board.emulated import ARMHF, PYTEST, ROOT, MissingError, open_board, verdict


def test_a_verdict_is_what_pytest_counted_without_its_time(tmp_path: Path) -> None:
    tests = "import pytest, time\ndef test_a(): time.sleep(0.1)\ndef test_b(): pass\ndef test_c(): pytest.skip('')\n"
    (tmp_path / "test_x.py").write_text(tests)
    command = [sys.executable, *PYTEST, "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert verdict(done.stdout) == "2 passed, 1 skipped", done.stdout
    assert verdict(f"{done.stdout}0.10s call test_x.py::test_a\n") == "2 passed, 1 skipped"
    with pytest.raises(ValueError, match="0 lines of pytest say"):
        verdict("0.10s call test_x.py::test_a")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if shutil.which(ARMHF.qemu) is None or not emulated.KEYRING.is_file():
        pytest.skip("nothing is emulated here: install Debian's qemu-user-static")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "cxrflow" / "board"


def test_without_a_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated, "MIRROR", "file:/nothing-is-here")
    with pytest.raises(MissingError, match=r"`apt-get -qq update` failed and said: E: .*file:/nothing-is-here"):
        open_board(ARMHF)
    assert [path.name for path in cache.iterdir()] == [".armhf.lock"]


def test_without_space(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**7, 10**7))  # type: ignore[attr-defined]
        with pytest.raises(MissingError, match=rf"^{cache} has 10 MB left, 600 MB are needed\. Free some space\.$"):
            open_board(ARMHF)
        patch.setenv("XDG_CACHE_HOME", "here")  # relative: to be ignored
        patch.setenv("HOME", str(tmp_path / "home"))
        with pytest.raises(MissingError, match=rf"^{tmp_path}/home/.cache/cxrflow/board has 10 MB left"):
            open_board(ARMHF)
    said = "echo 'tar: ./x: Cannot write: No space left on device' >&2; echo 'dpkg-deb: error: tar failed' >&2; exit 2"
    with pytest.raises(MissingError, match=r"failed and said: tar: ./x: Cannot write: No space left on device$"):
        emulated._fetch(["sh", "-c", said], {"PATH": "/usr/bin:/bin"})
