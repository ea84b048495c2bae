import importlib
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from cxrflow import doctor


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but stand-ins for the required programs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("g++", "make", "perl"):
        add_program(folder, name)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def add_program(folder: Path, name: str, script: str = "") -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_everything_required_is_there(bare: Any, programs: Path) -> None:
    outcome = bare("doctor")
    assert outcome.code == 0 and outcome.err == ""
    assert str(programs / "g++") in outcome.out and "…" not in outcome.out


@pytest.mark.parametrize("name", ["g++", "make", "perl"])
def test_a_missing_required_program_is_exit_code_1(name: str, bare: Any, programs: Path) -> None:
    (programs / name).unlink()
    outcome = bare("doctor")
    line = next(line for line in outcome.out.splitlines() if line.split()[:1] == [name])
    assert outcome.code == 1 and "MISSING" in line and f"apt-get install {name}" in line


def test_a_missing_package_names_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "finn-plus":
            raise PackageNotFoundError
        return "1"

    monkeypatch.setattr(doctor, "version", version)
    missing = [finding for finding in doctor.examine() if finding.required and finding.found is None]
    assert [(finding.name, finding.remedy) for finding in missing] == [("finn-plus", "make install")]


@pytest.mark.parametrize(
    ("script", "found"), [("echo Some GPU", "Some GPU"), ("exit 9", None), ("true", None), ("kill -9 $$", None)]
)
def test_a_broken_gpu_driver_is_no_gpu(script: str, found: str | None, programs: Path) -> None:
    add_program(programs, "nvidia-smi", script)
    assert next(finding for finding in doctor.examine() if finding.name == "GPU").found == found


@pytest.mark.parametrize(
    ("words", "importers", "package", "extra"),
    [
        ("sweep show runs/x", ["cxrflow.sweep.command", "cxrflow.sweep.drive"], "ray", "sweep"),
        ("sensitivity x", ["cxrflow.sensitivity.command", "cxrflow.sweep.drive"], "ray", "sweep"),
        ("serve", ["cxrflow.serve.start"], "uvicorn", "serve"),
    ],
)
def test_a_package_of_an_extra_that_is_missing_is_named_with_the_extra(
    words: str, importers: list[str], package: str, extra: str, bare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in importers:
        room, _, module = name.rpartition(".")
        monkeypatch.delitem(sys.modules, name, raising=False)  # another test may have imported it
        monkeypatch.delattr(importlib.import_module(room), module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    outcome = bare(*words.split())
    assert outcome.code == 2 and f"packages are missing ({package}" in outcome.err
    assert f"pip install cxrflow[{extra}]" in outcome.err
