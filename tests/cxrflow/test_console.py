import io
import shutil
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console as RichConsole

from cxrflow import console, summary
from cxrflow.formats import Figures
from cxrflow.report.facts import collect
from cxrflow.report.hardware import parts
from finn_build.records import Simulated
from tests.cxrflow.conftest import SIMULATED


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4 s"), (42.4, "42 s"), (99.9, "100 s"), (100, "2 min"), (3900, "1 h 5 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


def test_without_a_terminal_long_work_says_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with console.Console().progress("training, epoch") as progress:
        for epoch in range(50, 101):  # resumed at 50
            progress(epoch, 100)
            now[0] += 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  training, epoch: 58 of 100, about 84 s left"
    assert len(lines) == 6


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Console().progress("decoding") as progress:
        for i in range(1000):
            progress(i + 1, 1000)
    assert capsys.readouterr().err == ""


def test_markup_in_a_file_name_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.Console().error("[red]x[/nope] :warning: " + "long " * 100)
    assert capsys.readouterr().err == "error: [red]x[/nope] :warning: " + "long " * 100 + "\n"


@pytest.mark.parametrize("width", [40, 80, 10_000])
def test_tables_never_cut_a_name_or_a_number_off(width: int, finished: Any) -> None:
    out = io.StringIO()
    screen = RichConsole(file=out, width=width)
    facts = collect(finished.run)
    assert facts.metrics is not None
    results = [{"file": "a" * 90 + "[b].png", "logit": -123456, "probability": 0.25, "class": "NORMAL"}]
    for table in (summary.hardware_table(facts), summary.chain_table(facts), summary.metrics_table(facts.metrics)):
        screen.print(table)
    screen.print(summary.infer_table(results, device="cpu"))
    text = out.getvalue()
    assert "…" not in text
    folded = "".join(text.split())
    for piece in ("-123456", "0.2500", "sensitivity", "brevitas_float64"):
        assert piece in folded
    if width >= 80:
        assert "Requantizer_rtl_0" in text and "brevitas_float64" in text


def test_a_unit_in_a_heading_is_no_markup() -> None:
    """Rich takes [us] for a style, and shows nothing of it; a class may be called [bold], too."""
    out = io.StringIO()
    headings = ("says [bold]x", "first logit [us] (bound)", "[/]\n[ms]")
    table = summary.figures_table(Figures(headings, [("[red]", "8.2", "1")], [], text=headings[:1]))
    RichConsole(file=out, width=10_000).print(table)
    assert all(word in out.getvalue() for heading in (*headings, "[red]") for word in heading.split())


def test_the_star_stands_where_the_report_has_its_badge_and_its_100_percent(finished: Any) -> None:
    facts = collect(finished.run)
    assert facts.estimates is not None
    slowest = max(facts.estimates.layers, key=lambda layer: layer.cycles).name
    layers = [{"name": known.name, "waits_for_input": 0.5, "waits_for_output": 0.0} for known in facts.estimates.layers]
    sim = Simulated.model_validate({**SIMULATED, "layers": layers, "slowest": [slowest]})
    facts = replace(facts, simulated=sim)
    out = io.StringIO()
    RichConsole(file=out, width=10_000).print(summary.hardware_table(facts))
    rows = [line.split() for line in out.getvalue().splitlines()]
    assert [(row[0], row[-3]) for row in rows if row[1:2] == ["*"]] == [(slowest, "100")]
    assert [(part.name, part.cycles_share) for part in parts(facts) if part.slowest] == [(slowest, 1.0)]


def test_a_summary_of_nothing_is_nothing(finished: Any) -> None:
    for folder in ("build", "deploy"):
        shutil.rmtree(finished.run / folder)
    facts = collect(finished.run)
    assert [summary.hardware_table(facts), summary.synth_table(facts), summary.vivado_table(facts)] == [None] * 3
    assert [link.stage for link in facts.chain] == ["brevitas_float64", "qonnx_float64"]
