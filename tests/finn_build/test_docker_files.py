"""The image's files: clean for the linters, and pinned to what the local environment and FINN itself pin."""

import re
import subprocess
import sysconfig
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from finn.interface import manage_deps

from finn_build.boards import BOARDS
from finn_build.docker_build import INPUTS, REPOSITORY

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
    assert "pip install --no-cache-dir --no-deps -r /opt/requirements.lock" in code
    assert "requirements.lock" in INPUTS and "finn-plus" not in code
    installed = re.findall(r"\b([\w-]+)==([\w.]+)", code)
    assert installed == [("pybind11", "3.0.1")], "what the lock lacks, at the version that FINN names"
    assert any(re.fullmatch(r"pybind11 \(?==3\.0\.1\)?", line) for line in requires("finn-plus") or [])


def test_the_base_is_an_exact_version_and_the_user_is_not_root() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.M) == ["python:3.11.9-slim-bookworm"] * 2
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
    assert names == set(BOARDS) - brought


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
