"""The places of the code that ask numpy for 64 bits by name, and copies of the code in which one of them does not.

Each is taken back in two ways: for numpy's default integer, and for no type at all, where numpy chooses by the values:
a sum of bytes is unsigned, a large integer has 64 bits.
"""

import ast
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrflow.package import CODE as SHIPPED
from tests.board.emulated import ROOT

CODE = ("contract", "driver")  # what TEST needs
TEST = "tests/driver/test_wide_integers.py"
NEEDED = ("pyproject.toml", TEST, "tests/deploy_folder.py", "tests/integer_networks.py")
# Where 32 bits would do; the line says so.
NARROW = {
    "return ((510 * np.arange(top + 1, dtype=np.int64) + top) // (2 * top)).astype(np.uint8)": "top < 2**16",
    "value |= raw[:, i].astype(np.int64) << (8 * i)": "three bytes at most, into an array of 64 bits",
    "gray = scaled[np.clip((2 * x + unit) // (2 * unit) - first, 0, len(entries) - 1).astype(np.int64)]": "an index",
    "return np.asarray(np.clip((510 * (x - lo) + (hi - lo)) // (2 * (hi - lo)), 0, 255), dtype=np.int64)": "a gray",
    "chosen = order[np.linspace(0, len(order) - 1, min(EXAMPLES, len(order))).astype(np.int64)]": "golden images",
    "numbers = np.unique(np.linspace(1, beats - 1, min(MAX_CUTS, beats - 1)).astype(np.int64))": "beats of an image",
}


@dataclass(frozen=True)
class Place:
    """One `np.int64` that is computed with."""

    file: str  # below the repository
    line: int
    column: int
    text: str  # the line
    new: str  # the line without it

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}:{'default' if 'np.int_' in self.new else 'removed'}"


def places() -> list[Place]:
    """All of them that a deploy folder has, but what NARROW names and what only annotates; once for each way."""
    found: list[Place] = []
    for path in _files():
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in _computed(ast.parse(text)):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "np.int64":
                file, line = str(path.relative_to(ROOT)), lines[node.lineno - 1]
                ways = _without(line[: node.col_offset], line[node.col_offset + len("np.int64") :])
                found += [Place(file, node.lineno, node.col_offset, line.strip(), new) for new in ways]
    return [place for place in found if place.text not in NARROW]


def _without(before: str, after: str) -> Iterator[str]:
    """Yield the line with numpy's default integer, and with no type where numpy then chooses one for integers."""
    yield f"{before}np.int_{after}"
    if before.endswith(", dtype=") and not re.search(r"np\.(empty|zeros)\(", before):  # without a type they are floats
        yield before.removesuffix(", dtype=") + after
    if before.endswith(".astype("):
        yield before.removesuffix(".astype(") + after[1:]


def _files() -> list[Path]:
    return sorted(path for pattern in SHIPPED for path in ROOT.glob(pattern) if path.suffix == ".py")


def unused_excuses() -> set[str]:
    """What NARROW names though no line reads so any more."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in _files())
    return {line for line in NARROW if line not in text}


def write_mutant(place: Place, out: Path) -> None:
    """Copy the code to the new folder `out`, with one place taken back."""
    for folder in CODE:
        shutil.copytree(ROOT / folder, out / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in NEEDED:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, out / name)
    path = out / place.file
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    line = lines[place.line - 1]
    assert line[place.column :].startswith("np.int64")
    lines[place.line - 1] = place.new + "\n"
    path.write_text("".join(lines), encoding="utf-8")


def _computed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node but annotations and arguments of types, such as NDArray[np.int64]."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns") or (name == "slice" and ast.unparse(value) == "np.int64"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _computed(child)
