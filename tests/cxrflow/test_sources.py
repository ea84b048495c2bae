"""A figure carries its source wherever it is shown, and the best is marked among likes only.

The kind of fault: one face shows FINN's estimate where another one shows ours or Yosys' count, unmarked. Here every
source of one run says numbers that no other says, so a number in any face tells where it came from.
"""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from contract.files import hash_file
from contract.record import Link
from cxrflow import summary
from cxrflow.report import compare
from cxrflow.report.facts import collect, equality_of
from cxrflow.report.view import chain_rows
from cxrflow.runs import read_stamp
from cxrflow.stage_table import STAGES
from cxrflow.sweep.spec import Point
from cxrflow.sweep.trial import Trial
from finn_build.resources import FINN, FORMULAS, SOURCES, TITLES, VIVADO, YOSYS, Source, of_source
from finn_build.targets.boards import BOARDS
from tests.cxrflow.conftest import SIMULATED, Place, reads_of

BUILD = "build/pynq-z2"
FIRST = {FINN: 1_100_001, FORMULAS: 2_200_001, YOSYS: 3_300_001, VIVADO: 4_400_001}  # of the numbers of each source


def source_of(number: int) -> Source | None:
    return next((source for source, first in FIRST.items() if first <= number < first + 100_000), None)


def numbers(text: str) -> list[int]:
    """All whole numbers of more than a million in a text, however they are written."""
    words = re.findall(r"(?<![\d.,])(?:\d{1,3}(?:,\d{3})+|\d{7})(?![\d.%])", text)
    found = [int(word.replace(",", "")) for word in words]
    return [number for number in found if source_of(number) is not None]


def restamp(stage: Path, key: str = "", **inputs: Any) -> None:
    """Make stage.json agree with what is in the folder."""
    known = read_stamp(stage)
    files = {
        str(p.relative_to(stage)): hash_file(p) for p in stage.rglob("*") if p.is_file() and p.name != "stage.json"
    }
    stamp = {"key": key, "inputs": inputs, "experiment": {}} if known is None else vars(known)
    (stage / "stage.json").write_text(json.dumps(stamp | {"files": files}), encoding="utf-8")


@pytest.fixture
def forged(finished: Place) -> Place:
    """A run that FINN, our formulas, Yosys and Vivado have spoken about, each with numbers of its own."""
    say: dict[Source, Iterator[int]] = {source: count(first) for source, first in FIRST.items()}
    build = finished.run / BUILD
    estimates = json.loads((build / "estimates.json").read_text(encoding="utf-8"))
    formulas = estimates["formulas"]
    for layer in (estimates["total"], *estimates["layers"]):
        layer |= {name: float(next(say[FINN])) for name in ("LUT", "BRAM_18K", "DSP")}
    for layer in (formulas["total"], *formulas["layers"]):
        layer |= {name: next(say[FORMULAS]) for name in ("lut", "ff", "bram18", "dsp")}
    (build / "estimates.json").write_text(json.dumps(estimates), encoding="utf-8")
    restamp(build)
    names = [layer["name"] for layer in formulas["layers"]]

    def yosys() -> dict[str, int]:
        counted = {name: next(say[YOSYS]) for name in ("lut", "ff", "dsp", "bram18_equivalents")}
        return counted | {"lutram": 1, "srl": 2, "carry": 3, "bram36": 4}

    def vivado() -> dict[str, int]:
        return {name: next(say[VIVADO]) for name in ("LUT", "FF", "BRAM_18K", "DSP")}

    parts = {"lut": 53_200, "ff": 106_400, "bram18": 280, "dsp": 220}
    synthesis = {
        "tool": "yosys", "version": "0", "kind": "synthesis", "part": "x", "board": parts, "usable": parts,
        "layers": [{"name": name, **yosys()} for name in names], "total": yosys(),
    }  # fmt: skip
    routed = {
        "vivado": "2024.1", "clock_mhz": 100.0, "wns_ns": 1.0, "whs_ns": 0.1, "fmax_mhz": 110.0,
        "power": {"total_w": 1.5}, "above_budget": [], "layers": [{"name": names[0], **vivado()}], "used": vivado(),
        "accelerator": vivado(),
    }  # fmt: skip
    for stage, file, content in (
        ("synth", "synth.json", synthesis), ("synth_vivado", "synth.json", routed), ("simulate", "sim.json", SIMULATED)
    ):  # fmt: skip
        folder = STAGES[stage].place(finished.run, "pynq-z2")
        folder.mkdir(parents=True)
        if stage == "simulate":
            (folder / "harness").write_text("")
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
        restamp(folder, reads=reads_of(finished.run, stage))
    return finished


def test_every_number_is_one_of_the_runs_sourced_figures(forged: Place) -> None:
    facts = collect(forged.run)
    known = {
        number: one.source
        for one in facts.resources
        for amounts in (one.total, *one.nodes.values())
        for number in amounts.values()
    }
    assert {one.source for one in facts.resources} == {FORMULAS, YOSYS, VIVADO}  # ours is the one estimate
    assert forged("ip", "tiny.yaml").code == 0
    assert forged("report", "tiny").code == 0 and forged("compare", "tiny", "tiny").code == 0
    tables = (summary.hardware_table(facts), summary.synth_table(facts), summary.vivado_table(facts))
    trial = Trial(Point(()), facts.experiment, forged.run.parent, "")
    assert facts.estimates is not None
    faces = {
        "console": rendered(tables),
        "results": forged("results").out,
        "compare": forged("compare", "tiny", "tiny").out,
        "comparison": (forged.run.parent / "compare.html").read_text(encoding="utf-8"),
        "report": (forged.run / "report.html").read_text(encoding="utf-8"),
        "datasheet": (forged.run / "ip" / "pynq-z2" / "datasheet.md").read_text(encoding="utf-8"),
        "sweep": str(trial.hardware(facts.estimates)),
    }
    for face, text in faces.items():
        text = re.sub(r'<svg viewBox="0 0 380 290".*?</svg>', "", text, flags=re.DOTALL)  # what an axis is marked with
        shown = numbers(text)
        assert shown and [number for number in shown if number not in known] == [], face
        for source in {known[number] for number in shown} - ({FORMULAS} if face == "sweep" else set()):
            assert source.name in text, (face, source.name)
    assert set(numbers(faces["report"])) == {n for n, source in known.items()}  # nothing is kept back


def rendered(tables: Iterable[Any]) -> str:
    console = Console(width=10_000)
    with console.capture() as captured:
        for table in tables:
            console.print(table)
    return captured.get()


def test_like_stands_beside_like(forged: Place) -> None:
    """Two runs of one network, of which Yosys has counted one only."""
    shutil.copytree(forged.run, forged.folder / "runs" / "other")
    for stage in ("synth", "synth_vivado"):
        shutil.rmtree(forged.folder / "runs" / "other" / stage / "pynq-z2")
    runs = [collect(forged.run), collect(forged.folder / "runs" / "other")]
    for row in compare.rows(runs):
        found = [source_of(number) for cell in row.cells for number in numbers(cell)]
        assert len(set(found)) <= 1, row
        if found and found[0] is not None:
            assert row.name.endswith(f"({found[0].name})")
            assert any(row.best) is False  # equal, or alone: nobody is the best
    ours = next(row for row in compare.rows(runs) if row.name == f"LUT ({FORMULAS.name})")
    assert ours.cells[0] == ours.cells[1] != ""
    plot = compare.trade_off(runs)
    assert plot is not None and plot.x_label == f"LUT ({FORMULAS.name})"  # the source that both have


def test_every_format_says_the_same_with_its_source(forged: Place) -> None:
    """Two runs: of the second one our formulas alone have spoken, and say one LUT less."""
    other = forged.folder / "runs" / "other"
    shutil.copytree(forged.run, other)
    for stage in ("synth", "synth_vivado"):
        shutil.rmtree(other / stage)
    change(other, lut=-1)
    facts = [collect(other), collect(forged.run)]
    for command in (("results",), ("compare", "other", "tiny")):
        records = json.loads(forged(*command, "--format", "json").out)["results"]
        assert [record["run"] for record in records] == ["other", "tiny"]
        for record, run in zip(records, facts, strict=True):
            for one in run.resources:
                for name, amount in one.total.items():
                    assert record[f"{TITLES[name]} ({one.source.name})"] == amount
            assert run.test is not None and record["test accuracy"] == run.test.accuracy
            rate = None if run.simulated is None else run.simulated.images_per_s
            assert record["images/s (simulated)"] == rate
        if command[0] == "compare":
            assert records[0]["best"] == [f"LUT ({FORMULAS.name})"] and records[1]["best"] == []
        lines = list(csv.DictReader(io.StringIO(forged(*command, "--format", "csv").out)))
        names = [name for name in records[0] if name != "best"]
        assert [[line[name] for name in names] for line in lines] == [
            ["" if record.get(name) is None else str(record[name]) for name in names] for record in records
        ]
        for form, bold in (("markdown", "**{:,}**"), ("latex", r"\textbf{{{:,}}}"), ("table", "{:,} *")):
            outcome = forged(*command, "--format", form)
            assert outcome.code == 0 and "not a medical device" in outcome.out + outcome.err
            shown = numbers(outcome.out)
            assert {source_of(number) for number in shown} == (
                {*FIRST} - {FINN, VIVADO} if command[0] == "results" else {*FIRST} - {FINN}
            )
            if command[0] == "compare":
                assert bold.format(facts[0].resources[0].total["lut"]) in outcome.out
    forged("compare", "other", "tiny", "--format", "xml").assert_refused("--format is xml, expected table, markdown,")


def test_figures_for_papers_are_vectors(forged: Place) -> None:
    for command in (("report", "tiny"), ("compare", "tiny", "tiny")):
        folder = forged.folder / command[0]
        assert forged(*command, "--figures", folder).code == 0
        names = sorted(path.name for path in folder.iterdir())
        assert {"roc.svg", "roc.pdf", "precision-recall.svg"} <= set(names)
        for path in folder.iterdir():
            content = path.read_bytes()
            assert content.startswith(b"%PDF" if path.suffix == ".pdf" else b"<?xml")
            assert path.suffix == ".pdf" or b"not a medical device" in content
    forged("report", "tiny", "--figures", "runs/tiny/export").assert_refused("which this command reads", "--figures")
    assert forged("compare", "tiny", "tiny", "--figures", "tiny.yaml/x").code == 2


def change(run: Path, *, lut: int) -> None:
    """Change the LUTs of a run by our formulas."""
    path = run / BUILD / "estimates.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["formulas"]["total"]["lut"] += lut
    path.write_text(json.dumps(content), encoding="utf-8")
    restamp(run / BUILD)


def test_a_smaller_design_is_the_best_of_its_family_only(forged: Place) -> None:
    other = forged.folder / "runs" / "other"
    shutil.copytree(forged.run, other)
    change(other, lut=-1)
    runs = [collect(forged.run), collect(other)]
    name = f"LUT ({FORMULAS.name})"
    assert next(row for row in compare.rows(runs) if row.name == name).best == [False, True]
    elsewhere = [runs[0], replace(runs[1], board=BOARDS["zcu104"])]
    assert next(row for row in compare.rows(elsewhere) if row.name == name).best == [False, False]


def test_a_rate_is_the_best_at_one_clock_on_one_family_only(forged: Place) -> None:
    """The kind: what depends on a clock that was only asked for was marked across clocks, and no row said which."""
    run = collect(forged.run)
    assert run.simulated is not None and run.simulated.images_per_s is not None
    fast = run.simulated.model_copy(update={"clock_mhz": 200.0, "images_per_s": 2 * run.simulated.images_per_s})
    few = run.simulated.model_copy(update={"initiation_interval": 1.0, "images_per_s": 1e8, "first_latency_us": 0.1})
    zcu104 = replace(run, board=BOARDS["zcu104"])
    times, cycles = {"images/s (simulated)", "first logit [µs] (simulated)"}, {"cycles per image (simulated)"}
    for other, best in (
        (replace(run, simulated=fast), set[str]()),
        (replace(run, simulated=few), cycles | times),
        (replace(zcu104, simulated=few), cycles),
        (replace(run, simulated=few.model_copy(update={"clock_mhz": 200.0})), cycles),
    ):
        rows = compare.rows([run, other])
        assert {row.name for row in rows if row.best == [False, True]} == best
        clock = next(row for row in rows if row.name == "clock [MHz] (asked for)")
        assert other.simulated is not None and list(clock.values) == [100.0, other.simulated.clock_mhz]
        records = compare.figures([run, other]).records
        assert [record["clock [MHz] (asked for)"] for record in records] == list(clock.values)
        assert not any(clock.best)


def test_what_was_counted_of_an_earlier_build_is_not_shown(forged: Place) -> None:
    """The results, too, once showed Yosys' counts beside a newer build's estimate."""
    stage = forged.run / "synth" / "pynq-z2"
    stamp = json.loads((stage / "stage.json").read_text(encoding="utf-8"))
    stamp["inputs"]["reads"][f"{BUILD}/estimates.json"] = "0" * 64
    (stage / "stage.json").write_text(json.dumps(stamp), encoding="utf-8")
    assert of_source(collect(forged.run).resources, YOSYS) is None
    assert {source_of(number) for number in numbers(forged("results").out)} == {FORMULAS}


def test_every_source_has_a_name_of_its_own() -> None:
    assert len({source.name for source in SOURCES}) == len({source.short for source in SOURCES}) == len(SOURCES)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ([], "1,026 images, the file to its integers"),
        ([("hardware_graph", 100), ("fold", 16)], "16 images, the file to folded graph"),
        ([("fold", 16), ("cpu_reference", 100), ("netlist", 4)], "100 images, the file to CPU reference"),
        (
            [("fold", 16), ("rtl", 100), ("rtl_with_random_stalls", 100), ("netlist", 4)],
            "100 images, the file to RTL",
        ),
    ],
)
def test_what_was_equal_is_what_reached_the_end(rest: list[tuple[str, int]], said: str) -> None:
    """The kind of fault: the inputs on which a file was executed, as if the RTL had been simulated on them."""
    counted = [("file_float64", 1026), ("file_rational", 5000), *rest]
    chain = [Link(stage=stage, images=images, differing=int(stage == "file_rational")) for stage, images in counted]
    found = equality_of(chain, "the file")
    assert str(found) == said and found is not None and found.differing == 0
    assert equality_of(chain[1:2], "the file") is None


def test_a_witness_says_how_it_computes(finished: Place) -> None:
    facts = collect(finished.run)
    assert facts.exported is not None
    chain = [Link(stage="file_float64", images=9, differing=0), Link(stage="file_rational", images=9, differing=1)]
    rows = chain_rows(replace(facts, exported=facts.exported.model_copy(update={"chain": chain})))
    assert rows[0].witness == "" and rows[1].witness.startswith("in fractions")
