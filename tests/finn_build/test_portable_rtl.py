"""Every edit fits the installed finn-rtllib; an edit that does not fit is an error."""

from pathlib import Path

import pytest

from contract.errors import ToolError
from finn_build.finn_session import finn_session
from finn_build.portable_rtl import EDITS, portable

FILES = sorted({edit.file for edit in EDITS})


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with finn_session(tmp_path_factory.mktemp("finn")):
        from finn.util.settings import get_settings

        return Path(get_settings().finn_rtllib)


def source(library: Path, file: str) -> str:
    (path,) = library.rglob(file)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES)
def test_every_edit_applies_to_the_installed_library(library: Path, file: str) -> None:
    text = source(library, file)
    edited = portable(file, text)
    for edit in EDITS:
        if edit.file == file:
            assert edit.old in text and edit.new in edited and edit.why
    assert len(edited.splitlines()) <= len(text.splitlines()) + 3


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.file)
def test_a_missing_or_repeated_text_is_an_error(library: Path, edit: object) -> None:
    file, old = edit.file, edit.old  # type: ignore[attr-defined]
    text = source(library, file)
    with pytest.raises(ToolError, match=rf"{file} holds the text of an edit 0 times, expected once"):
        portable(file, text.replace(old, "\n"))
    with pytest.raises(ToolError, match=rf"{file} holds the text of an edit 2 times, expected once"):
        portable(file, text + old)


def test_other_files_stay_as_they_are() -> None:
    assert portable("axilite.sv", "`default_nettype none\n") == "`default_nettype none\n"
