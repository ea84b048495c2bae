"""The image's files: clean for the linters, and pinned to what the local environment and FINN itself pin."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from finn.interface import manage_deps
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from finn_build.flows.finn_iodma.image import IMAGE, INPUTS, LABEL, REPOSITORY, image_inputs
from finn_build.targets.boards import BOARDS

DOCKER = REPOSITORY / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
SCRIPTS = Path(sysconfig.get_path("scripts"))


def dependencies() -> dict[str, list[str]]:
    """Folder -> repository, commit, part."""
    lines = (DOCKER / "dependencies.txt").read_text(encoding="utf-8").splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines if not line.startswith("#")}


def test_hadolint_has_nothing_to_say(tmp_path: Path) -> None:
    command = [str(SCRIPTS / "hadolint"), "--no-color", "--config", "/dev/null"]
    done = subprocess.run([*command, str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace("--no-install-recommends", ""), encoding="utf-8")
    done = subprocess.run([*command, str(tmp_path / "Dockerfile")], capture_output=True, text=True, check=False)
    assert "DL3015" in done.stdout


@pytest.mark.parametrize("script", sorted(DOCKER.glob("*.sh")), ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    done = subprocess.run([SCRIPTS / "shellcheck", "--norc", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_packages_come_from_the_lock_and_finn_is_named_nowhere_else() -> None:
    code = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#"))
    assert "pip install --no-cache-dir --no-deps -r /opt/image.lock" in code
    assert {"requirements.lock", "docker/packages.txt"} <= set(INPUTS) and "finn-plus" not in code
    installed = re.findall(r"\b([\w-]+)==([\w.]+)", code)
    assert installed == [("pybind11", "3.0.1")], "what the lock lacks, at the version that FINN names"
    assert any(re.fullmatch(r"pybind11 \(?==3\.0\.1\)?", line) for line in requires("finn-plus") or [])


def test_the_image_holds_a_part_of_the_lock() -> None:
    patterns = [line for line in (DOCKER / "packages.txt").read_text().splitlines() if not line.startswith("#")]
    names = [pattern.removesuffix("==.*").lower() for pattern in patterns]
    lock = [line.split("==")[0].lower() for line in (REPOSITORY / "requirements.lock").read_text().splitlines()]
    assert all(pattern.endswith("==.*") for pattern in patterns) and len(set(names)) == len(names)
    assert not set(names) - set(lock)
    # What they need is there too, but for what only other chips, viewers and plots need; the image's own check imports.
    left_out = {
        "brevitas", "cbcbox", "cmake", "importlib-metadata", "lazy-importer", "matplotlib", "netron", "onnxoptimizer",
        "pybind11", "setuptools", "termcolor",
    }  # fmt: skip
    needed = {canonicalize_name(r.name) for name in names for r in map(Requirement, requires(name) or [])
              if r.marker is None or r.marker.evaluate({"extra": ""})}  # fmt: skip
    missing = needed - {canonicalize_name(name) for name in names} - left_out
    assert not {name for name in missing if not name.startswith(("nvidia", "cuda", "triton"))}


def running(place: Path) -> list[Path]:
    """Processes of a stand-in."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{place}/bin/buildah".encode() in path.read_bytes():
                found.append(path)
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class TestTheScriptThatBuilds:
    """docker/build.sh with stand-ins for engines, on a PATH without real ones.

    The kind: a build removes what it made, which it knows by a mark and not by when it appeared, because others use
    the same storage meanwhile. And an engine that is there need not work.
    """

    TOOLS = ("sh", "awk", "cat", "cut", "df", "dirname", "echo", "grep", "id", "mkdir", "mktemp", "mount", "rm", "sed",
             "setpriv", "setsid", "sha256sum", "sleep", "sort", "tail", "true", "unshare", "xargs", "env")  # fmt: skip
    # While it builds, another build and somebody by hand make containers in the same storage.
    ENGINE = """#!/bin/sh
here=$(dirname "$0")/..
asked=$*
container() {
    mkdir -p "$here/overlay-containers/$1/userdata"
    echo "{\\"Secrets\\":[\\"$2\\"],}" > "$here/overlay-containers/$1/userdata/buildah.json"
}
case $1 in
    info) [ -e "$here/stopped-${0##*/}" ] && { echo "Cannot connect to the service.$(cat "$here/stopped-${0##*/}")" >&2
          echo 'time="now" level=error msg="no reason"' >&2; exit 125; }; echo "$here" ;;
    rm) shift; echo "$@" > "$here/removed" ;;
    build) while [ $# -gt 0 ]; do [ "$1" != --secret ] || container left-over "$2"; shift; done
           container another-one "id=cxrflow-build.another,src=/dev/null"; container by-hand ""
           echo "${TMPDIR-}" > "$here/packed-in"; echo "$asked" > "$here/asked"
           [ ! -e "$here/slow" ] || sleep 600 & wait
           exit "$(cat "$here/code")" ;;
esac
"""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        (tmp_path / "bin").mkdir()
        for tool in self.TOOLS:
            (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
        (tmp_path / "packed").mkdir()
        (tmp_path / "code").write_text("0")
        return tmp_path

    def environment(self, place: Path) -> dict[str, str]:
        return {"PATH": str(place / "bin"), "TMPDIR": str(place / "packed")}

    def engine(self, place: Path, name: str) -> None:
        (place / "bin" / name).write_text(self.ENGINE)
        (place / "bin" / name).chmod(0o755)

    def call(self, place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(DOCKER / "build.sh"), *arguments]
        return subprocess.run(command, env=self.environment(place), capture_output=True, text=True, check=False)

    @pytest.mark.parametrize("name", ["docker", "podman", "buildah"])
    def test_takes_the_engine_that_is_there(self, place: Path, name: str) -> None:
        self.engine(place, name)
        done = self.call(place)
        assert done.returncode == 0, done.stderr
        asked = (place / "asked").read_text()
        assert asked.startswith(f"build --platform linux/amd64 --label {LABEL}={image_inputs()} --tag {IMAGE} ")
        assert not done.stderr and not [*(place / "packed").iterdir()]

    def test_passes_options_on(self, place: Path) -> None:
        self.engine(place, "docker")
        self.engine(place, "buildah")
        assert self.call(place, "buildah", "--build-arg", "BASE=x").returncode == 0
        assert (place / "asked").read_text().endswith("--build-arg BASE=x .\n")
        assert self.call(place, "--build-arg", "BASE=y").returncode == 0
        assert (place / "asked").read_text().endswith("Dockerfile --build-arg BASE=y .\n"), "docker's, without a mark"
        assert self.call(place, "BASE=y").stderr.startswith("BASE=y is no engine, expected docker, podman or buildah")

    def test_takes_the_next_engine_where_one_does_not_work(self, place: Path) -> None:
        for name in ("docker", "podman", "buildah"):
            self.engine(place, name)
        (place / "stopped-docker").write_text(" Is it running?")
        done = self.call(place)
        assert done.returncode == 0 and (place / "asked").exists()
        assert done.stderr == (
            "docker does not work here: Cannot connect to the service. Is it running? "
            "So podman builds the image; docs/docker.md says how Docker gets it.\n"
        )
        done = self.call(place, "docker")
        assert done.returncode == 2 and "Is it running? Start its service" in done.stderr
        for name in ("podman", "buildah"):
            (place / f"stopped-{name}").touch()
        done = self.call(place)
        assert done.returncode == 2 and done.stderr.count(" does not work here: Cannot connect to the service.") == 3

    def test_says_what_is_missing(self, place: Path) -> None:
        done = self.call(place)
        assert done.returncode == 2 and "docker, podman and buildah are not on PATH" in done.stderr
        done = self.call(place, "podman")
        assert (done.returncode, done.stderr) == (2, "podman is not on PATH.\n")
        self.engine(place, "podman")
        (place / "stopped-podman").touch()
        done = self.call(place)
        assert done.returncode == 2 and "podman does not work here: Cannot connect to the service. Start" in done.stderr
        (place / "stopped-podman").unlink()
        (place / "packed").rmdir()
        done = self.call(place)
        assert done.returncode == 2 and f"{place}/packed cannot be written to, where podman packs layers" in done.stderr
        (place / "packed").mkdir()
        for full, needed in (("bin/..", 10), ("packed", 3)):
            (place / "bin" / "df").unlink()
            free = f"case $2 in */{full}) echo /dev/x 1 1 2000000 1% / ;; *) echo /dev/x 1 1 20000000 1% / ;; esac"
            (place / "bin" / "df").write_text(f"#!/bin/sh\necho head\n{free}\n")
            (place / "bin" / "df").chmod(0o755)
            done = self.call(place)
            assert done.returncode == 2 and f"{full} has 2 GB left, the image needs {needed} GB" in done.stderr
        assert not (place / "asked").exists() and not [*(place / "packed").iterdir()]

    @pytest.mark.parametrize("code", [0, 7])
    @pytest.mark.parametrize(("name", "removed"), [("buildah", "left-over"), ("podman", "--force left-over")])
    def test_a_build_leaves_no_container_of_its_own_and_all_others(
        self, place: Path, name: str, removed: str, code: int
    ) -> None:
        self.engine(place, name)
        (place / "code").write_text(str(code))
        done = self.call(place)
        assert done.returncode == code and ("the image was not built" in done.stderr) == (code != 0)
        assert (place / "removed").read_text().strip() == removed
        assert (place / "packed-in").read_text().startswith(f"{place}/packed/cxrflow-build.")
        assert not [*(place / "packed").iterdir()]

    def test_nobody_listens(self, place: Path) -> None:
        self.engine(place, "buildah")
        (place / "code").write_text("7")
        read, write = os.pipe()
        os.close(read)
        command = [str(DOCKER / "build.sh")]
        done = subprocess.run(command, env=self.environment(place), stdout=write, stderr=write, check=False)
        os.close(write)
        assert done.returncode != 0 and (place / "removed").read_text() == "left-over\n"

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_an_interrupted_build_is_ended_and_leaves_no_container(self, place: Path, how: signal.Signals) -> None:
        self.engine(place, "buildah")
        (place / "slow").touch()
        command = [str(DOCKER / "build.sh")]
        with subprocess.Popen(command, env=self.environment(place), stderr=subprocess.PIPE, text=True) as process:
            while not (place / "asked").exists():
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(how)
            _, said = process.communicate(timeout=600)
        assert process.returncode == 130 and "interrupted: no image was made" in said
        assert (place / "removed").read_text() == "left-over\n" and not [*(place / "packed").iterdir()]

    def test_a_killed_script_ends_the_build(self, place: Path) -> None:
        """SIGKILL leaves no time to end anything."""
        if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode:
            pytest.skip("a build gets namespaces of its own, which this user may not make")
        self.engine(place, "buildah")
        (place / "slow").touch()
        command = [str(DOCKER / "build.sh")]
        with subprocess.Popen(command, env=self.environment(place)) as process:
            try:
                wait_for(lambda: (place / "asked").exists())
                assert running(place)
            finally:
                process.kill()
        wait_for(lambda: not running(place))


def test_the_base_is_an_exact_version_and_the_user_is_not_root() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.M) == ["${SOURCES}", "${BASE}"]
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", DOCKERFILE, re.M))
    assert defaults == {
        "BASE": "python:3.11.9-slim-bookworm",
        "SOURCES": "${BASE}",
        "TORCH_INDEX": "https://download.pytorch.org/whl/cpu",
    }
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.M) == ["1000:1000"]
    assert not re.search(r"vivado|vitis|xilinx/", re.sub(r"^#.*$", "", DOCKERFILE, flags=re.M), re.I)


def test_repositories_are_at_finns_own_commits() -> None:
    path = Path(manage_deps.__file__).with_name("external_dependencies.yaml")
    finn = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries = [*finn["git_deps"].values(), *finn["boardfile_deps"].values()]
    pinned = {(entry["url"], entry["commit"]) for entry in entries}
    ours = {folder: (url, commit) for folder, (url, commit, _) in dependencies().items()}
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for _, commit in ours.values())
    assert {folder for folder, pin in ours.items() if pin not in pinned} == {
        "board_files/pynq-z1", "board_files/pynq-z2"
    }, "FINN takes these two from archives without a version"  # fmt: skip
    assert (finn["git_deps"]["finn-hlslib"]["url"], finn["git_deps"]["finn-hlslib"]["commit"]) == ours["finn-hlslib"]


def test_every_board_that_vivado_does_not_bring_has_its_files() -> None:
    brought = {"zcu104", "zcu102"}
    names = {folder.split("/")[1].replace("kv260_som", "kv260").replace("ultra96v2", "ultra96-v2")
             for folder in dependencies() if folder.startswith("board_files/")}  # fmt: skip
    assert names == {board.name for board in BOARDS.values() if board.finn_name} - brought


def test_fetching_takes_one_commit_and_one_folder_of_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path / "upstream"), "-c", "user.name=n", "-c", "user.email=e", *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    (tmp_path / "upstream" / "boards" / "one").mkdir(parents=True)
    git("init", "-q")
    git("config", "uploadpack.allowAnySHA1InWant", "true")
    (tmp_path / "upstream" / "boards" / "one" / "board.xml").write_text("old")
    git("add", ".")
    git("commit", "-qm", "old")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "upstream" / "boards" / "one" / "board.xml").write_text("new")
    git("commit", "-qam", "new")
    url = (tmp_path / "upstream").as_uri()
    (tmp_path / "list").write_text(f"# a comment\nboard_files/x {url} {commit} boards/one\nwhole {url} {commit} .\n")
    fetch = ["sh", str(DOCKER / "fetch.sh"), str(tmp_path / "list"), str(tmp_path / "out")]
    subprocess.run(fetch, check=True)
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert found == ["board_files/x/board.xml", "whole/boards/one/board.xml"]
    assert (tmp_path / "out" / "board_files" / "x" / "board.xml").read_text() == "old"
    (tmp_path / "list").write_text(f"y {url} {'0' * 40} .\nz {url} {commit} .\n")
    assert subprocess.run(fetch, capture_output=True, check=False).returncode != 0
    assert not (tmp_path / "out" / "z").exists()
