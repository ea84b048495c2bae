"""How wide the streams and memory ports between DMA and accelerator are, so that every width is one the IPs can have.

Sources: PG021 (AXI DMA): streams of 8, 16, ... 1024 bits, a power of two, none wider than the memory port. The limit of
the AXI4-Stream data width converter (512 bytes, also for the least common multiple of both widths that it works with)
is from general knowledge of PG085 and was not read there.
"""

from dataclasses import dataclass
from math import lcm

from contract.errors import ConfigError

CONVERTER_BYTES = 512


@dataclass(frozen=True)
class Streams:
    """Widths [bit]."""

    memory: int  # of the DMA's memory ports and of the processing system's port
    dma: int  # of the stream that leaves the DMA
    accelerator: int  # of the stream that enters the accelerator

    @property
    def converted(self) -> bool:
        """Whether a width converter stands between DMA and accelerator."""
        return self.dma != self.accelerator


def plan_streams(accelerator_bits: int, *, image_bytes: int, memory_bits: int) -> Streams:
    """Choose the widest stream that the DMA can have and that carries an image in whole words.

    Whole words, because then no byte of any transfer is to be left out and TKEEP is never needed.

    Args:
        accelerator_bits: width of the accelerator's input stream [bit].
        image_bytes: of one image; a multiple of the accelerator's word.
        memory_bits: width of the board's DMA port.

    Raises:
        ConfigError: the accelerator's stream is wider than the converter can make.
    """
    word = accelerator_bits // 8
    if accelerator_bits % 8 or word > CONVERTER_BYTES or image_bytes % word:
        raise ConfigError(
            f"the input stream has {accelerator_bits} bits for images of {image_bytes} bytes, expected whole bytes, at "
            f"most {8 * CONVERTER_BYTES} bits, that divide an image. Give the first layer a smaller SIMD in "
            "'build.folding', or lower 'build.target_fps'."
        )
    legal = [1 << power for power in range(3, 11) if 1 << power <= memory_bits]
    if accelerator_bits in legal:
        return Streams(memory_bits, accelerator_bits, accelerator_bits)
    usable = [b for b in legal if image_bytes % (b // 8) == 0 and lcm(b // 8, word) <= CONVERTER_BYTES]
    return Streams(memory_bits, max(usable), accelerator_bits)  # 8 bits are always usable
