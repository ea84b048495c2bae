"""A tiny run, made once, and two ways to call the command line."""

import contextlib
import functools
import io
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import typer.main
import yaml
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from PIL import Image

from cxrflow import cli
from cxrflow.report.draw import Plot
from cxrflow.runs import matching, read_stamp
from cxrflow.stage_table import STAGES
from tests import compiled, once

REPOSITORY = Path(__file__).parents[2]
TINY = {
    "name": "tiny",
    "data": {"source": "xrays"},
    "network": {"height": 8, "width": 8, "hidden": [8], "weight_bits": 4, "act_bits": 4},
    "train": {"epochs": 3, "batch_size": 16},
    "build": {"board": "pynq-z2", "target_fps": 100000},
}
THREE = ("NORMAL", "BACTERIA", "VIRUS")
SIMULATED = {  # what sim.json holds, with made-up figures
    "images": 16, "differing": 0, "images_with_random_stalls": 16, "clock_mhz": 100.0, "cycles": 1100,
    "initiation_interval": 64.0, "estimated_interval": 64, "images_per_s": 1.5e6, "first_latency_cycles": 77,
    "first_latency_us": 0.77, "simulation_seconds": 0.01, "simulated_cycles_per_s": 1e5, "slowest": ["MVAU_rtl_0"],
    "layers": [{"name": "MVAU_rtl_0", "waits_for_input": 0.5, "waits_for_output": 0.0}], "fifos": [],
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What one call of the command line gave."""

    code: int
    out: str
    err: str

    def assert_refused(self, *words: str, code: int = 2) -> None:
        """One sentence on standard error that holds all `words`, no traceback, the right exit code."""
        assert self.code == code, (self.code, self.err)
        assert "Traceback" not in self.err and "…" not in self.err
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, self.err
        assert errors[0].endswith((".", "?")), errors
        for word in words:
            assert word in errors[0], (word, errors[0])


@dataclass(frozen=True)
class Place:
    """A folder with X-rays, an experiment file and perhaps a run, and the command line called from there."""

    folder: Path

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "runs" / "tiny"

    def experiment(self, name: str = "tiny.yaml", **changes: dict[str, Any]) -> str:
        """Write an experiment file with changed sections; return its name."""
        content: dict[str, Any] = {key: dict(part) if isinstance(part, dict) else part for key, part in TINY.items()}
        for section, values in changes.items():
            content[section] |= values
        (self.folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
        return name

    def __call__(self, *args: str | Path) -> Outcome:
        """Call the command line in this process: importing PyTorch again and again would take minutes."""
        out, err = io.StringIO(), io.StringIO()
        code: Any = 0
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(sys, "argv", ["cxrflow", *map(str, args)]),
        ):
            try:
                cli.main()
            except SystemExit as stop:
                code = stop.code
        return Outcome(code or 0, out.getvalue(), err.getvalue())

    def start(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        simulates: bool = False,
        draws: bool = True,
        **options: Any,
    ) -> "subprocess.Popen[str]":
        """Start the real thing in its own process, for what happens to processes.

        With `simulates`, it finds Verilator's code compiled; without `draws`, its pictures are composed and not drawn.
        """
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})}
        program = ["-m", "cxrflow.cli"]
        before = compiled.for_simulators_of_a_process() if simulates else ""
        before += "" if draws else "from matplotlib.figure import Figure\nFigure.savefig = lambda *_, **__: None\n"
        if before:
            program = ["-c", f"{before}from cxrflow.cli import main\nmain()\n"]
        command = [sys.executable, *program, *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True, **options
        )


def draw_xrays(root: Path, *, train: int = 24, test: int = 8, seed: int = 0) -> None:
    """Write a release folder of 16 x 16 noise; pneumonia has a bright square."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("test", test)):
        for label, class_name in enumerate(("NORMAL", "PNEUMONIA")):
            folder = root / split / class_name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 120, (16, 16)).astype(np.uint8)
                pixels[4:10, 4:10] += 100 * label
                name = f"person{split}{i}_bacteria_{i}.png" if label else f"IM-{split}{i:04d}-0001.png"
                Image.fromarray(pixels).save(folder / name)


def draw_three(root: Path) -> None:
    """Write a release folder of 16 x 16 noise: bacteria have a bright square, viruses bright rows."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 8)):
        for kind in THREE:
            folder = root / split / ("NORMAL" if kind == "NORMAL" else "PNEUMONIA")
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = rng.integers(0, 110, (16, 16)).astype(np.uint8)
                if kind == "BACTERIA":
                    pixels[4:10, 4:10] += 110
                elif kind == "VIRUS":
                    pixels[12:] += 80
                number = i + 100 * THREE.index(kind)
                name = f"IM-{split}{i:04d}-0001" if kind == "NORMAL" else f"person{number}_{kind.lower()}_{number}"
                Image.fromarray(pixels).save(folder / f"{name}.png")


def reads_of(run: Path, stage: str) -> dict[str, str]:
    """What a stage's stamp says that it read, if it had been made from what lies in the run now."""
    found = dict[str, str]()
    for before, patterns in STAGES[stage].reads.items():
        folder = STAGES[before].place(run, "pynq-z2")
        stamp = read_stamp(folder)
        found |= {} if stamp is None else matching(stamp, f"{folder.relative_to(run)}/", patterns)
    return found


def call_all(place: Place, commands: Sequence[str]) -> None:
    for command in commands:
        outcome = place(command, "tiny.yaml")
        assert outcome.code == 0, outcome.err


_DRAWN = dict[bytes, Any]()


@pytest.fixture
def _drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw plots of equal content once, for tests that make hundreds of pages: Matplotlib takes most of their time."""
    draw = vars(Plot)["svg"].fget

    def svg(plot: Plot) -> Any:
        content = pickle.dumps(plot)
        if content not in _DRAWN:
            _DRAWN[content] = draw(plot)
        return _DRAWN[content]

    monkeypatch.setattr(Plot, "svg", property(svg))


@pytest.fixture(scope="session", autouse=True)
def _commands_made_once() -> Iterator[None]:
    """Let Typer make its commands of our functions once: it would for every call, which takes longer than many do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


_PICTURES = dict[Any, bytes]()


@pytest.fixture(scope="session", autouse=True)
def _pictures_of_a_kind_drawn_once() -> Iterator[None]:
    """Draw pictures that differ in their numbers only once: drawing those of a training takes longer than it.

    Every picture is composed; Matplotlib draws what has other words or parts than those before. tests/qnn draws all.
    """
    draw = Figure.savefig

    def savefig(self: Figure, fname: Any, **options: Any) -> None:
        if not isinstance(fname, Path):
            return draw(self, fname, **options)
        parts = [part for axes in self.axes for part in axes.get_children()]
        words = {part.get_text() for part in (*self.texts, *parts) if isinstance(part, Text)}
        words |= {word for axes in self.axes for word in (axes.get_xlabel(), axes.get_ylabel())}
        words |= {text.get_text() for part in parts if isinstance(part, Legend) for text in part.get_texts()}
        said = frozenset(re.sub(r"[\d.]+", "0", word) for word in words)
        kind = (options.get("format", fname.suffix), tuple(self.get_size_inches()), said, frozenset(map(type, parts)))
        if kind not in _PICTURES:
            draw(self, fname, **options)
            _PICTURES[kind] = fname.read_bytes()
        fname.write_bytes(_PICTURES[kind])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield


@pytest.fixture
def bare(tmp_path: Path) -> Place:
    """X-rays and an experiment, nothing run yet."""
    place = Place(tmp_path)
    draw_xrays(tmp_path / "xrays")
    place.experiment()
    return place


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    def make(folder: Path) -> None:
        draw_xrays(folder / "xrays")
        place = Place(folder)
        place.experiment(data={"source": str(folder / "xrays")})
        call_all(place, ["train", "export", "build", "package"])

    return Place(once.made("finished", tmp_path_factory, make))


@pytest.fixture(scope="session")
def _verified(_finished: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that is complete."""

    def make(folder: Path) -> None:
        shutil.copytree(_finished.folder, folder, dirs_exist_ok=True)
        call_all(Place(folder), ["simulate", "package"])

    return Place(once.made("verified", tmp_path_factory, make))


@pytest.fixture
def finished(_finished: Place, tmp_path: Path) -> Place:
    """A copy, to be damaged, of a run that is complete but for the simulation."""
    shutil.copytree(_finished.folder, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path)
