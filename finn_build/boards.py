"""The boards we can build for.

Source of parts and resource counts: FINN's `finn.util.basic` tables and the vendor's device tables.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Board:
    """One board. Resource counts are those of the whole part."""

    name: str
    finn_name: str  # FINN's own key, exact case
    part: str
    dma_bits: int  # width of the DMA's memory port [bit]: no stream into the PL is wider
    lut: int
    bram18: int
    dsp: int


BOARDS = {
    board.name: board
    for board in (
        Board("pynq-z2", "Pynq-Z2", "xc7z020clg400-1", dma_bits=64, lut=53_200, bram18=280, dsp=220),
        Board("zcu104", "ZCU104", "xczu7ev-ffvc1156-2-e", dma_bits=128, lut=230_400, bram18=624, dsp=1_728),
    )
}
