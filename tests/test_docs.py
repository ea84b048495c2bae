"""What the documentation names must be there: files, subcommands and options."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from cxrflow.cli import app

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"\]\(([\w/.-]+)\)", text)  # links and pictures, relative to the page
    assert [name for name in named if not (page.parent / name).exists()] == []
    named = re.findall(r"\b(?:docs|experiments|finn_build|contract|export)/[\w/-]+\.(?:md|py|ipynb|toml|yaml)\b", text)
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_and_options_that_a_page_names_exist(page: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    code = re.findall(r"`([^`\n]+)`|^    (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in (inline or block for inline, block in code):
        found = re.match(r"(?:\.venv/bin/)?cxrflow ([a-z]+)(.*)", line)
        if found is None:
            continue
        assert found[1] in commands, line
        known = {name for command in _tree(commands[found[1]]) for o in command.params for name in o.opts}
        options = set(re.findall(r"(?<!\S)--[a-z-]+", found[2].partition("  ")[0]))
        assert options <= known, line


def _tree(command: Any) -> list[Any]:
    """Return a command and all below it."""
    return [command, *(low for sub in getattr(command, "commands", {}).values() for low in _tree(sub))]
