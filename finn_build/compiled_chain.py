"""The chain of `timing.py`, compiled: the same models a hundred times as fast, for images of many thousand cycles.

The methods of a `Part` are plain arithmetic on integers, so they are written as C++ as they stand, and compiled once
per process, where there is a compiler. Whoever writes a model writes it once, in Python.
"""

import ast
import atexit
import contextlib
import ctypes
import inspect
import os
import shutil
import textwrap
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from contract.scratch import scratch
from finn_build import child
from finn_build.timing import Chain, Part

Shape = tuple[type[Part], tuple[str, ...], tuple[str, ...]]  # a class, and its attributes: numbers, lists of numbers
METHODS = {
    "ready": ("bool", ("sink",)),
    "valid": ("bool", ()),
    "step": ("void", ("taken", "given")),
    "quiet": ("i64", ()),
    "skip": ("void", ("cycles",)),
}
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.LShift: "<<", ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|",
    ast.BitXor: "^", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.And: "&&", ast.Or: "||", ast.Not: "!", ast.USub: "-", ast.Invert: "~",
}  # fmt: skip


def interval(chain: Chain, slowest: int | None, patience: int) -> Fraction:
    """Return what `Chain.interval` does, compiled if that can be. Call it on a new chain."""
    shapes = [shape(part) for part in chain.parts]
    kinds = tuple(sorted(set(shapes), key=lambda kind: kind[0].__qualname__))
    library = _library(kinds)
    if library is None:
        return chain.interval(slowest, patience)
    places = _array([kinds.index(shape) for shape in shapes])
    numbers = _pointers([_array([getattr(p, name) for name in s[1]]) for p, s in zip(chain.parts, shapes, strict=True)])
    lists = _pointers(
        [_pointers([_array(getattr(p, name)) for name in s[2]]) for p, s in zip(chain.parts, shapes, strict=True)]
    )
    found = (ctypes.c_int64 * 2)()
    sizes = [
        ctypes.c_int64(value) for value in (len(shapes), chain.results, -1 if slowest is None else slowest, patience)
    ]
    if not library(sizes[0], places, numbers, lists, *sizes[1:], found):
        raise AssertionError("the chain stops")
    return Fraction(found[0] * chain.results, found[1])


def shape(part: Part) -> Shape:
    """Return what the C++ of a part follows from."""
    names = sorted(vars(part))
    lists = tuple(name for name in names if isinstance(getattr(part, name), list))
    return type(part), tuple(name for name in names if name not in lists), lists


def _array(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * max(1, len(values)))(*values)


def _pointers(arrays: Sequence[Any]) -> Any:
    found = (ctypes.c_void_p * max(1, len(arrays)))(*(ctypes.addressof(array) for array in arrays))
    found.kept = list(arrays)  # type: ignore[attr-defined]  # as long as they are pointed to
    return found


@cache
def _library(shapes: tuple[Shape, ...]) -> Callable[..., int] | None:
    """Return the function of chain.cpp for such parts; None: there is no compiler, or a part that is not arithmetic."""
    if shutil.which("g++") is None:
        return None
    kept = contextlib.ExitStack()
    atexit.register(kept.close)
    folder = kept.enter_context(scratch("chain"))
    try:
        text = parts(shapes)
    except NotImplementedError:  # a model says more than plain arithmetic does
        return None
    (folder / "parts.h").write_text(text, encoding="ascii")
    source = Path(str(resources.files("finn_build") / "chain.cpp"))
    flags = ("-std=c++17", "-O1", "-shared", "-fPIC", f"-I{folder}")
    done = child.run(
        ["g++", *flags, "-o", "chain.so", str(source)], cwd=folder, env={**os.environ, "TMPDIR": str(folder)}
    )
    assert not done.returncode, f"g++ refused the models of the handshakes: {done.stderr[:2000]}"
    return ctypes.CDLL(str(folder / "chain.so")).interval  # type: ignore[no-any-return]


def parts(shapes: Sequence[Shape]) -> str:
    """Return the C++ of such parts, and of what makes one by its place among them."""
    made = "".join(f"    if (kind == {i}) return std::make_unique<Part{i}>();\n" for i in range(len(shapes)))
    return (
        "".join(_Class(i, *shape).text() for i, shape in enumerate(shapes))
        + f"static std::unique_ptr<Part> make(i64 kind) {{\n{made}    return nullptr;\n}}\n"
    )


class _Class:
    """One class of parts, as C++."""

    def __init__(self, number: int, kind: type[Part], numbers: tuple[str, ...], lists: tuple[str, ...]) -> None:
        self.number, self.kind, self.numbers, self.lists = number, kind, numbers, lists

    def text(self) -> str:
        """Return its definition."""
        helpers = {name: ("i64", ()) for name in self._helpers()}
        methods = [self._method(name, *kind) for name, kind in {**helpers, **METHODS}.items() if self._own(name)]
        lines = [
            *(f"i64 {name} = 0;" for name in self.numbers),
            *(f"const i64* {name} = nullptr;" for name in self.lists),
            "void load(const i64* n, const i64* const* l) override {",
            *(f"    {name} = n[{i}];" for i, name in enumerate(self.numbers)),
            *(f"    {name} = l[{i}];" for i, name in enumerate(self.lists)),
            "    (void)n, (void)l;",
            "}",
            f"void save(std::vector<i64>& s) const override {{ s.insert(s.end(), {{{', '.join(self.numbers)}}}); }}",
            *methods,
        ]
        body = textwrap.indent("\n".join(lines), "    ")
        return f"// {self.kind.__qualname__}\nstruct Part{self.number} final : Part {{\n{body}\n}};\n"

    def _own(self, name: str) -> bool:
        return getattr(self.kind, name) is not getattr(Part, name, None)

    def _helpers(self) -> list[str]:
        """Return the methods that others call."""
        known = {*METHODS, "state"}
        return [name for name in dir(self.kind) if name[:2] != "__" and name not in known and self._called(name)]

    def _called(self, name: str) -> bool:
        return inspect.isfunction(getattr(self.kind, name)) and not hasattr(Part, name)

    def _method(self, name: str, result: str, arguments: tuple[str, ...]) -> str:
        function = getattr(self.kind, name)
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        assert isinstance(definition, ast.FunctionDef)
        names = tuple(a.arg for a in definition.args.args[1:])
        arguments = names if arguments else arguments
        self.globals, self.leave = function.__globals__, "return;" if result == "void" else "return 0;"
        places = {n.id for n in ast.walk(definition) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        made = "".join(f"    i64 {local} = 0;\n" for local in sorted(places - set(names)))
        body = textwrap.indent("\n".join(map(self._statement, definition.body)), "    ")
        override = " override" if name in METHODS else ""
        end = "" if result == "void" or name in METHODS else "\n    return 0;"
        return f"{result} {name}({', '.join(f'i64 {a}' for a in arguments)}){override} {{\n{made}{body}{end}\n}}"

    def _statement(self, node: ast.stmt) -> str:
        match node:
            case ast.Expr(ast.Constant()) | ast.Pass():
                return ""
            case ast.Expr(value):
                return f"{self._value(value)};"
            case ast.Return(None):
                return self.leave
            case ast.Return(value) if value is not None:
                return f"return {self._value(value)};"
            case ast.Assign([ast.Tuple(targets)], ast.Tuple(values)):  # all are computed before any is set
                kept = "".join(f"const i64 t{i} = {self._value(v)}; " for i, v in enumerate(values))
                return f"{{ {kept}{' '.join(f'{self._value(t)} = t{i};' for i, t in enumerate(targets))} }}"
            case ast.Assign(targets, value):
                return f"{' = '.join(map(self._value, targets))} = {self._value(value)};"
            case ast.AugAssign(target, op, value):
                return f"{self._value(target)} {OPERATORS[type(op)]}= {self._value(value)};"
            case ast.If(test, body, orelse):
                then, other = ("\n".join(map(self._statement, part)) for part in (body, orelse))
                return f"if ({self._value(test)}) {{\n{textwrap.indent(then, '    ')}\n}} else {{\n{other}\n}}"
        raise NotImplementedError(f"{self.kind.__qualname__}: {ast.unparse(node)}")

    def _value(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(bool(value) | int(value)):
                return str(int(value))
            case ast.Attribute(ast.Name("self"), name):
                return f"this->{name}"
            case ast.Name(name):
                known = self.globals.get(name)
                return f"i64({known})" if isinstance(known, int) else name
            case ast.Subscript(value, index):
                return f"{self._value(value)}[{self._value(index)}]"
            case ast.BinOp(left, ast.FloorDiv() | ast.Mod() as op, right):  # which C++ rounds to 0
                return f"{type(op).__name__}({self._value(left)}, {self._value(right)})"
            case ast.BinOp(left, op, right):
                return f"({self._value(left)} {OPERATORS[type(op)]} {self._value(right)})"
            case ast.UnaryOp(op, value):
                return f"({OPERATORS[type(op)]}{self._value(value)})"
            case ast.BoolOp(op, values):
                return f"({f' {OPERATORS[type(op)]} '.join(map(self._value, values))})"
            case ast.Compare(first, ops, others):
                sides = [self._value(value) for value in (first, *others)]
                pairs = zip(pairwise(sides), ops, strict=True)
                return f"({' && '.join(f'({a} {OPERATORS[type(op)]} {b})' for (a, b), op in pairs)})"
            case ast.IfExp(test, body, orelse):
                return f"({self._value(test)} ? i64({self._value(body)}) : i64({self._value(orelse)}))"
            case ast.Call(ast.Name("bool" | "int"), [value]):
                return f"({self._value(value)})" if node.func.id == "int" else f"({self._value(value)} != 0)"  # type: ignore[attr-defined]
            case ast.Call(ast.Attribute(ast.Name("self"), name), values):
                return f"this->{name}({', '.join(map(self._value, values))})"
        raise NotImplementedError(f"{self.kind.__qualname__}: {ast.unparse(node)}")
