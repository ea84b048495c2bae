import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.errors import ConfigError
from contract.yaml_text import parsed
from cxrflow.experiment import load_experiment, require_classes, save_experiment

REPOSITORY = Path(__file__).parents[2]
READY = sorted(p for p in (REPOSITORY / "experiments").glob("*.yaml") if not p.stem.startswith("sweep-"))
GOOD = "name: x\nbuild: {target_fps: 1000}\n"
ANYWHERE = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load(tmp_path: Path, text: str | bytes, **options: Any) -> Any:
    path = tmp_path / "e.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_experiment(path, **options)


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_ready_experiments_load_and_survive_being_written(path: Path, tmp_path: Path) -> None:
    experiment = load_experiment(path)
    save_experiment(tmp_path / "again.yaml", experiment)
    assert load_experiment(tmp_path / "again.yaml") == experiment


# Every message: what was found, what was expected, what to do.
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nmae: x\nbuild: {target_fps: 1}", ["'nmae' is not a known field", "did you mean 'name'?"]),
        (GOOD + "trian: {}", ["'trian'", "did you mean 'train'?"]),
        (GOOD + "network: {hiden: [8]}", ["'network.hiden'", "did you mean 'hidden'?"]),
        (GOOD + "train: {augment: {rotation: 3}}", ["'train.augment.rotation'", "'rotation_deg'?"]),
        (GOOD + "zzz: 1", ["'zzz'", "valid here are name, data, network, train, model, export, build."]),
        ("build: {target_fps: 1}", ["'name' is missing", "experiments/w8a8.yaml"]),
        ("name: x", ["'build' is missing", "experiments/w8a8.yaml"]),
        ("name: a/b\nbuild: {target_fps: 1}", ["'a/b' is no plain name", "letters, digits"]),
        ("name: 3\nbuild: {target_fps: 1}", ["'name' is 3, expected a valid string"]),
        (GOOD + "network: {weight_bits: 0}", ["weight_bits is 0", "1..8 or 'float'"]),
        (GOOD + "network: {weight_bits: 9}", ["weight_bits is 9", "1..8 or 'float'"]),
        (GOOD + "network: {act_bits: [8, 9]}", ["act_bits[1] is 9", "1..8"]),
        (GOOD + "network: {hidden: []}", ["hidden is empty", "such as [64]"]),
        (GOOD + "network: {height: 4}", ["'network.height' is 4, expected greater than or equal to 8"]),
        (GOOD + "network: [1]", ["'network' is [1], expected fields such as height, width, convolutions"]),
        (
            GOOD + "network: {convolutions: [{channels: 8, kernel: 3, padding: 3}]}",
            ["padding is 3, expected less than the kernel, 3"],
        ),
        (GOOD + "network:", ["'network' is None, expected fields such as"]),
        (GOOD + "train: {lr: fast}", ["'train.lr' is 'fast', expected a valid number"]),
        (GOOD + "train: {lr: .nan}", ["'train.lr' is nan, expected"]),
        (GOOD + "train: {patience: 500}", ["patience is 500 but there are 150 epochs", "make it smaller"]),
        (GOOD + "data: {source: 5}", ["'data.source' is 5, expected"]),
        (GOOD + "data: {source: ''}", ["'data.source' is empty"]),
        (GOOD + "data: {source: phantom, label_table: ' '}", ["'data.label_table' is empty"]),
        (GOOD + 'data: {source: "a\\0b"}', ["'data.source'", "no usable path (embedded null"]),
        (GOOD + "data: {val_fraction: 0.7}", ["'data.val_fraction' is 0.7, expected less than 0.5"]),
        (GOOD + "export: {factor_bits: 3}", ["'export.factor_bits' is 3, expected greater than or equal to 4"]),
        (GOOD + "model: {file: x.onnx}\nexport: {factor_bits: 9}", ["an imported one is never changed"]),
        ("name: x\nbuild: {}", ["exactly one of 'target_fps' and 'folding'"]),
        (
            "name: x\nbuild: {folding: f.json, activation: requantize}",
            ["'activation' is requantize, which does nothing beside 'folding'", "Leave 'activation' out"],
        ),
        ("name: x\nbuild: {folding: f.json, budget: {lut: 0.5}}", ["'budget' is {'lut': 0.5}, which does nothing"]),
        ("name: x\nbuild: {target_fps: 1, board: de10}", ["'de10' is not a known board", "pynq-z2"]),
        ("name: x\nbuild: {target_fps: 1, clk_ns: .inf}", ["'build.clk_ns' is inf, expected a finite number"]),
        (
            "name: x\nbuild: {target_fps: 1, clk_ns: 0.5}",
            ["'build.clk_ns' is 0.5, expected greater than or equal to 1"],
        ),
        ("name: x\nbuild: {target_fps: 0}", ["'build.target_fps' is 0, expected greater than 0"]),
        (GOOD + "name: y", ['duplicate key "name"', "keep one"]),
        ("%YAML 1.1\n---\n" + GOOD, ["directives", "not allowed"]),
        ("a: &a [1]\nb: *a", ["aliases", "not allowed"]),
        ("name:\tx\n\tbuild: 1", ["not readable YAML", "experiments/w8a8.yaml"]),
        ("", ["holds nothing, expected fields such as 'name'"]),
        ("- 1", ["holds a list, expected fields such as 'name'"]),
        ("x: !!python/object/apply:os.system [id]", ["not readable YAML", "could not determine a constructor"]),
        (b"name: \xff\xfe", ["not readable YAML", "utf-8"]),
        ("[" * 5000, ["not readable YAML"]),
        (GOOD + "data: {seed: 0x" + "f" * 5000 + "}", ["'data.seed' is a huge number, expected less than"]),
        ("".join(f"{i}: 1\n" for i in range(6000)), ["'name' is missing"]),  # keys are not compared pair by pair
        ("#" * 2_000_000, ["not readable YAML: it has more than 65,536 bytes"]),
        ("d: 2024-99-99", ["not readable YAML", "month must be in 1..12"]),
        ("1: 2\n" + GOOD, ["'1'"]),
        (GOOD + 'data: {"\\n\\e[31m": 1}', [r"data.'\n\x1b[31m'", "valid here are source"]),
    ],
)
def test_messages(text: str | bytes, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "e.yaml")) and message.endswith((".", "?")) and "\n" not in message
    assert len(message) < 600
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "text",
    [
        "data: {seed: VALUE}",
        "network: {height: VALUE}",
        "network: {hidden: [64, VALUE]}",
        "network: {weight_bits: VALUE}",
        "network: {act_bits: [8, VALUE]}",
        "train: {epochs: VALUE}",
        "train: {lr: VALUE}",
        "train: {patience: VALUE}",
        "train: {augment: {scale: VALUE}}",
        "train: {distill: {teacher: x, weight: VALUE}}",
        "model: {file: x.onnx, input_scale: VALUE}",
        "export: {factor_bits: VALUE}",
        "build: {target_fps: VALUE}",
        "build: {target_fps: 1, clk_ns: VALUE}",
        "build: {target_fps: 1, sample: VALUE}",
        "build: {target_fps: 1, budget: {lut: VALUE}}",
    ],
)
@pytest.mark.parametrize("value", ["true", "false"])  # which Python counts as 1 and 0
def test_a_boolean_is_no_number(text: str, value: str, tmp_path: Path) -> None:
    here = text.replace("VALUE", value)
    with pytest.raises(
        ConfigError, match=f"{value.capitalize()}, (expected a number|but sizes)|bits.* is {value.capitalize()}"
    ):
        load(tmp_path, f"name: x\n{here}" if "build" in here else GOOD + here)


def test_a_line_of_aliases_does_not_become_gigabytes(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    with pytest.raises(ConfigError, match="aliases"):
        load(tmp_path, bomb)


@pytest.mark.parametrize("text", ["name: LONG", f"{GOOD}data: {{source: x, label: LONG}}", f"{GOOD}LONG: 1"], ids=len)
def test_every_text_is_bounded(text: str, tmp_path: Path) -> None:
    """Names and labels end in tables and on pages; no message quotes them at length."""
    load(tmp_path, text.replace("LONG", "x" * 30)) if "label" in text else None
    with pytest.raises(ConfigError, match=r"x\.\.\.x+'") as caught:
        load(tmp_path, text.replace("LONG", "x" * 1000))
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "found"), [("/dev/zero", "is not a file"), ("/tmp", "is not a file"), ("nope.yaml", "is not there")]
)
def test_what_is_no_file_is_not_read(path: str, found: str) -> None:
    with pytest.raises(ConfigError, match=f"{found}, expected a file of YAML. Compare with"):
        load_experiment(Path(path))


@pytest.mark.parametrize("section", ["", "data:", "data: {seed: 3}"])
def test_options_replace_what_the_file_says(section: str, tmp_path: Path) -> None:
    data = load(tmp_path, GOOD + section, data=tmp_path, strict=True).data
    assert data.source == tmp_path and data.strict and data.seed == (3 if "seed" in section else 0)


def test_paths_are_meant_beside_the_file_unless_they_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "xrays").mkdir(parents=True)
    (tmp_path / "there" / "xrays").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    text = GOOD + "data: {source: xrays}"
    assert load(tmp_path / "there", text).data.source == tmp_path / "here" / "xrays"
    (tmp_path / "here" / "xrays").rmdir()
    assert load(tmp_path / "there", text).data.source == tmp_path / "there" / "xrays"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "name", "data", "network", "train", "build", "source", "seed", "strict", "height", "hidden", "weight_bits",
        "act_bits", "epochs", "patience", "augment", "lr", "board", "clk_ns", "target_fps", "folding", "sample",
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    "text", ['name: "\\uD800"', '"\\uD800": 1', 'network: {hidden: ["\\udfff"]}', 'data: {source: "a\\U0000dc80"}']
)
def test_half_a_character_is_refused_wherever_it_stands(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not readable YAML: .*surrogates not allowed"):
        load(tmp_path, text.encode())


@ANYWHERE
@given(text=st.text(max_size=80) | st.text(alphabet=string.punctuation + "\n\t a1", max_size=60))
def test_any_text_is_an_experiment_or_a_config_error(text: str, tmp_path: Path) -> None:
    try:
        load(tmp_path, text.encode("utf-8", "surrogatepass"))
    except ConfigError as err:
        assert "\n" not in str(err)


@ANYWHERE
@given(
    raw=st.dictionaries(FIELDS, st.dictionaries(FIELDS, PLAIN, max_size=4) | PLAIN, max_size=5),
    target_fps=st.integers(1, 10**6),
)
def test_any_fields_are_an_experiment_or_a_config_error(raw: dict[str, Any], target_fps: int, tmp_path: Path) -> None:
    text = yaml.safe_dump({"name": "x", "build": {"target_fps": target_fps}, **raw}, allow_unicode=True)
    try:
        experiment = load(tmp_path, text.encode("utf-8", "surrogatepass"))
    except ConfigError as err:
        assert "\n" not in str(err)
    else:
        save_experiment(tmp_path / "again.yaml", experiment)
        assert load_experiment(tmp_path / "again.yaml") == experiment


THREE_CLASSES = (
    "name: x\ndata: {classes: [NORMAL, BACTERIA, VIRUS]%s}\nnetwork: {hidden: [8]%s}\nbuild: {target_fps: 1}\n"
)


def test_the_network_has_a_logit_for_each_of_several_classes(tmp_path: Path) -> None:
    experiment = load(tmp_path, THREE_CLASSES % ("", ""))
    assert experiment.network.outputs == 3 and experiment.network.describe() == "784-8-3 W8A8"
    assert load(tmp_path, THREE_CLASSES % ("", ", outputs: 3")) == experiment
    assert experiment.seeded(1).network.outputs == 3
    save_experiment(tmp_path / "saved.yaml", experiment)
    assert load_experiment(tmp_path / "saved.yaml") == experiment
    two = load(tmp_path, "name: x\ndata: {classes: [a, b]}\nbuild: {target_fps: 1}")
    assert two.network.outputs == 1 and two.data.classes == ("a", "b")
    plain = load(tmp_path, "name: x\nbuild: {target_fps: 1}")
    assert "classes" not in plain.sections("data")["data"] and "outputs" not in plain.sections("network")["network"]
    assert "stream_bits" not in plain.sections("build")["build"]  # a run of before it was one is the same experiment


@pytest.mark.parametrize(
    ("data", "network", "words"),
    [
        ("", ", outputs: 4", ["e.yaml: 'network.outputs' is 4, but 'data.classes' names 3 classes, which needs 3"]),
        (", positive: VIRUS", "", ["'classes' names the classes, so 'positive' and 'negative' say nothing"]),
        (", blank: negative", "", ["'blank' is negative, but with 'classes' it can only be refuse or drop"]),
        (
            "",
            "}\ntrain: {operating_point: youden",
            ["e.yaml: 'train.operating_point' is youden, a threshold of one logit"],
        ),
        (
            "",
            "}\ntrain: {one_class: FUNGUS",
            ["'train.one_class' is 'FUNGUS', expected one", "here are NORMAL, BACTERIA"],
        ),
    ],
)
def test_classes_that_contradict_another_field(data: str, network: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, THREE_CLASSES % (data, network))
    assert all(word in str(caught.value) for word in words), caught.value


def test_one_class_is_read_without_regard_to_case(tmp_path: Path) -> None:
    found = load(tmp_path, THREE_CLASSES % ("", "}\ntrain: {one_class: virus"))
    assert found.train.one_class == "VIRUS"
    assert load_experiment(tmp_path / "e.yaml", fields=["classes=a, Virus ,b"]).train.one_class == "Virus"


@pytest.mark.parametrize("classes", ["normal,virus,bacterial", "a,b,c", "a,b", "a,b,c,d", ""])
def test_other_classes_than_those_of_the_training_blame_no_other_field(classes: str, tmp_path: Path) -> None:
    """The kind of fault: a field that follows from the classes, which the user did not touch, is said to be wrong."""
    load(tmp_path, THREE_CLASSES % ("", ", outputs: 3}\ntrain: {one_class: NORMAL"))
    with pytest.raises(ConfigError, match=r"was trained for NORMAL, BACTERIA, VIRUS\. Give 'data.classes' these,"):
        require_classes(tmp_path / "e.yaml", [f"classes={classes}"])
    for same in (["classes=normal,bacteria,Virus"], ["strict=true"], []):
        require_classes(tmp_path / "e.yaml", same)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("[a]", "expected a list of 2 to 100 names"),
        ("7", "expected a list of 2 to 100 names"),
        ("[a, A, b]", "has 'a' more than once"),
        ("[a, images, b]", "not 'images' or 'patients'"),
        ('[a, "", b]', "expected 1 to 60 letters"),
        ("[a, [b], c]", "expected names; put it in quotes"),
        ("[true, a, b]", "expected names; put it in quotes"),
        ("[null, a]", "classes has None, expected names; put it in quotes"),
        ("'[a, b'", r"classes is '\[a, b', expected a list of 2 to 100 names"),
    ],
)
def test_names_of_classes_that_are_none(classes: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, f"name: x\ndata: {{classes: {classes}}}\nbuild: {{target_fps: 1}}")


def test_classes_from_the_command_line_replace_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(THREE_CLASSES % ("", ""))
    found = load_experiment(tmp_path / "e.yaml", fields=["classes=a, b,c,d"])
    assert found.data.classes == ("a", "b", "c", "d") and found.network.outputs == 4
    found = load_experiment(tmp_path / "e.yaml", fields=['classes=["normal, benign", b, "c"]'])
    assert found.data.classes == ("normal, benign", "b", "c") and found.network.outputs == 3


def test_a_text_that_is_parsed_again_gives_values_of_its_own() -> None:
    for _ in range(2):
        fields = parsed("a: {b: [1]}")
        assert fields == {"a": {"b": [1]}}
        fields["a"]["b"].append(2)
