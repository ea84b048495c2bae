"""What of our own files a stage's result depends on, and their hash: an edit anywhere else makes nothing again.

The code of a stage is the import closure of its entry modules, found by reading their text, and every other file that
one of these modules reads or copies: READS names it. Python is hashed as what it does: a comment, a docstring or a line
break is not in its hash, for no result depends on one. What is shipped as it is, byte for byte, is hashed so.
"""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import inspect
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from contract.files import hash_file, write_whole
from cxrflow.runs import REPOSITORY

ROOMS = ("contract", "cxrflow", "datasets", "driver", "export", "finn_build", "qnn")
# Files that are no Python, by the module that reads or copies them; patterns within the repository.
READS: dict[str, tuple[str, ...]] = {
    "finn_build.targets.boards": ("finn_build/targets/boards.toml",),
    "finn_build.compiled_chain": ("finn_build/chain.cpp",),
    "finn_build.gates": ("finn_build/targets/families/gate_cells.v",),
    "finn_build.ip.folder": ("finn_build/ip/templates/*",),
    "finn_build.licences": ("LICENSE",),
    "finn_build.ops.own": ("finn_build/rtl/*.sv",),
    "finn_build.simulate": ("finn_build/harness.cpp",),
    "finn_build.stitch": ("finn_build/rtl/*.sv",),
    "finn_build.flows.vivado.prepare": ("finn_build/flows/vivado/tcl/*.tcl",),
}
# Modules that a package finds in its folder, so that nobody imports them by name.
FINDS = {name: f"{name.replace('.', '/')}/*.py" for name in ("finn_build.ops", "finn_build.targets.families")}

OWN = Path(__file__).read_bytes()  # how what is kept was found


def closure(*modules: str, root: Path = REPOSITORY) -> tuple[str, ...]:
    """Return the files that `modules` import, whenever they do, and those that these read; names relative to `root`."""
    found: set[str] = set()
    left = list(modules)
    while left:
        module = left.pop()
        path = _path(module, root)
        if path is None or path in found:
            continue
        found.add(path)
        left += _python(root / path)[0]
        left += [module.rpartition(".")[0]]  # importing a.b runs a, too
        if module in FINDS:
            left += _named(str(path.relative_to(root)) for path in root.glob(FINDS[module]))
    globs = [glob for module in _named(found) for glob in READS.get(module, ())]
    read = {str(path.relative_to(root)) for glob in globs for path in root.glob(glob) if path.is_file()}
    return tuple(sorted(found | read))


@functools.cache  # a process runs the code that it began with, and a sweep asks for every trial
def code_key(*modules: str, root: Path = REPOSITORY) -> str:
    """Return the sha256 [hex] of what `modules` do: of all that is in their closure."""
    digest = hashlib.sha256()
    for name in closure(*modules, root=root):
        content = _python(root / name)[1] if name.endswith(".py") else hash_file(root / name)
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def bytes_key(*files: str, root: Path = REPOSITORY) -> str:
    """Return the sha256 [hex] of files as they are; names are relative to `root`."""
    lines = [f"{name} {hash_file(root / name)}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def function_key(function: Callable[..., object]) -> str:
    """Return the sha256 [hex] of what one function of ours does, without what it calls."""
    return _parsed(textwrap.dedent(inspect.getsource(function)).encode())[1]


@functools.cache
def _path(module: str, root: Path) -> str | None:
    """Return the file of a module of ours, or None: it is somebody else's, or no module but a name in one."""
    if module.partition(".")[0] not in ROOMS:
        return None
    stem = module.replace(".", "/")
    return next((name for name in (f"{stem}.py", f"{stem}/__init__.py") if (root / name).is_file()), None)


def _named(paths: Iterable[str]) -> Iterator[str]:
    """Yield the names of the modules in files."""
    for path in paths:
        yield path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _python(path: Path) -> tuple[tuple[str, ...], str]:
    """Return what a module imports, and the hash of what it does."""
    return _kept(path, path.read_bytes())


@functools.cache
def _kept(path: Path, source: bytes) -> tuple[tuple[str, ...], str]:
    """Return what is kept beside the bytecode for the next process, whose commands parsing would take longer than."""
    beside = Path(importlib.util.cache_from_source(path)).with_suffix(".does.json")
    of = hashlib.sha256(OWN + source).hexdigest()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not there yet, or damaged
        found = json.loads(beside.read_bytes())
        if found["of"] == of:
            return tuple(found["imports"]), str(found["does"])
    imports, does = _parsed(source)
    if not sys.dont_write_bytecode:
        with contextlib.suppress(OSError):  # a folder that is not ours
            beside.parent.mkdir(exist_ok=True)
            write_whole(beside, json.dumps({"of": of, "imports": imports, "does": does}))
    return imports, does


@functools.cache
def _parsed(source: bytes) -> tuple[tuple[str, ...], str]:
    """Return what Python imports, and the hash of what it does."""
    tree = ast.parse(source)
    imports = tuple(_imports(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return imports, hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _imports(node: ast.AST) -> Iterator[str]:
    """Yield every name that may be a module, wherever it is imported; what is for type checkers is not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0 and child.module is not None  # we import by full names
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        else:
            yield from _imports(child)
