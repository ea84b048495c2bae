"""Numbers that do not use their width: every product is the integers' in RTL, and no datatype is too small.

The kind of fault: FINN's datatypes are chosen by the values that occur, and the RTL has its own reading of them.
Weights that are never negative became unsigned, which the RTL reads as signed; -1 and 0 alone became bipolar, 0 alone
became a type of no width; an accumulator that holds every sum may be narrower than FINN's unit takes. So: weights of
one sign, of one value, {0, 1}, {-1, 0}, all zero, one column, one row; activations that are never negative, or signs;
sums that are never, or always, negative. `hardware_graph` is the one place that decides.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from qonnx.core.datatype import DataType

from contract.network import Dense, Input, IntegerNetwork
from finn_build.hardware_graph import hardware_graph
from finn_build.ops.lut_mvau import LutMvu
from finn_build.ops.mvau import Mvu
from tests.rtl.finn_units import VECTORS, Unit, divisors, run


def kinds(bits: int) -> dict[str, Sequence[int]]:
    """Return which values weights of so many bits may have, by name; 1 bit is -1 and +1."""
    least, greatest = (-1, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return {
        "any": range(least, greatest + 1) if bits > 1 else (-1, 1),
        "never negative": range(greatest + 1),
        "never positive": range(least, 1),
        "always positive": range(1, greatest + 1),
        "least": (least,),
        "greatest": (greatest,),
        "0 and 1": (0, 1),
        "-1 and 0": (-1, 0),
        "zero": (0,),
    }


def layer_behind(bits: int, mw: int) -> tuple[Dense, ...]:
    """Return layers whose activations have so many bits: none for 8, which are pixels; 1 is bipolar."""
    if bits == 8:
        return ()
    thresholds = np.tile(np.arange(1, 2 if bits == 1 else 2**bits), (mw, 1))
    return (Dense(np.full((mw, 1), 2, dtype=np.int8), thresholds, bipolar=bits == 1),)


def network(weights: NDArray[np.int8], act_bits: int, *, head: bool) -> IntegerNetwork:
    """Return a network with a layer of these weights, as its last one or before that."""
    before = layer_behind(act_bits, weights.shape[1])
    layer = Dense(weights, None)
    behind: tuple[Dense, ...] = ()
    if not head:
        low, high = before[-1].output_range() if before else (0, 255)
        middle = layer.accumulator_range(low, high)[1][:, None]
        layer = Dense(weights, middle)
        behind = (Dense(np.ones((1, len(weights)), dtype=np.int8), None),)
    return IntegerNetwork(Input(1, weights.shape[1] if not before else 1), (*before, layer, *behind))


def product(graph: Any, number: int) -> tuple[str, dict[str, Any]]:
    """Return the kind and the attributes of matrix product `number` of a graph."""
    node = [n for n in graph.graph.node if n.op_type in ("MVAU_rtl", "LutMVAU_rtl")][number]
    attributes = {a.name: a.i or a.s.decode() or list(a.ints) for a in node.attribute if a.name != "backend"}
    return node.op_type, {**attributes, "noActivation": attributes.get("noActivation") or 0}


def unit(weights: NDArray[np.int8], act_bits: int, *, in_luts: bool, head: bool, name: str) -> Unit:
    """Return the product of this layer as it is built, folded somehow."""
    mh, mw = weights.shape
    rng = np.random.default_rng(len(name) + mh * mw)
    number = int(act_bits != 8)
    op_type, attributes = product(hardware_graph(network(weights, act_bits, head=head)), number)
    attributes |= {"PE": int(rng.choice(divisors(mh))), "SIMD": int(rng.choice(divisors(mw)))}
    if in_luts or op_type == "LutMVAU_rtl":
        op_type = "LutMVAU_rtl"
        attributes = {k: v for k, v in attributes.items() if k not in ("resType", "mem_mode")}
    else:
        attributes |= {"resType": "dsp", "mem_mode": "internal_decoupled"}
    levels = (-1, 1) if act_bits == 1 else range(2**act_bits)
    x = rng.choice(np.array(levels), (VECTORS, mw))
    x[:2] = [[levels[0]], [levels[-1]]]
    pe, simd, beats, passes = attributes["PE"], attributes["SIMD"], mw // attributes["SIMD"], mh // attributes["PE"]
    bits = DataType[attributes["outputDataType"]].bitwidth()
    weight_bits = DataType[attributes["weightDataType"]].bitwidth()
    sums = x @ weights.T.astype(np.int64)
    return Unit(
        op_type, attributes, (x + 1) // 2 if act_bits == 1 else x, sums, weights.T.astype(np.int64), name, (simd, pe),
        (act_bits, bits),
        lambda: LutMvu(beats=beats, passes=passes, simd=simd, weight_bits=weight_bits, act_bits=act_bits)
        if op_type == "LutMVAU_rtl"
        else Mvu(beats=beats, passes=passes, simd=simd),
    )  # fmt: skip


def units(bits: int) -> list[Unit]:
    """Return units with weights of every kind of so many bits, FINN's and ours, with all kinds of activations."""
    rng = np.random.default_rng(bits)
    found = []
    for i, (kind, values) in enumerate(kinds(bits).items()):
        for in_luts in (False, True):
            act_bits = (8, 2, 1, 5)[(i + in_luts) % 4]
            head = (i + in_luts) % 3 == 0
            shape = (1 if head else int(rng.choice([1, 2, 4])), int(rng.choice([1, 3, 6])))
            weights = rng.choice(np.array(values), shape).astype(np.int8)
            name = f"W{bits} {kind}, {shape}, A{act_bits}{', head' if head else ''}{', in LUTs' if in_luts else ''}"
            found.append(unit(weights, act_bits, in_luts=in_luts, head=head, name=name))
    return found


@pytest.mark.slow
def test_every_product_is_the_integers_in_rtl(tmp_path: Path) -> None:
    found = [u for bits in (1, 2, 8) for u in units(bits)]
    assert {u.op_type for u in found} == {"MVAU_rtl", "LutMVAU_rtl"}
    assert run(found, tmp_path / "bench", deepest=3, cycles=3000) == ""


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.data())
def test_datatypes_hold_what_occurs_and_are_read_as_they_are(data: st.DataObject) -> None:
    bits, act_bits, head = (
        data.draw(st.integers(1, 8)),
        data.draw(st.sampled_from([1, 2, 4, 8])),
        data.draw(st.booleans()),
    )
    values = data.draw(st.sampled_from(sorted(kinds(bits).items())))[1]
    shape = (1 if head else data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4)))
    cells = data.draw(
        st.lists(st.sampled_from(list(values)), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    )
    weights = np.array(cells, dtype=np.int8).reshape(shape)
    op_type, attributes = product(hardware_graph(network(weights, act_bits, head=head)), int(act_bits != 8))
    kind, accumulator = DataType[attributes["weightDataType"]], DataType[attributes["accDataType"]]
    assert all(kind.allowed(value) for value in cells)
    assert kind.name == "BIPOLAR" or (kind.signed() and kind.bitwidth() >= 2), "1 bit is bipolar to the RTL"
    low, high = (-1, 1) if act_bits == 1 else (0, 2**act_bits - 1)
    least, greatest = Dense(weights, None).accumulator_range(low, high)
    assert accumulator.min() <= least.min() and greatest.max() <= accumulator.max()
    assert attributes["outputDataType"] == accumulator.name
    assert not head or (accumulator.signed() and accumulator.bitwidth() % 8 == 0)
    if op_type == "MVAU_rtl":  # what mvu.sv asks for
        activations = DataType[attributes["inputDataType"]]
        assert activations.bitwidth() >= 2 and not activations.signed()
        assert accumulator.bitwidth() >= kind.bitwidth() + activations.bitwidth()
