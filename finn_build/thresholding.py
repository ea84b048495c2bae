"""FINN's thresholding node, whose memories are written from integers.

FINN's own goes through float32, which is exact up to 2**24 only: an 8-bit layer of 128 x 128 pixels sums up to
2**29. The hardware, finn-rtllib's `thresholding_axi.sv`, is FINN's.
"""

from pathlib import Path
from typing import Any

import numpy as np
from finn.custom_op.fpgadataflow.rtl.thresholding_rtl import Thresholding_rtl as FinnThresholding
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import add_op_to_domain

from finn_build.hardware_graph import DOMAIN


class Thresholding_rtl(FinnThresholding):  # noqa: N801  it takes the place of FINN's node of this name
    """Counts thresholds, (channels, 2**bits - 1), of an int64 initializer."""

    def generate_params(self, model: ModelWrapper, path: str) -> None:
        """Write the memory of every lane and stage of the search into the folder `path`."""
        thresholds = model.get_initializer(self.onnx_node.input[1])
        assert thresholds.dtype == np.int64
        words = stage_words(thresholds, pe=self.get_nodeattr("PE"), bits=self.get_input_datatype(1).bitwidth())
        for (lane, stage), lines in words.items():
            file = Path(path) / f"{self.onnx_node.name}_threshs_{lane}_{stage}.dat"
            file.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def stage_words(thresholds: NDArray[np.int64], *, pe: int, bits: int) -> dict[tuple[int, int], list[str]]:
    """Return the hexadecimal words of each memory, by lane and stage.

    Stage s of the binary search knows the s highest bits of the count, and compares with the threshold in the middle of
    what is left: word (c << s) + i of a lane belongs to its channel c and those bits i.

    Args:
        thresholds: (channels, 2**n - 1).
        pe: lanes; channel c is in lane c % pe.
        bits: of a word [bit], which is a two's complement number.
    """
    stages = int(thresholds.shape[1]).bit_length()
    digits = -(-bits // 4)
    words: dict[tuple[int, int], list[str]] = {}
    for stage in range(stages):
        span = 2 ** (stages - stage)
        column = np.arange(2**stage) * span + span // 2 - 1
        for lane in range(pe):
            values = thresholds[lane::pe][:, column].ravel().tolist()
            words[lane, stage] = [f"{value % 2**bits:0{digits}x}" for value in values]
    return words


def register() -> None:
    """Let qonnx take this node for FINN's."""
    add_op_to_domain(DOMAIN, Thresholding_rtl)


__all__: list[Any] = ["Thresholding_rtl", "register", "stage_words"]
