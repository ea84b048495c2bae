"""What the documentation names must be there: files, subcommands and options."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

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


def test_the_recipes_for_ci_are_yaml_whose_commands_and_files_exist() -> None:
    text = (REPOSITORY / "docs" / "ci.md").read_text(encoding="utf-8")
    github, gitlab = (
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    )
    steps = github["jobs"]["verify"]["steps"]
    scripts = [[step["run"] for step in steps if "run" in step], gitlab["verify"]["script"]]
    assert scripts[0] == scripts[1]
    command = typer.main.get_command(app)
    called = [line for script in scripts for line in script if "bin/cxrflow" in line]
    assert len(called) == 6
    for line in called:
        name, *args = shlex.split(line.partition("bin/cxrflow ")[2].partition("&&")[0])
        command.commands[name].make_context(name, args)  # type: ignore[attr-defined]  # parses, and does nothing
        for file in re.findall(r"experiments/[\w-]+\.yaml", line):
            assert (REPOSITORY / file).is_file()
    pinned = re.findall(
        r"'([\w.-]+)'", next(s["with"]["key"] for s in steps if s.get("with", {}).get("path") == ".venv")
    )
    assert pinned == gitlab["verify"]["cache"][0]["key"]["files"] and all((REPOSITORY / f).is_file() for f in pinned)
    kept = next(step["with"]["path"].split() for step in steps if "upload-artifact" in step.get("uses", ""))
    assert [name.rstrip("/") for name in kept] == gitlab["verify"]["artifacts"]["paths"]
    assert gitlab["verify"]["artifacts"]["reports"]["junit"] == "verify.xml" and "--junit verify.xml" in scripts[1][-1]


def _tree(command: Any) -> list[Any]:
    """Return a command and all below it."""
    return [command, *(low for sub in getattr(command, "commands", {}).values() for low in _tree(sub))]
