"""Every op answers for itself, and nobody else knows one by its name."""

import ast
from copy import deepcopy
from pathlib import Path

import pytest
from qonnx.custom_op.registry import getCustomOp

import finn_build
from contract.errors import ArtifactError
from contract.network import Input, IntegerNetwork
from export.requantization import requantized
from finn_build import ops
from finn_build.hardware_graph import hardware_graph
from finn_build.ops.op import Op
from finn_build.stitch import load_design
from tests.integer_networks import random_convolutional_network, random_integer_network

ROOT = Path(finn_build.__file__).parent
# On DSPs, thresholds, signs, in LUTs.
DENSE = requantized(random_integer_network([4, 6], [3, 0], height=2, width=4, seed=1))
# Padding, windows, products and thresholds of places; depthwise layers that may be on DSPs and that answer with signs.
KINDS = ["convolution", "depthwise", "max_pool", "depthwise", "global_sum"]
IMAGE = random_convolutional_network(KINDS, [15, 15, 0, 0, 0], seed=2, source=Input(12, 11), reach=7)


def strings(path: Path) -> list[str]:
    """Every string of a file that is no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docs]
    return [node.value for node in found if isinstance(node.value, str)]


def test_no_other_file_names_an_op() -> None:
    names = {*ops.OPS, "MVAU", "Thresholding", "StreamingFIFO", "StreamingDataWidthConverter"}
    folders = (ROOT, ROOT.parent / "cxrflow", ROOT.parent / "benchmarks")
    files = [path for folder in folders for path in folder.rglob("*.py") if path.parent != ROOT / "ops"]
    assert len(files) > 50
    assert [(path.name, text) for path in files for text in strings(path) if any(n in text for n in names)] == []


def test_every_file_of_an_op_is_found() -> None:
    defined = {name.stem for name in (ROOT / "ops").glob("*.py") if "\nOP = " in name.read_text(encoding="utf-8")}
    assert {type(op).__module__.rpartition(".")[2] for op in ops.OPS.values()} == defined
    assert all(op.op_type == name and isinstance(op, Op) for name, op in ops.OPS.items())


@pytest.mark.parametrize(("network", "kinds"), [(DENSE, 3), (IMAGE, 7)], ids=["dense", "image"])
def test_a_folding_is_what_finn_makes_of_its_attributes(network: IntegerNetwork, kinds: int) -> None:
    """Every legal folding of every node: cycles, the width of a beat, and what it takes, once more from FINN's node."""
    ops.register()
    model = hardware_graph(network)
    assert len({node.op_type for node in model.graph.node}) == kinds
    for node in model.graph.node:
        op, inst = ops.layer_op(node), getCustomOp(node)
        layer = op.layer(model, inst)
        foldings, legal = list(op.foldings(layer)), op.legal(inst)
        assert len(foldings) == len(set(foldings)) and foldings[0].pe == 1
        for folding in foldings:
            for attribute, value in op.attributes(folding).items():
                inst.set_nodeattr(attribute, value)
            assert all(value in legal[attribute].values for attribute, value in op.attributes(folding).items())
            op_then, then = op, inst
            if folding.pixels > 1:  # FINN's node becomes ours
                built = deepcopy(model)
                op.build(built, built.get_node_from_name(node.name))
                made = built.get_node_from_name(node.name)
                op_then, then = ops.layer_op(made), getCustomOp(made)
            assert then.get_exp_cycles() == op.cycles(layer, folding) == op_then.node_cycles(model, then)
            assert then.get_instream_width() == layer.in_bits * op.taken(folding)
            assert then.get_outstream_width() == layer.out_bits * op.given(layer, folding)
            if not folding.in_luts:
                assert op_then.folding(then) == folding
                assert op_then.node_cost(model, then, "xc7") == op.cost(layer, folding, "xc7")


def test_a_record_of_an_unknown_op_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "design.json"
    text = '{"sources": [], "input": {"bits": 8, "beats": 1, "pixels_per_beat": 1, "datatype": "uint8"}, '
    text += '"output": {"bits": 32, "beats": 1, '
    text += '"logit_bits": 9}, "nodes": [{"name": "a", "op_type": "MVAU_hls", "in_bits": 8, "out_bits": 8, '
    text += '"weight_bits": 8, "pe": 1, "out_element_bits": 8, "cycles": 1}]}'
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"node a of the op MVAU_hls, expected .*MVAU_rtl.* Run `cxrflow build`"):
        load_design(tmp_path)
