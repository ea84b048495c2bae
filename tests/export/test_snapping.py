"""Narrow factors: gains that move before the export, and nothing else.

The kind of fault: a network that is no longer one function in Brevitas, QONNX and integers, because a number that was
meant to be short did not fit float32; factors that are wide all the same; a channel that moved without need; a loss
that nobody is told of. `export_run` itself stops where Brevitas or QONNX differ from the integers.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from contract.errors import ConfigError, MismatchError
from contract.network import IntegerNetwork, load_network
from contract.requantization import Requantization
from datasets.xray import Split
from export.config import ExportConfig
from export.export import export_run
from export.integer_network import canonical, extract
from export.requantization import requantization
from export.snapping import _write
from qnn.checkpoint import Checkpoint
from qnn.network import PixelMLP, act_scale
from tests.random_networks import random_net, random_pixels, small_spec

PIXELS = random_pixels(200)
NUMBERS = np.arange(200)
WIDTHS = [(8, 8), (4, (6, 4)), ((1, 8, 3), (8, 1)), ((2, 3, 7), (2, 6))]


def images(labels: NDArray[np.int64] | None = None) -> Split:
    names = tuple(f"{i}.png" for i in NUMBERS)
    return Split(PIXELS, NUMBERS % 2 if labels is None else labels, NUMBERS, names)


def own_classes(net: PixelMLP) -> Split:
    """Labels that the network finds without a mistake."""
    logits = integers(net).outputs(PIXELS)[-1][:, 0]
    return images((logits > np.median(logits)).astype(np.int64))


def integers(net: PixelMLP) -> IntegerNetwork:
    return extract(canonical(net)).network


def exported(net: PixelMLP, out: Path, bits: int | None, validation: Split | None = None) -> dict[str, Any]:
    config = ExportConfig(factor_bits=bits)
    return export_run(Checkpoint(net, 0.25, "print"), images(), out, config, validation=validation or own_classes(net))


def widest(network: IntegerNetwork) -> list[int]:
    """Bits of the factors of every layer of many levels."""
    found = []
    for layer, ends in zip(network.dense, network.input_ranges(), strict=True):
        if layer.thresholds is not None and not layer.bipolar:
            integers = requantization(layer.thresholds, *layer.accumulator_range(*ends))
            assert integers is not None
            found.append(int(integers.factor.max()).bit_length())
    return found


@pytest.mark.parametrize("bits", [10, 16])
@pytest.mark.parametrize(("weight_bits", "act_bits"), WIDTHS, ids=str)
def test_all_factors_are_narrow_and_everything_agrees(
    tmp_path: Path, weight_bits: object, act_bits: object, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels that are dead, nearly dead and steep are among them; a layer that is narrow already stays."""
    monkeypatch.setattr("export.snapping.LARGEST_LOSS", 1.0)  # not the question here
    net = random_net(small_spec(weight_bits, act_bits), seed=5)
    with torch.no_grad():
        for block in net.blocks:
            block.norm.weight[:4] = torch.tensor([0.0, 1e-9, -40.0, 1e-3])
            block.norm.bias[:4] = torch.tensor([0.7, 2.0, 1.0, 1.3])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    summary = exported(net, tmp_path / "export", bits)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [link["differing"] for link in summary["chain"]] == [0, 0]
    network, was = load_network(tmp_path / "export" / "reference.npz"), integers(net)
    assert max(widest(network)) <= bits
    told = summary["narrowed"]
    assert told["layers"] == sum(wide > bits for wide in widest(was)) and told["factor_bits"] == bits
    moved = 0
    for new, old, ends in zip(network.dense, was.dense, was.input_ranges(), strict=True):
        np.testing.assert_array_equal(new.weights, old.weights)
        if new.thresholds is not None and old.thresholds is not None:
            least, greatest = (v[:, None] for v in old.accumulator_range(*ends))
            moved += int((new.thresholds != old.thresholds.clip(least, greatest + 1)).any(axis=1).sum())
    assert 0 < moved <= told["channels_snapped"] or not told["layers"]


def test_the_level_at_the_mean_stays_and_others_move_a_little(tmp_path: Path) -> None:
    net = random_net(small_spec(8, 8), seed=5)
    exported(net, tmp_path / "export", 12)
    new, old = load_network(tmp_path / "export" / "reference.npz").dense[0], integers(net).dense[0]
    difference = np.abs(new(PIXELS) - old(PIXELS))
    assert 0 < difference.max() <= 1 and difference.mean() < 0.02


def test_without_the_wish_nothing_changes(tmp_path: Path) -> None:
    net = random_net(small_spec(8, 8), seed=5)
    assert "narrowed" not in exported(net, tmp_path / "export", None)
    layers = zip(load_network(tmp_path / "export" / "reference.npz").dense, integers(net).dense, strict=True)
    for new, old in layers:
        np.testing.assert_array_equal(new.thresholds, old.thresholds)


def test_what_no_integers_give_keeps_its_thresholds_unless_gains_may_move(tmp_path: Path) -> None:
    """Gains of a half make a tie of every second sum, which is rounded to even; no line does that."""
    net = canonical(random_net(small_spec(8, 8), seed=5))
    _write(net, 0, Requantization(np.ones(12, dtype=np.int64), np.zeros(12, dtype=np.int64), 1, 255))
    norm = net.blocks[0].norm
    with torch.no_grad():
        for name, value in (("running_mean", 0), ("bias", 0), ("weight", act_scale(8) / 2)):
            getattr(norm, name).fill_(value)
    layers = exported(net, tmp_path / "export", None)["layers"]
    assert [layer["activation"] for layer in layers] == ["thresholds", "requantize", "none"]
    found = exported(net, tmp_path / "narrow", 20)
    assert [layer["activation"] for layer in found["layers"]] == ["requantize", "requantize", "none"]
    assert found["narrowed"]["layers"] == 2 and found["narrowed"]["channels_snapped"] >= 12


def test_factors_that_are_narrow_already_move_nothing(tmp_path: Path) -> None:
    net = random_net(small_spec(2, 2), seed=5)
    wide = max(widest(integers(net)))
    told = exported(net, tmp_path / "export", wide)["narrowed"]
    assert (told["layers"], told["channels_snapped"], told["test_images_of_another_class"]) == (0, 0, 0)
    assert told["validation_auc"] == told["validation_auc_before"] == 1


def test_what_is_lost_is_told_and_too_much_is_refused(tmp_path: Path) -> None:
    net = random_net(small_spec(8, 8), seed=5)
    told = exported(net, tmp_path / "export", 16)["narrowed"]
    assert told["validation_auc_before"] == 1 and 0.999 <= told["validation_auc"] <= 1
    with pytest.raises(ConfigError, match=r"factors of 4 bits take the validation AUC from 1\.0000 to 0\.9\d+, .*more"):
        exported(net, tmp_path / "refused", 4)
    assert not (tmp_path / "refused").exists()


def test_a_batch_norm_that_is_not_what_was_meant_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.snapping._write", lambda *_: None)
    with pytest.raises(MismatchError, match=r"layer 0: .* are not what their thresholds are"):
        exported(random_net(small_spec(8, 8), seed=5), tmp_path / "export", 12)


def test_a_layer_that_is_too_steep_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of 255 levels in one step of the sum: 0 * m + b and 1 * m + b are 254 levels apart at least."""
    monkeypatch.setattr("export.snapping.LARGEST_LOSS", 1.0)
    net = random_net(small_spec(8, 8), seed=5)
    with torch.no_grad():
        net.blocks[1].norm.weight[0] = 1e6
    with pytest.raises(ConfigError, match=r"layer 1 is too steep for factors of 6 bits.* more bits, or leave it out"):
        exported(net, tmp_path / "export", 6)
    exported(net, tmp_path / "wider", 8)
    assert max(widest(load_network(tmp_path / "wider" / "reference.npz"))) == 8


def test_numbers_that_float32_does_not_hold_are_refused() -> None:
    """A zero at a sum of 30 bits, rounded to 24, leaves 27 bits of a factor of 20."""
    net = canonical(random_net(small_spec(8, 8), seed=5))
    factor = np.full(12, 2**20 - 1)
    for zero, fits in ((2**30 + 2**7, True), (2**30 + 37, False)):
        found = Requantization(factor, -factor * zero + 2**29, 30, 255)
        refused = pytest.raises(
            ConfigError, match=r"layer 0 has sums that leave too few of float32's bits.* fewer bits"
        )
        with contextlib.nullcontext() if fits else refused:
            _write(net, 0, found)


def test_the_record_is_what_is_read_back(tmp_path: Path) -> None:
    from export.records import Exported

    summary = exported(random_net(small_spec(8, 8), seed=5), tmp_path / "export", 12)
    assert json.loads((tmp_path / "export" / "export.json").read_text(encoding="utf-8")) == summary
    narrowed = Exported.model_validate(summary).narrowed
    assert narrowed is not None
    assert f"Factors of 12 bits: the gains of {narrowed.channels_snapped} channels in 2 layers" in narrowed.sentence
