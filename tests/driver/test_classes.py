"""Networks of K classes, trained here or imported: what the driver says of them, and what a class may be called.

The kind of fault: a place that takes an answer for one logit or a class for the second of two, or the name of a class
for a text of ours: in a table, a terminal, C, a picture.
"""

import csv
import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.decision import MEANING, Choice, Decision, Head, meaning
from contract.errors import ArtifactError, ConfigError, DataError
from contract.manifest import load_manifest, save_manifest
from contract.network import Input
from contract.npz import load_npz, save_npz
from contract.quantizer import InputRule
from driver.__main__ import main
from driver.accelerator import Accelerator
from driver.explain import class_number, explain, occlude, windows_of
from driver.reference import Reference
from driver.simulated.core import ReferenceCore
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.stand_in import StandIn
from tests.deploy_folder import write_classes, write_deploy, write_integers

NAMES = ["NORMAL", "BACTERIA", "VIRUS"]
HOSTILE = ['=1+1;"<b>', "@cmd|' /C calc'!A0", "pneumonia, viral", "na\u00efve \u80ba", '??/"*/ #x \\', "x" * 100]
PIXELS = np.random.default_rng(7).integers(0, 256, (40, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("shell", ["cpu", "axi_dma", "finn_iodma"])
def test_classes_names_and_probabilities(tmp_path: Path, shell: str) -> None:
    network = write_classes(tmp_path, NAMES)
    manifest = load_manifest(tmp_path / "accelerator.json")
    assert manifest.hardware is not None and isinstance(manifest.decision, Choice)
    runtime, device = None, "cpu"
    if shell != "cpu":
        hardware, device = with_shell(manifest.hardware, shell), "board"
        save_manifest(tmp_path / "accelerator.json", replace(manifest, hardware=hardware))
        runtime = StandIn(SimulatedDevice(hardware, ReferenceCore(Reference(network).outputs, hardware.input)))
    want = network.outputs(PIXELS)[-1]
    scales = [Fraction(m) / Fraction(2) ** manifest.decision.shift for m in manifest.decision.multipliers]
    offsets = [Fraction(o) / Fraction(2) ** manifest.decision.shift for o in manifest.decision.offsets]
    real = [[s * v + o for s, v, o in zip(scales, row, offsets, strict=True)] for row in want.tolist()]
    classes = [row.index(max(row)) for row in real]
    assert len(set(classes)) == 3
    with Accelerator(tmp_path, device, runtime=runtime) as accelerator:
        answers = accelerator.infer(PIXELS)
        assert answers.outputs.tolist() == want.tolist()
        assert answers.classes.dtype == np.int64 and answers.classes.tolist() == classes
        assert answers.names == [NAMES[c] for c in classes]
        powers = np.exp([[float(v - max(row)) for v in row] for row in real])
        np.testing.assert_allclose(answers.probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-9)
        for one_logit in ("logits", "probability"):
            with pytest.raises(ConfigError, match="gives 3 integers per image, expected one logit"):
                getattr(answers, one_logit)
        assert accelerator.infer(PIXELS[:0]).probabilities.shape == (0, 3)


def test_one_logit_has_two_probabilities(tmp_path: Path) -> None:
    write_deploy(tmp_path)
    with Accelerator(tmp_path, "cpu") as accelerator:
        answers = accelerator.infer(PIXELS)
    np.testing.assert_array_equal(answers.probabilities[:, 1], answers.probability)
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)
    assert set(answers.names) == {"NORMAL", "PNEUMONIA"}


def test_an_imported_network_claims_no_probability(tmp_path: Path) -> None:
    network = write_classes(tmp_path, NAMES, head=Head(steps=[("multiply", [[-0.5]])]))
    want = network.outputs(PIXELS)[-1]
    with Accelerator(tmp_path, "cpu") as accelerator:
        answers = accelerator.infer(PIXELS)
        assert answers.names == [f"class {k}" for k in want.argmin(axis=1)]
        with pytest.raises(ConfigError, match=r"no probability or class of its integers\. Use `outputs` and `results`"):
            _ = answers.probabilities


class TestMaps:
    def test_of_the_answer_or_of_the_class_that_is_asked_for(self, tmp_path: Path) -> None:
        network = write_classes(tmp_path, NAMES)
        windows = windows_of(28, 28)
        outputs = network.outputs(np.concatenate([PIXELS[:1], occlude(PIXELS[0], windows)]))[-1]
        with Accelerator(tmp_path, "cpu") as accelerator:
            answer = int(accelerator.infer(PIXELS[:1]).classes[0])
            for target in (None, 0, 1, 2):
                found, k = explain(accelerator, PIXELS[0], target=target), answer if target is None else target
                assert (found.target, found.logit, found.outputs.tolist()) == (k, outputs[0, k], outputs[0].tolist())
                assert found.differences.ravel().tolist() == (outputs[0, k] - outputs[1:, k]).tolist()
            assert set(found.arrays()) > {"outputs", "target", "logit"}
            assert [class_number(NAMES, text) for text in ("VIRUS", "2", "0")] == [2, 2, 0]
            assert [class_number(["a b", "Virus", "virus"], text) for text in ("A_B", "virus", "Virus")] == [0, 2, 1]
            assert class_number(NAMES, "bacteria") == 1
            with pytest.raises(ConfigError, match="expected one of 'normal, benign', x, X, or its number"):
                class_number(["normal, benign", "x", "X"], "VIRUS")
            for text in ("3", "-1", "viral", "\u0663", "9" * 5000):
                with pytest.raises(ConfigError, match="expected one of NORMAL, BACTERIA, VIRUS, or its number"):
                    class_number(NAMES, text)
            with pytest.raises(ConfigError, match="class 3 is asked for, expected 0 to 2"):
                explain(accelerator, PIXELS[0], target=3)

    def test_of_an_imported_network_that_turns_an_integer_round(self, tmp_path: Path) -> None:
        write_classes(tmp_path, NAMES, head=Head(steps=[("multiply", [[0.5, -0.5, 0.0]])]))
        with Accelerator(tmp_path, "cpu") as accelerator:
            maps = [explain(accelerator, PIXELS[0], target=k) for k in range(3)]
        write_classes(tmp_path, NAMES)
        with Accelerator(tmp_path, "cpu") as accelerator:
            plain = [explain(accelerator, PIXELS[0], target=k).differences for k in range(3)]
        assert plain[1].any() and plain[2].any() and not maps[2].differences.any()
        assert maps[0].differences.tolist() == plain[0].tolist()
        assert maps[1].differences.tolist() == (-plain[1]).tolist()

    def test_of_one_logit_there_is_one(self, tmp_path: Path) -> None:
        write_deploy(tmp_path)
        with Accelerator(tmp_path, "cpu") as accelerator:
            assert (
                explain(accelerator, PIXELS[0], target=1).sums.tolist() == explain(accelerator, PIXELS[0]).sums.tolist()
            )
            with pytest.raises(ConfigError, match="what speaks against PNEUMONIA speaks for NORMAL"):
                explain(accelerator, PIXELS[0], target=0)

    def test_of_what_is_no_picture_or_no_class_there_is_none(self, tmp_path: Path) -> None:
        write_integers(tmp_path / "integers", Input(28, 28), 4, outputs=3, result_bits=32)
        no_classes = pytest.raises(ConfigError, match="has no decision: its integers are no classes to map")
        with Accelerator(tmp_path / "integers", "cpu") as accelerator, no_classes:
            explain(accelerator, PIXELS[0])
        rule = InputRule("float", "uint8", 0, ((0.5, 1.5),))
        write_classes(tmp_path / "floats", NAMES, head=Head(), rule=rule)
        no_picture = pytest.raises(ConfigError, match=r"reads float\(N, 28, 28\), and a map .*with `--input uint8`")
        with Accelerator(tmp_path / "floats", "cpu") as accelerator, no_picture:
            explain(accelerator, PIXELS[0])


def test_floats_come_in_every_type_that_float64_holds(tmp_path: Path) -> None:
    rule = InputRule("float", "uint8", 0, ((0.5, 1.5),))
    write_classes(tmp_path, NAMES, head=Head(), rule=rule)
    whole = PIXELS[:3] % 3
    with Accelerator(tmp_path, "cpu") as accelerator:
        want = accelerator.infer(whole.astype(np.float32)).outputs
        for dtype in (np.int8, np.int64, np.float16, np.float64):
            np.testing.assert_array_equal(accelerator.infer(whole.astype(dtype).reshape(3, 784)).outputs, want)
        with pytest.raises(DataError, match=r"images are <U3\(3, 784\), expected float \(N, 28, 28\) or \(N, 784\)"):
            accelerator.infer(whole.reshape(3, 784).astype("U3"))


def files(folder: Path, count: int = 3) -> list[str]:
    for i in range(count):
        Image.fromarray(PIXELS[i]).save(folder / f"{i}.png")
    return [str(folder / f"{i}.png") for i in range(count)]


def test_the_command_line_and_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "deploy"
    network = write_classes(folder, HOSTILE)
    paths, table, outputs = files(tmp_path), tmp_path / "o.csv", network.outputs(PIXELS[:3])[-1]
    given = ["--folder", str(folder), "--device", "cpu"]
    for _ in range(2):  # a table of ours is replaced
        assert main(["infer", *given, *paths, "--csv", str(table)]) == 0
    with Accelerator(folder, "cpu") as accelerator:
        answers = accelerator.infer(PIXELS[:3])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        f"{paths[0]}  class {answers.names[0]}  probabilities "
        f"{' '.join(f'{p:.4f}' for p in answers.probabilities[0])}  outputs {' '.join(map(str, outputs[0]))}"
    )
    assert "not a medical device" in said[3]
    with table.open(newline="", encoding="utf-8") as stream:
        head, *rows = list(csv.reader(stream))
    assert head == ["file", "class", *(f"{what}_{n}" for what in ("probability", "output") for n in HOSTILE)]
    for row, name, chances, integers in zip(rows, answers.names, answers.probabilities, outputs, strict=True):
        assert row[1] == (f"'{name}" if name in HOSTILE[:2] else name)
        assert [float(text) for text in row[2:]] == [*chances.tolist(), *integers.tolist()]
    with table.open(newline="", encoding="utf-8") as stream:  # some programs divide at semicolons: none finds a formula
        assert not [cell for line in csv.reader(stream, delimiter=";") for cell in line if cell.startswith(("=", "@"))]


@pytest.mark.parametrize("several", [True, False])
def test_an_operating_point_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], several: bool
) -> None:
    """The kind: a number that the folder has and nobody can use, or that one device or place uses otherwise."""
    folder, table = tmp_path / "deploy", tmp_path / "o.csv"
    network = write_classes(folder, NAMES) if several else write_deploy(folder)
    decision, own, other = load_manifest(folder / "accelerator.json").decision, "default", "careful"
    outputs = network.outputs(PIXELS)[-1]
    if isinstance(decision, Choice):
        want = decision.classes(outputs, other).tolist()
    else:
        assert isinstance(decision, Decision)
        own, other = "balanced", "sensitivity_95"
        want = [int(logit > -400) for logit in outputs[:, 0]]
    with Accelerator(folder, "cpu") as accelerator:
        answers = accelerator.infer(PIXELS, point=other)
        assert answers.classes.tolist() == want != accelerator.infer(PIXELS, point=own).classes.tolist()
        assert accelerator.infer(PIXELS, point=own).classes.tolist() == accelerator.infer(PIXELS).classes.tolist()
        with pytest.raises(ConfigError, match=rf"no operating point 'x', expected one of {own}, {other}\."):
            accelerator.infer(PIXELS, point="x")
        at = next(n for n, label in enumerate(want) if label != accelerator.infer(PIXELS).classes[n])
        if several:
            assert explain(accelerator, PIXELS[at], point=other).target == want[at]
    paths, given = files(tmp_path, at + 1), ["--folder", str(folder), "--device", "cpu"]
    assert main(["infer", *given, *paths, "--point", other, "--csv", str(table)]) == 0
    said = capsys.readouterr().out
    if several:
        assert isinstance(decision, Choice)
        point = decision.operating_points[other]
        what = f"{NAMES[point.label]} against the rest, margin {decision.real_margin(point):.4g}"
        assert f"Operating point: {other} ({what}); --point takes {own}, too." in said
    else:
        assert isinstance(decision, Decision)
        threshold = decision.points[other]
        chance = float(decision.probability(np.array(threshold)))
        what = f"above a logit of {threshold}, probability {chance:.4f}"
        assert f"Operating point: {other} ({what}); --point takes {own}, too." in said
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == answers.names[: at + 1]
    assert {row["operating_point"] for row in rows} == {other}
    (tmp_path / "notes.txt").write_text("no image")
    nothing = [str(tmp_path / "notes.txt"), "--point", other, "--csv", str(tmp_path / "nothing.csv")]
    assert main(["infer", *given, *nothing]) == 1
    assert (tmp_path / "nothing.csv").read_text(encoding="utf-8") == table.read_text(encoding="utf-8").splitlines(True)[
        0
    ]
    capsys.readouterr()
    if isinstance(decision, Choice):  # whoever has the table alone can do the rule again
        assert {row["operating_point_class"] for row in rows} == {NAMES[point.label]}
        assert {float(row["operating_point_margin"]) for row in rows} == {decision.real_margin(point)}
    else:
        assert {int(row["operating_point_threshold"]) for row in rows} == {threshold}
        assert {float(row["operating_point_probability"]) for row in rows} == {chance}
    assert main(["infer", *given, *paths, "--csv", str(table)]) == 0
    at_own = own if several else f"{own} (above a logit of 128, probability 0.5000)"
    assert f"Operating point: {at_own}; --point takes {other}, too." in capsys.readouterr().out
    assert "operating_point" not in table.read_text(encoding="utf-8").partition("\n")[0]
    for command in ("infer", "explain"):
        assert main([command, *given, paths[0], "--point", "x"]) == 2
    assert capsys.readouterr().err.count(f"no operating point 'x', expected one of {own}, {other}.") == 2


def test_maps_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "deploy"
    write_classes(folder, HOSTILE)
    path, out = files(tmp_path, 1)[0], tmp_path / "out"
    given = ["explain", "--folder", str(folder), "--device", "cpu", "--out", str(out), path]
    for name, k in ((HOSTILE[3], 3), ("5", 5)):
        assert main([*given, "--class", name]) == 0
        assert f"map_of {HOSTILE[k]}  logit " in capsys.readouterr().out
        assert int(load_npz(out / "0.png.npz")["target"]) == k
    assert main([*given, "--class", "none"]) != 0
    assert "the class is 'none', expected one of =1+1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b", "a"], "expected names that differ"),
        (["a", "b", " "], "expected 1 to 100 printable characters"),
        (["a", "b", "x" * 101], "class_names holds 'xxx"),
        (["a", "b", "two\nlines"], r"class_names holds 'two\\nlines'"),
        (["a", "b", "\u202egnp"], "printable characters"),
        (["a", "b", "\x1b[31mred"], "printable characters"),
    ],
)
def test_a_name_that_nobody_can_read_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    write_classes(tmp_path, NAMES)
    path = tmp_path / "accelerator.json"
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(raw | {"class_names": names}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        load_manifest(path)


def test_names_and_operating_points_that_contradict_the_folder_are_refused(tmp_path: Path) -> None:
    """The kind: what no golden integer shows, a name beside another class, or a margin that nobody compared."""
    write_classes(tmp_path, NAMES)
    whole = load_manifest(tmp_path / "accelerator.json")
    decision = whole.decision
    assert isinstance(decision, Choice)
    outputs: Any = load_npz(tmp_path / "golden.npz", advice="")["outputs"]
    save_npz(tmp_path / MEANING, meaning(decision, NAMES, outputs))
    digest = hashlib.sha256((tmp_path / MEANING).read_bytes()).hexdigest()
    whole = replace(whole, sha256={**whole.sha256, MEANING: digest})
    save_manifest(tmp_path / "accelerator.json", whole)
    Accelerator(tmp_path, "cpu").close()
    point = decision.operating_points["careful"]
    renamed = replace(decision, operating_points={"youden": point})
    for changes, words in (
        ({"class_names": [NAMES[1], NAMES[0], NAMES[2]]}, r"calls the classes BACTERIA, NORMAL, VIRUS, .* other names"),
        ({"decision": renamed}, "operating points youden, and .* other names"),
        ({"decision": replace(decision, operating_points={})}, "operating points -, and"),
        (
            {"decision": replace(decision, operating_points={"careful": replace(point, margin=-point.margin)})},
            r"contradicts meaning\.npz: for the golden image \d+ it gives classes_at",
        ),
        (
            {"decision": replace(decision, operating_points={"careful": replace(point, label=0)})},
            r"contradicts meaning\.npz",
        ),
    ):
        save_manifest(tmp_path / "accelerator.json", replace(whole, **changes))  # type: ignore[arg-type]
        with pytest.raises(ArtifactError, match=words):
            Accelerator(tmp_path, "cpu")


def _vouch(folder: Path, **arrays: Any) -> None:
    """Add arrays to golden.npz, and its new hash to the manifest."""
    path, manifest = folder / "golden.npz", load_manifest(folder / "accelerator.json")
    save_npz(path, {**load_npz(path, advice=""), **arrays})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    save_manifest(folder / "accelerator.json", replace(manifest, sha256={**manifest.sha256, path.name: digest}))


@pytest.mark.parametrize("several", [True, False])
def test_a_decision_that_contradicts_the_golden_images_is_refused(tmp_path: Path, several: bool) -> None:
    """The kind: a decision within all bounds, which another file of the same folder shows to be wrong."""
    write_classes(tmp_path, NAMES) if several else write_deploy(tmp_path)
    manifest = load_manifest(tmp_path / "accelerator.json")
    decision = manifest.decision
    outputs: Any = load_npz(tmp_path / "golden.npz", advice="")["outputs"]
    wrong: list[Any]
    if isinstance(decision, Choice):
        probability, classes = decision.probabilities(outputs), decision.classes(outputs)
        wrong = [replace(decision, offsets=decision.offsets[::-1]), replace(decision, shift=decision.shift + 1)]
        wrong += [replace(decision, shift=200), replace(decision, shift=-200)]
        wrong += [replace(decision, offsets=[2**60 - 1, *decision.offsets[1:]])]
        wrong += [replace(decision, multipliers=[2**29 - 2**20, *decision.multipliers[1:]])]
    else:
        assert isinstance(decision, Decision)
        probability, classes = decision.probability(outputs[:, 0]), decision.classes(outputs[:, 0])
        between = int(np.sort(outputs[:, 0])[len(outputs) // 3])
        wrong = [replace(decision, scale=decision.scale * 1.01), replace(decision, offset=decision.offset + 1e-3)]
        wrong += [replace(decision, threshold=t) for t in (between, 10**6, -(10**6)) if t != decision.threshold]
    # The last bits of a probability may be those of another processor.
    _vouch(tmp_path, probability=np.nextafter(probability, 0.0), classes=classes)
    Accelerator(tmp_path, "cpu").close()
    whole = load_manifest(tmp_path / "accelerator.json")
    for one in wrong:
        save_manifest(tmp_path / "accelerator.json", replace(whole, decision=one))
        with pytest.raises(ArtifactError, match=r"accelerator\.json contradicts golden\.npz: for the golden image"):
            Accelerator(tmp_path, "cpu")
    save_manifest(tmp_path / "accelerator.json", whole)
    _vouch(tmp_path, probability=probability[:, None])
    with pytest.raises(ArtifactError, match="has probability of float64 of shape"):
        Accelerator(tmp_path, "cpu")
