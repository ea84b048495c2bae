"""docs/board.md's program, copied into an empty interpreter; and what the shipped files point to.

The kind of fault: words that are true in our checkout and nowhere else. A deploy folder has no checkout around it, so
the program runs with nothing but the folder, and a message may name only what is shipped or a command of cxrflow.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from contract.npz import load_npz
from contract.preprocess import load_pixels
from cxrflow.cli import app
from cxrflow.package import copy_code, shipped_files
from tests.deploy_folder import write_deploy

REPOSITORY = Path(__file__).parents[2]
OLDEST = REPOSITORY / ".venv-oldest"  # numpy and Pillow, and nothing of ours
SHIPPED = shipped_files()
POINTERS = re.compile(
    r"\b(?:docs|tests|benchmarks|experiments|docker|finn_build|export|qnn)/[\w./-]*\w|\w*[Mm]akefile\b"
)
MAKE = re.compile(r"`make\b(?! -C c\b)[^`]*`")  # but for the folder's own, in c/
TEXTS = (".md", ".sh", ".ipynb", ".html", ".js", ".c")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere") / "pynq-z2"
    write_deploy(folder)
    copy_code(folder)
    return folder


def program() -> str:
    """Return the page's program: the block that imports the accelerator."""
    page = (REPOSITORY / "docs" / "board.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", page, flags=re.MULTILINE)
    (found,) = [block for block in blocks if "import Accelerator" in block]
    return "".join(line[4:] if line.strip() else "\n" for line in found.splitlines(keepends=True)) + "\n"


@pytest.mark.parametrize("where", ["beside", "inside"])
@pytest.mark.parametrize("how", ["pasted", "file"])
def test_the_pages_program_runs_as_it_is(folder: Path, where: str, how: str) -> None:
    if not (OLDEST / "installed").exists():
        pytest.skip(f"{OLDEST.name} is not installed: make {OLDEST.name}/installed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    python, typed = str(OLDEST / "bin" / "python"), program() + "print(sys.modules['driver'].__file__)\n"
    done = subprocess.run(
        [python, "-i", "-q"] if how == "pasted" else [python, "-c", typed],
        input=typed if how == "pasted" else "", cwd=folder.parent if where == "beside" else folder,
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and not re.search("Error|Traceback", done.stderr), done.stderr
    printed = re.search(r"\[([-\d\s]+)\]", done.stdout)
    golden = load_npz(folder / "golden.npz")["outputs"][:3, 0]
    assert printed is not None and [int(number) for number in printed[1].split()] == golden.tolist()
    assert str(folder) in done.stdout  # its driver, and not ours


def test_the_pages_line_makes_an_image_for_c(folder: Path) -> None:
    page = (REPOSITORY / "docs" / "board.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ +(python3 -c .*)$", page, flags=re.MULTILINE)
    if not (OLDEST / "installed").exists():
        pytest.skip(f"{OLDEST.name} is not installed: make {OLDEST.name}/installed")
    Image.fromarray(np.arange(56 * 56, dtype=np.uint8).reshape(56, 56)).save(folder / "a.jpeg")
    command = line.replace("python3", str(OLDEST / "bin" / "python"), 1)
    subprocess.run(["sh", "-c", command], cwd=folder, check=True, timeout=600)
    assert (folder / "xray.raw").read_bytes() == load_pixels(folder / "a.jpeg", height=28, width=28).tobytes()


@pytest.mark.parametrize(("missing", "package"), [(("numpy", "PIL"), "numpy"), (("PIL",), "Pillow")])
def test_a_package_that_is_missing_is_named_with_the_way_to_get_it(
    folder: Path, tmp_path: Path, missing: tuple[str, ...], package: str
) -> None:
    """The kind: what the folder needs of a machine and does not bring, found by a traceback of its first import."""
    for name in missing:
        text = f"raise ModuleNotFoundError('No module named {name}', name={name!r})\n"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for name in ("cxrflow_accel.h", "c/infer"):  # as if it were compiled
        (folder / name).touch()
    for command in (
        [sys.executable, "-m", "driver", "verify"],
        [sys.executable, "-m", "driver.simulated.bridge", ".", "c/infer"],
        [sys.executable, "-m", "cxrflow.serve"],
        ["make", "-s", "-C", "c", "simulate", f"PYTHON={sys.executable}"],
    ):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        said = f"error: {package} is missing, expected "
        assert done.stderr.startswith(said) and f"-m pip install {package}`." in done.stderr


def messages(path: Path) -> Iterator[str]:
    """Yield the texts of a file that people see: of Python those that are no docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield text
        return
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            del node.body[0]
    yield from (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize("name", [name for name in SHIPPED if Path(name).suffix in (".py", *TEXTS)])
def test_no_shipped_text_points_to_what_is_not_shipped(name: str) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for text in messages(REPOSITORY / name):
        assert [found for found in POINTERS.findall(text) if found not in SHIPPED.values()] == [], text
        assert MAKE.findall(text) == [], text
        assert [found for found in re.findall(r"`cxrflow ([a-z]+)", text) if found not in commands] == [], text


def test_what_is_looked_for_is_found() -> None:
    """Else the test above could not fail."""
    assert POINTERS.findall("see docs/board.md and its Makefile") == ["docs/board.md", "Makefile"]
    assert MAKE.findall("`make bitstream`, `make -C c`") == ["`make bitstream`"]
    assert {"cxrflow/deploy/run_on_board.sh", "driver/accelerator.py"} <= set(SHIPPED)
