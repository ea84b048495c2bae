"""Layers in LUTs: FINN's graph with our node, and the networks that hold it, all the way to simulated RTL."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.errors import MismatchError
from contract.golden import load_golden
from contract.network import IntegerNetwork, load_network
from finn_build.build import build
from finn_build.config import BuildConfig
from finn_build.ops import OPS, op_of
from finn_build.ops.lut_mvau import LutMvau, needed_bits, needed_parameter, weight_words
from finn_build.plan import input_type, network_sizes, plan
from finn_build.stitch import load_design
from finn_build.verify import simulate_build
from qnn.network import snap_weights
from tests.random_networks import export_net, export_random, random_net, random_pixels, small_spec

# name -> weight bits, activation bits, images/s or (PE, SIMD) per layer, the slowest layer, how many layers are ours
CASES: dict[str, tuple[object, object, object, str, int]] = {
    "W1A1": (1, 1, 500_000, "LutMVAU_rtl_0", 3),
    "W1A1, second layer slowest": (1, 1, ((8, 8), (16,), (1, 1), (1,), (1, 2)), "LutMVAU_rtl_1", 3),
    "W1A8": (1, 8, ((2, 4), (1,), (2, 2), (8,), (1, 4)), "LutMVAU_rtl_0", 3),
    "W2A1": (2, 1, ((4, 8), (2,), (2, 4), (1,), (1, 1)), "MVAU_rtl_0", 2),
    "W8A1": (8, 1, ((8, 8), (4,), (2, 2), (4,), (1, 8)), "LutMVAU_rtl_0", 2),
    "mixed": ((8, 1, 4), (1, 4), ((16, 8), (4,), (1, 8), (1,), (1, 1)), "LutMVAU_rtl_0", 1),
    "W2A2 in LUTs": (2, 2, ((4, 8), (1,), (2, 4), (1,), (1, 2)), "MVAU_rtl_0", 3),
    "W8A8 in LUTs": (8, 8, ((2, 4), (1,), (8, 1), (1,), (1, 8)), "MVAU_rtl_0", 3),
    "W3A4 in LUTs": (3, 4, ((16, 1), (4,), (4, 16), (1,), (1, 8)), "MVAU_rtl_0", 3),
}


def quiet(_: str) -> None:
    pass


def write_folding(
    path: Path, network: IntegerNetwork, folding: tuple[tuple[int, ...], ...], *, in_luts: bool = False
) -> Path:
    """Write FINN's folding file for matrix products and thresholds in turn; our products answer with signs at once."""
    content: dict[str, dict[str, int | str]] = {}
    for i, nodes in enumerate(plan(network_sizes(network), input_type(network))):
        product = nodes[0]
        mine = in_luts or isinstance(OPS[product.kind], LutMvau)
        pe, simd = folding[2 * i]
        content[product.name] = {"PE": pe, "SIMD": simd, "resType": "lut" if mine else "dsp"}
        content |= {node.name: {"PE": folding[2 * i + 1][0]} for node in nodes[1:]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_stage_and_the_rtl_give_the_same_integers(case: str, tmp_path: Path) -> None:
    weight_bits, act_bits, wanted, slowest, count = CASES[case]
    spec = small_spec(weight_bits, act_bits, (16, 8))
    export_random(tmp_path / "export", spec, count=100)
    if isinstance(wanted, int):
        config = BuildConfig(target_fps=wanted)
    else:
        network = load_network(tmp_path / "export" / "reference.npz")
        assert isinstance(wanted, tuple)
        in_luts = case.endswith("in LUTs")
        config = BuildConfig(folding=write_folding(tmp_path / "folding.json", network, wanted, in_luts=in_luts))
    summary = build(tmp_path / "export", tmp_path / "build", config, quiet)
    exact = [row for row in summary["chain"] if row["differing"] is not None]
    assert {"streamline", "hardware_graph", "fold"} < {r["stage"] for r in exact}
    assert all(row["differing"] == 0 for row in exact)
    ours = {node.name for node in load_design(tmp_path / "build" / "rtl").nodes if isinstance(op_of(node), LutMvau)}
    assert len(ours) == count
    estimates = json.loads((tmp_path / "build" / "estimates.json").read_text(encoding="utf-8"))
    assert all(layer["DSP"] == 0 and layer["LUT"] > 0 for layer in estimates["layers"] if layer["name"] in ours)
    sim = simulate_build(tmp_path / "build", tmp_path / "export", tmp_path / "sim", quiet)
    assert (sim["images"], sim["differing"], sim["images_with_random_stalls"]) == (100, 0, 100)
    assert abs(sim["initiation_interval"] - estimates["cycles_per_image"]) <= 1
    most = [layer["name"] for layer in estimates["layers"] if layer["cycles"] == estimates["cycles_per_image"]]
    assert sim["slowest"] == most and slowest in most
    if case in ("mixed", "W2A2 in LUTs"):  # two are enough: its own folding file gives the same RTL again
        again = BuildConfig(folding=tmp_path / "build" / "folding.json")
        build(tmp_path / "export", tmp_path / "again", again, quiet)
        for path in (tmp_path / "build" / "rtl").iterdir():
            assert path.read_bytes() == (tmp_path / "again" / "rtl" / path.name).read_bytes(), path.name


@pytest.mark.slow
@pytest.mark.parametrize("bits", [1, 2, 8])
def test_a_logit_that_is_never_negative(tmp_path: Path, bits: int) -> None:
    """All weights of the head are positive: neither they nor a logit that fills its bytes may be read as negative."""
    net = random_net(small_spec((8, 8, bits), 4, (12, 16)))
    with torch.no_grad():
        for block in net.blocks:
            block.norm.bias.abs_().add_(2)
        net.head.linear.weight.fill_(1.0)
        net.head.norm.weight.abs_()
    snap_weights(net)
    export_net(tmp_path / "export", net, random_pixels(40))
    assert (load_network(tmp_path / "export" / "reference.npz").dense[-1].weights > 0).all()
    assert load_golden(tmp_path / "export" / "golden.npz").logits.max() >= 128
    build(tmp_path / "export", tmp_path / "build", BuildConfig(target_fps=1_000_000), quiet)
    assert simulate_build(tmp_path / "build", tmp_path / "export", tmp_path / "sim", quiet)["differing"] == 0


@pytest.mark.slow
def test_damaged_weights_are_found_and_named(tmp_path: Path) -> None:
    """The activations before and behind it are bipolar."""
    export_random(tmp_path / "export", small_spec(1, 1, (16, 8)), count=100)
    build(tmp_path / "export", tmp_path / "build", BuildConfig(target_fps=2_000_000), quiet)
    memory = tmp_path / "build" / "rtl" / "LutMVAU_rtl_1_weights.dat"
    words = memory.read_text(encoding="ascii").split()
    negated = ["".join(f"{int(digit, 16) ^ 15:x}" for digit in word) for word in words]
    memory.write_text("\n".join(negated) + "\n", encoding="ascii")
    with pytest.raises(MismatchError, match=r"first layer that differs is layer 1 \(LutMVAU_rtl_1\), at channel \d"):
        simulate_build(tmp_path / "build", tmp_path / "export", tmp_path / "sim", quiet)


def naive_words(weights: list[list[int]], pe: int, simd: int, bits: int) -> list[int]:
    """The words as the header of lut_mvu.sv says."""
    words = []
    for fold in range(len(weights) // pe):
        for beat in range(len(weights[0]) // simd):
            word = 0
            for p in range(pe):
                for s in range(simd):
                    value = weights[fold * pe + p][beat * simd + s]
                    coded = int(value == 1) if bits == 1 else value % 2**bits
                    word += coded << ((p * simd + s) * bits)
            words.append(word)
    return words


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
@pytest.mark.parametrize(("pe", "simd"), [(1, 1), (2, 3), (4, 6), (1, 6), (4, 1)])
def test_weight_words(bits: int, pe: int, simd: int) -> None:
    rng = np.random.default_rng(bits)
    weights = (
        rng.integers(0, 2, (4, 6)) * 2 - 1 if bits == 1 else rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (4, 6))
    )
    words = weight_words(weights, pe=pe, simd=simd, bits=bits)
    assert [int(word, 16) for word in words] == naive_words(weights.tolist(), pe, simd, bits)
    assert {len(word) for word in words} == {-(-pe * simd * bits // 4)}


def test_needed_bits() -> None:
    """Rows 0 and 2 are multiplied at one place, and columns 0 and 2."""
    weights = np.array([[0, 1, 0, -2], [3, -128, -4, 127], [0, 0, -1, 1], [-5, 0, 0, 0]])
    assert needed_bits(weights, pe=2, simd=2).tolist() == [[1, 2], [4, 8]]
    assert needed_parameter(weights, pe=2, simd=2) == "32'h08040201"
