"""`--set KEY=VALUE`, `--board`, `--clock-mhz`: what they set is what the file would have said, or is refused in words.

The kind of fault: a field that the command line takes and does not use, or reads in another way than the file does.
So the reference is the file: an experiment with a field set there equals one with the field set on the command line.
"""

import inspect
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import ConfigError
from cxrflow.cli import app
from cxrflow.experiment import Experiment, data_of, load_experiment
from cxrflow.overrides import apply, overrides
from cxrflow.stage_table import STAGES
from tests.cxrflow.conftest import Place

BASE: dict[str, Any] = {
    "name": "x",
    "data": {"source": "xrays"},
    "network": {"hidden": [8]},
    "build": {"target_fps": 1000},
}


def load(folder: Path, content: dict[str, Any], *fields: str, **options: Any) -> Experiment:
    (folder / "e.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_experiment(folder / "e.yaml", fields=fields, **options)


@pytest.mark.parametrize(
    ("field", "path", "value"),
    [
        ("build.stream_bits=32", "build.stream_bits", 32),
        ("build.target_fps=max", "build.target_fps", "max"),
        ("build.clk_ns=8", "build.clk_ns", 8),
        ("build.budget.lut=0.5", "build.budget.lut", 0.5),
        ("build.budget={lut: 0.5}", "build.budget", {"lut": 0.5}),
        ("network.hidden=[64, 32]", "network.hidden", [64, 32]),
        ("network.weight_bits=4", "network.weight_bits", 4),
        ("network.hidden[0]=16", "network.hidden", [16]),
        ("network.act_bits=float", "network.act_bits", "float"),
        ("train.augment.enabled=false", "train.augment.enabled", False),
        ("train.patience=null", "train.patience", None),
        ("train.init_from=007", "train.init_from", "007"),  # the name of a run
        ("data.seed=3", "data.seed", 3),
        ("seed=3", "data.seed", 3),
        ("label=1", "data.label", "1"),  # text, as it stands
        ("positive=null", "data.positive", "null"),
        ("name=2024", "name", "2024"),
        ("export.factor_bits=8", "export.factor_bits", 8),
    ],
)
def test_what_is_set_is_what_the_file_would_have_said(tmp_path: Path, field: str, path: str, value: Any) -> None:
    changed = yaml.safe_load(yaml.safe_dump(BASE))
    *sections, name = path.split(".")
    section = changed
    for part in sections:
        section = section.setdefault(part, {})
    section[name] = value
    assert load(tmp_path, BASE, field) == load(tmp_path, changed)


def test_nothing_behind_the_sign_leaves_a_field_out(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text("{}")
    found = load(tmp_path, BASE, "build.target_fps=", f"build.folding={tmp_path / 'f.json'}")
    assert found.build.target_fps is None and found.build.folding == tmp_path / "f.json"
    assert load(tmp_path, BASE, "train.distill.teacher=", "data.label=").train.distill is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (["build.stream_bit=32"], ["'build.stream_bit' is not a known field; did you mean 'stream_bits'?"]),
        (
            ["build.stream_bits=24"],
            ["'build.stream_bits' is 24, expected 8, 16, 32, 64 or 128. docs/experiment-file.md#build"],
        ),
        (["build.stream_bits=128"], ["DMA of pynq-z2 has 64"]),
        (["stream_bits=32"], ["a field of 'build', not of 'data'. Give it as build.stream_bits=VALUE."]),
        (["build.clk_ns"], ["--set is 'build.clk_ns', expected FIELD=VALUE"]),
        (["=3"], ["--set is '=3'"]),
        (["build..x=3"], ["--set is 'build..x=3'"]),
        (["build.clk_ns.x=3"], ["has no fields"]),
        (["build.clk_ns=5", "build.clk_ns=6"], ["'build.clk_ns' is set twice: by --set. Give it once."]),
        (["build.budget.lut=0.5", "build.budget={lut: 0.6}"], ["'build.budget' is set twice, with 'build.budget.lut'"]),
        (["seed=1", "data.seed=1"], ["'data.seed' is set twice"]),
        (
            ["network.hidden=[64, 32"],
            ["'network.hidden' is '[64, 32', which is no YAML", "bracket and quote is closed"],
        ),
        (["build.board=zcu105"], ["known are pynq-z2", "docs/experiment-file.md#build has every field."]),
        (["network.hidden=[1, &a [*a]]"], ["'network.hidden'"]),
        (["network.hidden=" + "[" * 5000], ["'network.hidden'"]),
        (["build.target_fps=" + "9" * 9000], ["'build.target_fps'"]),
        (["data.label=" + "x" * 20_000], ["--set is"]),
        (["build=7"], ["'build' is 7"]),
        (["network.hidden[1]=4"], ["'network.hidden' is a list of 1", "from [0]"]),
        (["network.hidden[0]="], ["'network.hidden' is a list of 1"]),
        (["network.hidden[0].channels=4"], ["'network.hidden[0]' is 8 and has no fields"]),
        (["network.hidden[0]=4", "network.hidden=[3]"], ["'network.hidden' is set twice, with 'network.hidden[0]'"]),
        (["train.distill.temperature=2"], ["'train.distill.teacher' is missing"]),
    ],
)
def test_what_cannot_be_set_is_refused_in_words(tmp_path: Path, fields: list[str], words: list[str]) -> None:
    base = {**BASE, "build": {"target_fps": 1000, "clk_ns": 10}}
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, base, *fields)
    for word in words:
        assert word in str(refused.value), refused.value


def test_an_option_and_set_do_not_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'build.board' is set twice: by --board and --set\. Give"):
        load(tmp_path, BASE, "build.board=zcu104", board="pynq-z1")
    assert load(tmp_path, BASE, "build.stream_bits=128", board="zcu104").build.stream_bits == 128
    with pytest.raises(ConfigError, match=r"'build.target_fps', but without an experiment file"):
        data_of(Path("phantom"), fields=["build.target_fps=3"])


def test_an_entry_of_a_list_is_a_field_too(tmp_path: Path) -> None:
    base = {
        **BASE,
        "network": {"convolutions": [{"channels": 4, "kernel": 5}, 8], "hidden": [], "weight_bits": [8, 4, 8]},
    }
    fields = ("network.convolutions[0].stride=2", "network.convolutions[1]=6", "network.weight_bits[1]=2")
    layers = [{"channels": 4, "kernel": 5, "stride": 2}, 6]
    expected = {**base, "network": {"convolutions": layers, "hidden": [], "weight_bits": [8, 2, 8]}}
    assert load(tmp_path, base, *fields) == load(tmp_path, expected)


@given(st.dictionaries(st.text(max_size=5), st.integers()), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_is_set_or_refused(section: dict[str, int], fields: list[str]) -> None:
    raw: dict[str, Any] = {"build": dict(section), "name": 3}
    try:
        apply(raw, overrides(fields, Experiment))
    except ConfigError as err:
        assert str(err).endswith(".")


def test_every_command_that_takes_an_experiment_takes_changes() -> None:
    takes = {
        command.name or command.callback.__name__: set(inspect.signature(command.callback).parameters)
        for command in app.registered_commands
        if command.callback and "file" in inspect.signature(command.callback).parameters
    }
    assert set(takes) >= {"train", "export", "build", "simulate", "synth", "ip", "package", "bitstream", "run"}
    assert set(takes) <= {row.command for row in STAGES.values()} | {"run"}
    for name, parameters in takes.items():
        assert {"fields", "board", "clock_mhz"} <= parameters, name
    commands: Any = typer.main.get_command(app)
    assert "--set" in {o for p in commands.commands["data"].commands["check"].params for o in p.opts}


@pytest.mark.parametrize("command", ["data check x.yaml", "evaluate x"])
@pytest.mark.parametrize("option", ["--board", "--clock-mhz"])
def test_a_command_about_no_hardware_says_so(bare: Place, command: str, option: str) -> None:
    bare(*command.split(), option, "8").assert_refused(f"{option} is about hardware, which this command neither reads")


@pytest.mark.parametrize(
    "words",
    [
        "build x.yaml --clock-mhz nan", "build x.yaml --clock-mhz inf", "build x.yaml --clock-mhz 0.5",
        "bitstream x.yaml --idle-minutes nan", "bitstream x.yaml --idle-minutes inf", "sensitivity x --loss nan",
    ],
)  # fmt: skip
def test_what_is_no_number_of_its_range_is_refused_by_its_option(bare: Place, words: str) -> None:
    option, value = words.split()[2:]
    done = bare(*words.split())
    assert done.code == 2 and option in done.err, done.err
    if option == "--clock-mhz":
        assert done.err == f"error: --clock-mhz is {value}, expected 1 to 1000 MHz.\n"


def test_a_build_from_the_command_line(finished: Place) -> None:
    changes = ["--set", "build.stream_bits=16", "--clock-mhz", "125", "--set", "build.target_fps=50000"]
    done = finished("build", "tiny.yaml", *changes)
    assert done.code == 0, done.err
    kept = yaml.safe_load((finished.run / "experiment.yaml").read_text())["build"]
    assert (kept["stream_bits"], kept["clk_ns"], kept["target_fps"]) == (16, 8.0, 50000)
    design = yaml.safe_load((finished.run / "build" / "pynq-z2" / "rtl" / "design.json").read_text())
    assert design["input"]["bits"] == 16
    finished("build", "tiny.yaml", "--board", "zcu105").assert_refused("'zcu105' is not a known board")
    # The same sentence everywhere, and not that a build of this rate would have to be made first; nothing is recorded.
    too_fast = ("--set", "build.stream_bits=8", "--set", "build.target_fps=9000000")
    before = (finished.run / "experiment.yaml").read_bytes()
    for command in ("run", "build", "simulate", "package"):
        finished(command, "tiny.yaml", *too_fast).assert_refused(
            "8 bits of 'build.stream_bits'", "The nearest that is sure to fit is 'build.target_fps': 1562500."
        )
    assert (finished.run / "experiment.yaml").read_bytes() == before
    finished("build", "tiny.yaml", "--clock-mhz", "125", "--set", "build.clk_ns=3").assert_refused(
        "set twice: by --clock-mhz and --set."
    )
