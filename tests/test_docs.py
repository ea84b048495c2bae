"""Every pointer of the documentation leads to the thing itself: pages, headings, files, modules, commands, options,
make targets, fields of the experiment; and where a line sends a reader elsewhere for something, that page has it.

The kind of fault: a page says 'docs/hardware.md has it', and it has not. Messages in the code are pointers, too.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cxrflow import schema
from cxrflow.cli import app

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
FOLDERS = "docs|experiments|finn_build|contract|export|cxrflow|driver|datasets|qnn|docker|benchmarks|tests"
ENDINGS = "md|py|ipynb|toml|yaml|sv|v|sh|tcl|lock"
SOURCES = [
    path
    for folder in ("benchmarks", "contract", "cxrflow", "datasets", "docker", "driver", "export", "finn_build", "qnn")
    for path in sorted((REPOSITORY / folder).rglob("*"))
    if path.suffix in (".py", ".j2", ".js", ".html", ".sh") and path.is_file()
]
COMMAND = typer.main.get_command(app)
OF_PAGES = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def code(text: str) -> list[str]:
    """What is set as code: between backticks, and lines that are indented by four, without what explains them."""
    found = re.findall(r"`([^`\n]+)`|^    (?! )(.+)$", text, flags=re.MULTILINE)
    return [inline or re.split(r"\s{2,}|\s#", block)[0] for inline, block in found]


def headings(path: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", read(path), flags=re.MULTILINE)


@OF_PAGES
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = read(page)
    named = re.findall(r"\]\(([\w/.-]+)\)", text)  # links and pictures, relative to the page
    assert [name for name in named if not (page.parent / name).exists()] == []
    named = re.findall(rf"(?<![\w/.])(?:{FOLDERS})/[\w/.-]+\.(?:{ENDINGS})\b", text)
    assert [name for name in named if not (REPOSITORY / name).exists()] == []
    modules = [name.replace(".", "/") for name in re.findall(r"\b(?:benchmarks|tests)\.[a-z]\w+", " ".join(code(text)))]
    assert [name for name in modules if not any((REPOSITORY / f"{name}{end}").exists() for end in ("", ".py"))] == []


@OF_PAGES
def test_headings_that_a_page_names_are_there(page: Path) -> None:
    text = read(page)
    anchored = [(name or page.name, part) for name, part in re.findall(r"(?:docs/([\w-]+\.md)|\]\()#([\w-]+)", text)]
    known = {
        name: {schema.anchor(heading) for heading in headings(DOCS / name)}
        for name, _ in anchored
        if (DOCS / name).is_file()
    }
    assert [pair for pair in anchored if pair[1] not in known.get(pair[0], set())] == []
    for name, heading in re.findall(r"docs/([\w-]+\.md), ([A-Z][\w ]+?)(?= \||\.|;|\)|$)", text, flags=re.MULTILINE):
        assert any(known.startswith(heading) for known in headings(DOCS / name)), (name, heading)


def test_every_page_is_reached_from_the_readme() -> None:
    pages = {path.name: path for path in PAGES}
    reached, left = {"README.md"}, {"README.md"}
    while left:
        named = {name for page in left for name in re.findall(r"\b([\w-]+\.md)\b", read(pages[page]))}
        left = named & pages.keys() - reached
        reached |= left
    assert reached == pages.keys()


def pointers(page: Path) -> Iterator[tuple[str, Path]]:
    """Yield what a line is about, and the page that it sends its reader to for that."""
    for line in read(page).splitlines():
        for found in re.finditer(r"docs/([\w-]+\.md)", line):
            clause = re.split(r"; |\. ", line[: found.start()])[-1]
            yield clause, DOCS / found[1]


@OF_PAGES
def test_a_page_has_what_others_send_for(page: Path) -> None:
    """A command or an option, beside a pointer, stands on the page that it points to."""
    for clause, target in pointers(page):
        if target == page:
            continue
        words = re.findall(
            r"cxrflow [a-z]+(?: (?:check|fetch|select|refit|show)\b)?|--[a-z][a-z-]*(?: vivado)?", clause
        )
        wanted = [word for word in words if word not in ("--data", "--runs", "--help")]
        absent = [word for word in wanted if word not in read(target)]
        assert absent == [], f"{page.name} sends for {absent} to {target.name}: {clause.strip()}"


def test_a_tool_stands_on_the_page_that_has_more_of_it() -> None:
    rows = re.findall(r"^\| (?!tool|---)(.+?) \| .+ \| ([\w-]+\.md) \|$", read(DOCS / "tools.md"), flags=re.MULTILINE)
    assert len(rows) > 20
    for tool, name in rows:
        names = re.findall(r"[A-Z][\w+-]*[\w+]", tool) or re.findall(r"\w{4,}", tool)
        text = read(DOCS / name).lower()
        assert any(word.lower() in text for word in names), f"tools.md sends for {names} to {name}"


def targets(makefile: Path = REPOSITORY / "Makefile") -> set[str]:
    return set(re.findall(r"^([a-z-]+):", read(makefile), flags=re.MULTILINE))


@OF_PAGES
def test_make_targets_that_a_page_names_exist(page: Path) -> None:
    for line in code(read(page)):
        found = re.match(r"make (?:-C (\w+))?((?: ?[a-z-]+)*)", line)
        # The folder that a page means by -C is a deploy folder's.
        place = REPOSITORY if found is None or found[1] is None else REPOSITORY / "cxrflow" / "deploy" / found[1]
        assert found is None or set(found[2].split()) <= targets(place / "Makefile"), line


@OF_PAGES
def test_commands_and_options_that_a_page_names_exist(page: Path) -> None:
    for line in code(read(page)):
        for call in re.findall(r"(?:^|[ (])(?:\.venv/bin/)?cxrflow ([a-z]+\b.*)", line):
            assert_called(call, line)


def assert_called(call: str, line: str) -> None:
    """Stop unless words behind `cxrflow` are a command's, as far as they are names of commands, and options of its."""
    command: Any = COMMAND
    for word in call.split():
        below = getattr(command, "commands", {})
        if word not in below:
            assert command is not COMMAND, line
            break
        command = below[word]
    if getattr(command, "commands", None):  # `sweep FILE` is `sweep run FILE`
        command = command.commands.get("run", command)
    known = {name for option in command.params for name in option.opts}
    assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", call)) <= known | {"--help"}, line


@OF_PAGES
def test_fields_that_a_page_names_exist(page: Path) -> None:
    root = schema.schema("experiment")
    inside = {path: set(section["properties"]) for path, section in schema.sections(root)}
    for text in code(read(page)):
        for path, name in re.findall(
            r"(?<![\w./])((?:data|network|train|model|export|build)(?:\.\w+)*)\.(\w+)(?![\w/.(])", text
        ):
            if name in ("py", "json", "md", "csv", "onnx", "yaml", "npz", "zip", "tcl", "log"):
                continue
            assert path not in inside or name in inside[path] or path == "build.budget", text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_pointers_in_messages_and_comments_lead_somewhere(path: Path) -> None:
    text = re.sub(r'"\s*\n\s*f?"', "", read(path))  # a sentence over several lines
    for name in re.findall(rf"(?<![\w/.])(?:docs|experiments)/[\w/-]+\.(?:{ENDINGS})\b", text):
        assert (REPOSITORY / name).exists(), name
    for line in re.findall(r"`([^`\n]+)`", text):
        if (found := re.match(r"cxrflow ([a-z]+\b[^{]*)", line)) is not None:
            assert_called(found[1], line)
        if (found := re.match(r"make ([a-z-]+)$", line)) is not None:
            assert found[1] in targets(), line


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
