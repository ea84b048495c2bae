"""The report of a run and the comparison of several, in a real browser; and runs that are damaged or mean harm."""

import json
import random
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from contract.errors import CxrflowError
from contract.files import hash_file
from cxrflow.report.curves import curves
from cxrflow.report.page import write_report
from finn_build.simulate import simulate
from finn_build.stitch import load_design
from tests.browser import accessibility_findings, requests_of, screenshot
from tests.cxrflow.conftest import Place, reads_of

BUILD = "build/pynq-z2"
pytestmark = pytest.mark.slow  # a run with simulation and synthesis comes first


@pytest.fixture(scope="module")
def _reported(_verified: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("reported"))
    shutil.copytree(_verified.folder, place.folder, dirs_exist_ok=True)
    for command in ("synth", "report"):
        outcome = place(command, "tiny.yaml" if command == "synth" else "tiny")
        assert outcome.code == 0, outcome.err
    return place


@pytest.fixture
def reported(_reported: Place, tmp_path: Path) -> Place:
    """A copy, to be damaged, of a run with everything but Vivado."""
    shutil.copytree(_reported.folder, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def forge(stage: Path, name: str, content: str | bytes) -> None:
    """Change a file of a stage and make stage.json agree, as somebody who means harm would."""
    data = content if isinstance(content, bytes) else content.encode()
    (stage / name).write_bytes(data)
    stamp = read(stage / "stage.json")
    stamp["files"][name] = hash_file(stage / name)
    (stage / "stage.json").write_text(json.dumps(stamp), encoding="utf-8")


def forge_json(stage: Path, name: str, **changes: Any) -> None:
    forge(stage, name, json.dumps(read(stage / name) | changes))


def text_of(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


# --- what is shown


class TestInTheBrowser:
    @pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
    def test_a_report_is_whole_accessible_and_asks_for_nothing(
        self, _reported: Place, page: Page, theme: str, width: int
    ) -> None:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        asked, report = requests_of(page), (_reported.run / "report.html").as_uri()
        page.goto(report)
        screenshot(page, f"report-{theme}-{width}")
        assert [url for url in asked if not url.startswith("data:")] == [report]
        assert said == []
        assert accessibility_findings(page, impacts=("minor", "moderate", "serious", "critical")) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
        light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(244, 246, 248)"
        assert light == (theme == "light")

    def test_every_figure_is_the_runs_own(self, _reported: Place, page: Page) -> None:
        run = _reported.run
        page.goto((run / "report.html").as_uri())
        metrics, sim = read(run / "train" / "metrics.json"), read(run / "sim" / "pynq-z2" / "sim.json")
        synth, built = read(run / "synth" / "pynq-z2" / "synth.json"), read(run / BUILD / "build.json")
        shown = page.inner_text("main")
        low, high = metrics["test"]["intervals"]["auc"]
        for figure in (
            f"{metrics['test']['accuracy']:.4f}", f"{metrics['test']['auc']:.4f}", f"{low:.3f} to {high:.3f}",
            metrics["fingerprint"], f"{sim['first_latency_us']:.1f} µs", f"{sim['images_per_s']:,.0f}",
            "cxrflow run tiny.yaml --data path/to/xrays", "Activations, layer by layer: requantize, none.",
        ):  # fmt: skip
            assert figure in shown, figure
        stages = page.locator("#chain tbody tr").count()
        assert stages == 2 + len(built["chain"]) + 3  # export's, FINN's, and CPU, RTL, RTL with stalls
        assert "Research use only, not a medical device" in page.inner_text("header")
        assert page.locator(".samples img").count() == 16
        assert page.evaluate("Array.from(document.images).every(i => i.naturalWidth === 8)")  # the network's pixels
        boxes = page.locator(".layer code").all_inner_texts()
        assert boxes == [layer["name"] for layer in sim["layers"]]
        assert page.locator(".layer.slowest code").all_inner_texts() == sim["slowest"]
        box = page.locator(".layer").first.inner_text().split()
        first = next(layer for layer in synth["layers"] if layer["name"] == boxes[0])
        folded = read(run / BUILD / "folding.json")[boxes[0]]
        assert box[box.index("LUT") + 1] == f"{first['lut']:,}" and box[box.index("SIMD") + 1] == str(folded["SIMD"])
        assert page.locator(".timeline .image3").count() == 2 * len(sim["timeline"]) - 2
        total = page.locator(".resources .total td").all_inner_texts()
        assert total[1] == f"{synth['total']['lut']:,}"

    def test_it_prints_in_black_on_white_with_everything_open(self, _reported: Place, page: Page) -> None:
        page.goto((_reported.run / "report.html").as_uri())
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.locator("nav").is_visible()
        assert page.locator("details pre").is_visible()
        assert len(page.pdf(prefer_css_page_size=True)) > 10_000

    def test_texts_of_a_hostile_run_stay_texts(self, reported: Place, page: Page) -> None:
        attack = "<script>window.hit=1</script><img src='http://127.0.0.1:9/x' onerror='window.hit=1'>\"'{{7*7}}"
        for stage, name, changes in (
            ("train", "metrics.json", {"source": attack, "network": attack, "operating_point_rule": attack}),
            ("train", "metrics.json", {"versions": {attack: attack}}),
            ("sim/pynq-z2", "sim.json", {"remarks": [attack], "slowest": [attack]}),
            ("synth/pynq-z2", "synth.json", {"version": attack}),
        ):
            forge_json(reported.run / stage, name, **changes)
        assert reported("report", "tiny").code == 0
        asked = requests_of(page)
        page.goto((reported.run / "report.html").as_uri())
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert page.evaluate("window.hit") is None
        assert page.inner_text("main").count(attack) >= 4

    def test_runs_side_by_side(self, reported: Place, page: Page) -> None:
        shutil.copytree(reported.run, reported.folder / "runs" / "other")
        experiment = reported.run / "experiment.yaml"
        other = experiment.read_text().replace("name: tiny", "name: other").replace("epochs: 3", "epochs: 4")
        (reported.folder / "runs" / "other" / "experiment.yaml").write_text(other)
        metrics = read(reported.run / "train" / "metrics.json")
        metrics["test"]["accuracy"] = 0.1
        forge(reported.folder / "runs" / "other" / "train", "metrics.json", json.dumps(metrics))
        outcome = reported("compare", "tiny", "other")
        assert outcome.code == 0, outcome.err
        accuracy = read(reported.run / "train" / "metrics.json")["test"]["accuracy"]
        assert ["test", "accuracy", f"{accuracy:.4f}", "*", "0.1000"] in [
            line.split() for line in outcome.out.splitlines()
        ]
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            page.goto((reported.folder / "runs" / "compare.html").as_uri())
            screenshot(page, f"compare-{theme}")
            assert accessibility_findings(page) == []
        assert page.locator("tr", has_text="train.epochs").locator("td").all_inner_texts() == ["3", "4"]
        row = page.locator("tr", has_text="test accuracy")
        assert row.locator(".best").inner_text().startswith(f"{accuracy:.4f}")


def test_a_report_is_small_and_without_names(reported: Place) -> None:
    (reported.run / "report.html").unlink()
    process = reported.start("report", "tiny")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0 and out.startswith("runs/tiny/report.html"), err
    html = text_of(reported.run)
    assert len(html) < 5_000_000
    for private in ("person", "IM-test", "bacteria_", str(reported.folder), str(Path.home())):
        assert private not in html, private


def test_what_is_missing_names_the_command_that_makes_it(reported: Place) -> None:
    commands = {"build": BUILD, "simulate": "sim/pynq-z2", "synth": "synth/pynq-z2", "export": "export"}
    for command in ("synth", "simulate", "build", "export", "train"):
        shutil.rmtree(reported.run / commands.get(command, command))
        assert reported("report", "tiny").code == 0
        assert f"cxrflow {command} runs/tiny/experiment.yaml" in text_of(reported.run)
    assert "Samples" in text_of(reported.run) and "Loss" not in text_of(reported.run)


def test_a_stage_made_from_something_earlier_is_not_shown(reported: Place) -> None:
    sim = reported.run / "sim" / "pynq-z2"
    stamp = read(sim / "stage.json")
    stamp["inputs"]["reads"][f"{BUILD}/rtl/design.json"] = "0" * 64
    (sim / "stage.json").write_text(json.dumps(stamp))
    assert reported("report", "tiny").code == 0
    html = text_of(reported.run)
    assert "The RTL, simulated: made from an earlier build" in html and "RTL with random stalls" not in html


def test_a_difference_that_stopped_the_run_is_told(reported: Place) -> None:
    (reported.run / BUILD).rename(reported.run / f"{BUILD}.failed")
    said = "fold: 3 of 16 logits differ from the golden ones; first at image 5: got 1, want 2."
    (reported.run / f"{BUILD}.failed" / "mismatch.txt").write_text(said)
    assert reported("report", "tiny").code == 0
    assert "build stopped because integers differ" in text_of(reported.run) and said in text_of(reported.run)


def test_without_a_simulation_the_boxes_hold_estimates(reported: Place) -> None:
    for stage in ("sim", "synth"):
        shutil.rmtree(reported.run / stage / "pynq-z2")
    assert reported("report", "tiny").code == 0
    html = text_of(reported.run)
    assert "our formulas" in html and "cxrflow simulate" in html


def test_vivado_stands_beside_the_others_where_it_ran(reported: Place) -> None:
    folder, layer = reported.run / "synth_vivado" / "pynq-z2", {"LUT": 4321, "FF": 1, "BRAM_18K": 2, "DSP": 3}
    folder.mkdir(parents=True)
    content = {
        "vivado": "2024.1", "clock_mhz": 100.0, "wns_ns": 1.25, "fmax_mhz": 114.3, "power": {"total_w": 1.5},
        "whs_ns": 0.02, "above_budget": [], "used": layer, "accelerator": layer,
        "layers": [{"name": "MVAU_rtl_0", **layer}],
    }  # fmt: skip
    (folder / "synth.json").write_text(json.dumps(content))
    inputs, files = {"reads": reads_of(reported.run, "synth_vivado")}, {"synth.json": hash_file(folder / "synth.json")}
    stamp = {"key": "", "inputs": inputs, "experiment": {}, "files": files}
    (folder / "stage.json").write_text(json.dumps(stamp))
    assert reported("report", "tiny").code == 0
    html = text_of(reported.run)
    assert html.count('<td class="number">4,321</td>') == 2  # the layer and in all
    assert "setup slack 1.250 ns" in html and "Vivado: after routing, the accelerator alone" in html


# --- what was recorded and computed


def test_the_timeline_is_when_the_beats_passed(_reported: Place) -> None:
    run = _reported.run
    sim, design = read(run / "sim" / "pynq-z2" / "sim.json"), load_design(run / BUILD / "rtl")
    pixels = np.load(run / "export" / "golden.npz")["pixels"]
    # The same program with fewer images: the logits' own cycles, and the first image with nothing behind it.
    three, one = (
        simulate(run / "sim" / "pynq-z2" / "harness", run / BUILD / "rtl", design, pixels[:n]) for n in (3, 1)
    )  # fmt: skip
    rows = {row["into"]: [tuple(pair) for pair in row["images"]] for row in sim["timeline"]}
    assert list(rows) == [*(node.name for node in design.nodes), "output"]
    assert rows["output"] == [(cycle, cycle) for cycle in three.finished.tolist()]
    assert [row[0] for row in rows.values()] == [row[0] for row in one.timed]
    assert rows[design.nodes[0].name][0][0] == 0
    for row in rows.values():
        assert all(a <= b for a, b in row) and all(before[1] < after[0] for before, after in pairwise(row))


@pytest.mark.parametrize("seed", range(4))
def test_curves_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 200)
    logits = (rng.normal(labels, 1.0) * [2, 50, 1e6, 1][seed]).astype(np.int64)  # few levels: many ties
    found = curves(logits, labels)
    assert found is not None
    false_rate, sensitivity, _ = roc_curve(labels, logits, drop_intermediate=False)
    np.testing.assert_allclose(found.false_rate, false_rate)
    np.testing.assert_allclose(found.sensitivity, sensitivity)
    precision, recall, _ = precision_recall_curve(labels, logits)
    np.testing.assert_allclose(found.precision[: len(precision)][::-1], precision)
    np.testing.assert_allclose(found.sensitivity[: len(recall)][::-1], recall)
    assert found.average_precision == pytest.approx(average_precision_score(labels, logits))


def test_one_class_has_no_curve() -> None:
    assert curves(np.arange(3), np.ones(3, dtype=np.int64)) is None


# --- damage


def cut(content: str) -> str:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("stage", "name", "damage"),
    [
        ("train", "metrics.json", cut),
        ("train", "metrics.json", lambda c: c.replace('"auc": 0.', '"auc": 7.')),
        ("train", "metrics.json", lambda _: "[" * 100_000),
        ("train", "metrics.json", lambda _: '{"network": "' + "x" * 5_000_000 + '"}'),
        ("train", "metrics.json", lambda _: "\ud800".encode("utf-8", "surrogatepass")),
        ("train", "history.csv", lambda _: "epoch,train_loss\n1,nan\n"),
        ("train", "history.csv", lambda c: c.replace(",0.", ",x", 3)),
        ("export", "export.json", lambda c: c.replace('"images": 16', '"images": -16')),
        ("export", "golden.npz", lambda _: b"PK"),
        (BUILD, "build.json", lambda c: c.replace('"chain": [', '"chain": [1, ')),
        (BUILD, "folding.json", lambda _: "[]"),
        ("sim/pynq-z2", "sim.json", lambda c: c.replace('"timeline": [', '"timeline": [{"into": "x"}, ')),
        ("synth/pynq-z2", "synth.json", lambda _: "null"),
        ("deploy/pynq-z2", "accelerator.json", cut),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_sentence_and_the_old_report_stays(
    reported: Place, stage: str, name: str, damage: Callable[[str], str | bytes]
) -> None:
    old, path = text_of(reported.run), reported.run / stage / name
    content = damage("" if name.endswith("npz") else path.read_text(encoding="utf-8"))
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    reported("report", "tiny").assert_refused(f"{name} was changed", "Put it back, or delete")
    forge(reported.run / stage, name, content)
    for later in ("export", BUILD, "sim/pynq-z2", "synth/pynq-z2", "deploy/pynq-z2"):  # nothing else may hide it
        stamp = read(reported.run / later / "stage.json")
        if f"{stage}/{name}" in stamp["inputs"].get("reads", {}):
            stamp["inputs"]["reads"][f"{stage}/{name}"] = hash_file(path)
            (reported.run / later / "stage.json").write_text(json.dumps(stamp))
    reported("report", "tiny").assert_refused(str(path.relative_to(reported.folder)))
    reported("compare", "tiny", "tiny").assert_refused(str(path.relative_to(reported.folder)))
    assert text_of(reported.run) == old and not list(reported.run.glob(".report*"))


NASTY: tuple[Any, ...] = (
    None,
    -1,
    10**30,
    1e300,
    "<b>",
    "x" * 10_000,
    [],
    {},
    [[]],
    {"a": 1},
    True,
    float("nan"),
    float("inf"),
    0,
)


def leaves(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where every value is, sections included."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(leaf for key, value in pairs for leaf in leaves(value, (*path, key)))][0 if path else 1 :]


@pytest.mark.usefixtures("_drawn_once")
def test_any_value_in_any_place_is_shown_or_one_sentence(reported: Place) -> None:
    rng, refused = random.Random(0), 0
    files = [
        ("train", "metrics.json"), ("export", "export.json"), (BUILD, "build.json"), (BUILD, "estimates.json"),
        (BUILD, "folding.json"), (BUILD, "rtl/design.json"), ("sim/pynq-z2", "sim.json"),
        ("synth/pynq-z2", "synth.json"), ("deploy/pynq-z2", "accelerator.json"),
    ]  # fmt: skip
    for _ in range(150):
        stage, name = rng.choice(files)
        whole = (reported.run / stage / name).read_text(encoding="utf-8")
        content = json.loads(whole)
        *before, last = rng.choice(leaves(content))
        place = content
        for key in before:
            place = place[key]
        place[last] = rng.choice(NASTY)
        forge(reported.run / stage, name, json.dumps(content))
        try:
            write_report(reported.run)
        except CxrflowError as err:
            refused += 1
            assert str(err).count("\n") == 0 and len(str(err)) < 800
        forge(reported.run / stage, name, whole)
    assert 20 < refused < 150


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["report", "nope"], ["runs/nope/experiment.yaml is not there"]),
        (["compare", "tiny"], ["found 1 runs, expected 2 to 12"]),
        (["compare", "tiny", "nope"], ["runs/nope/experiment.yaml is not there"]),
        (["compare", *["tiny"] * 13], ["found 13 runs"]),
    ],
)
def test_wrong_names(reported: Place, args: list[str], words: list[str]) -> None:
    reported(*args).assert_refused(*words)
    assert not list((reported.folder / "runs").glob("*nope*")) and not list((reported.folder / "runs").glob(".nope*"))
