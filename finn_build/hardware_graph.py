"""The hardware graph, written straight from the integer network: FINN's nodes, or ours, with every width decided here.

Nothing is converted on the way, so nothing can round differently, and whoever can produce an `IntegerNetwork` gets
this hardware. Widths come from int64: FINN would compute them, and keep thresholds, in float32, which is exact up to
2**24 only. A layer is a matrix product and, behind it, thresholds; our unit answers with signs at once. FINN's RTL
multiplies from 2 bits on, so a product with a bipolar operand is a `LutMVAU_rtl`. It reads weights as signed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper

from contract.network import IntegerLayer, IntegerNetwork

DOMAIN = "finn.custom_op.fpgadataflow.rtl"  # FINN takes a node for RTL by this name alone
INPUT, OUTPUT = "global_in", "global_out"  # FINN's names of a graph's ends
SMALLEST = 2  # bits of a number that is not bipolar: FINN's datatypes of 1 bit have meanings of their own


def hardware_graph(network: IntegerNetwork) -> ModelWrapper:
    """Return the graph of `network`, (1, pixels) uint8 to the (1, 1) logit, unfolded: PE and SIMD are 1.

    Thresholds are int64 initializers; weights are float32, as FINN wants them.
    """
    writer = _Writer()
    tensor, datatype = INPUT, "UINT8"
    for layer, (low, high) in zip(network.layers, network.input_ranges(), strict=True):
        tensor, datatype = writer.layer(layer, tensor, datatype, low, high)
    return writer.model(inputs=network.height * network.width)


def signed_type(low: int, high: int) -> str:
    """Return the narrowest signed FINN datatype that holds low..high."""
    return f"INT{max(SMALLEST, 1 + max((low if low >= 0 else ~low).bit_length(), high.bit_length()))}"


def integer_type(low: int, high: int) -> str:
    """Return the narrowest FINN datatype that holds low..high, unsigned where that does."""
    return f"UINT{max(SMALLEST, high.bit_length())}" if low >= 0 else signed_type(low, high)


def weight_type(weights: NDArray[np.int8]) -> str:
    """Return the FINN datatype of a layer's weights: bipolar if all are -1 or +1, else signed, which the RTL reads."""
    return "BIPOLAR" if (np.abs(weights) == 1).all() else signed_type(int(weights.min()), int(weights.max()))


def activation_bits(layer: IntegerLayer) -> int:
    """Return the width of a hidden layer's activation [bit]: 1 is bipolar."""
    assert layer.thresholds is not None
    return 1 if layer.bipolar else max(SMALLEST, layer.thresholds.shape[1].bit_length())


class _Writer:
    """Collects nodes, tensors and constants."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.types = {INPUT: "UINT8"}
        self.widths: dict[str, int] = {}  # elements of each tensor that a node writes
        self.constants: dict[str, NDArray[Any]] = {}
        self.names: dict[str, int] = {}

    def layer(self, layer: IntegerLayer, source: str, datatype: str, low: int, high: int) -> tuple[str, str]:
        """Add one layer that reads `source`; return its output and that one's datatype."""
        mh, mw = layer.weights.shape
        weights = weight_type(layer.weights)
        ours = "BIPOLAR" in (datatype, weights)
        least, greatest = layer.accumulator_range(low, high)
        constants = [self._constant(layer.weights.T.astype(np.float32), weights)]
        accumulator = integer_type(int(least.min()), int(greatest.max()))
        result = accumulator
        fused = ours and layer.bipolar
        if layer.thresholds is None:
            # FINN's shell reads whole bytes, and the result stream extends a sign.
            bits = DataType[signed_type(int(least.min()), int(greatest.max()))].bitwidth()
            accumulator = result = f"INT{-(-bits // 8) * 8}"
        elif fused:
            # What our unit adds up starts from the threshold, so that the sign of the sum is the answer.
            thresholds = layer.thresholds[:, 0].clip(least, greatest + 1)
            accumulator = signed_type(int((least - thresholds).min()), int((greatest - thresholds).max()))
            result = "BIPOLAR"
            constants.append(self._constant(thresholds[:, None], integer_type(*_ends(thresholds))))
        product = self._node(
            "LutMVAU_rtl" if ours else "MVAU_rtl", [source, *constants], mh, result,
            MW=mw, MH=mh, PE=1, SIMD=1, inputDataType=datatype, weightDataType=weights, outputDataType=result,
            accDataType=accumulator, noActivation=int(not fused),
        )  # fmt: skip
        if layer.thresholds is None or fused:
            return product, result
        return self._thresholds(layer, product, accumulator, int(greatest.max()))

    def _thresholds(self, layer: IntegerLayer, source: str, datatype: str, greatest: int) -> tuple[str, str]:
        assert layer.thresholds is not None
        bits = activation_bits(layer)
        values = DataType[datatype]
        # A missing level is never reached; one that every or no number of the input's width reaches moves to its end.
        never = np.full((len(layer.thresholds), 2**bits - 1 - layer.thresholds.shape[1]), greatest + 1)
        thresholds = np.hstack([layer.thresholds, never]).clip(int(values.min()), int(values.max()) + 1)
        result = "BIPOLAR" if layer.bipolar else f"UINT{bits}"
        compared = _threshold_type(thresholds, values)
        output = self._node(
            "Thresholding_rtl", [source, self._constant(thresholds, compared)], len(thresholds), result,
            NumChannels=len(thresholds), PE=1, numSteps=thresholds.shape[1], inputDataType=datatype,
            weightDataType=compared, outputDataType=result, ActVal=0,
        )  # fmt: skip
        return output, result

    def _constant(self, values: NDArray[Any], datatype: str) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name], self.types[name] = values, datatype
        return name

    def _node(self, kind: str, inputs: list[str], width: int, result: str, **attributes: Any) -> str:
        count = self.names[kind] = self.names.get(kind, -1) + 1
        output = f"stream_{len(self.nodes)}"
        self.types[output], self.widths[output] = result, width
        self.nodes.append(
            helper.make_node(
                kind, inputs, [output], name=f"{kind}_{count}", domain=DOMAIN, backend="fpgadataflow",
                numInputVectors=[1], **attributes,
            )
        )  # fmt: skip
        return output

    def model(self, *, inputs: int) -> ModelWrapper:
        """Return the graph of all nodes so far."""
        last = self.nodes[-1].output[0]
        self.nodes[-1].output[0] = OUTPUT
        self.types[OUTPUT], self.widths[OUTPUT] = self.types.pop(last), self.widths.pop(last)
        infos = {
            name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])
            for name, width in {INPUT: inputs, **self.widths}.items()
        }
        ends = [[infos.pop(INPUT)], [infos.pop(OUTPUT)]]
        graph = helper.make_graph(self.nodes, "hardware", *ends, value_info=list(infos.values()))
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
        model = ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=9))
        for name, values in self.constants.items():
            model.set_initializer(name, values)
        for name, datatype in self.types.items():
            model.set_tensor_datatype(name, DataType[datatype])
        return model


def _ends(values: NDArray[np.int64]) -> tuple[int, int]:
    return int(values.min()), int(values.max())


def _threshold_type(thresholds: NDArray[np.int64], values: Any) -> str:
    """Return the datatype in which numbers of the datatype `values` are compared with thresholds.

    finn-rtllib's thresholds saturate a number that is wider than they are: one below all of them must stay below.
    """
    low, high = _ends(thresholds)
    kind = signed_type if values.signed() else integer_type
    narrow = kind(low, high)
    return kind(low - 1, high) if DataType[narrow].bitwidth() < values.bitwidth() else narrow
