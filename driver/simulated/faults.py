"""What can be made to go wrong on a simulated device."""

from dataclasses import dataclass
from enum import IntFlag
from typing import Literal


class DmaError(IntFlag):
    """Error bits of an AXI DMA status register (PG021)."""

    INTERNAL = 1 << 4
    SLAVE = 1 << 5
    DECODE = 1 << 6


@dataclass(frozen=True)
class Faults:
    """Assign one to `SimulatedDevice.faults` at any time; `Faults()` is a healthy device.

    Results and beats are counted from 0 from the moment of the assignment. Loading the bitstream mends the faults of
    the streams and of the DMA unless they are permanent; a vanished board and a stuck clock stay until another
    assignment.
    """

    stall_after: int | None = None  # the output stream stops after this many results
    missing_tlast: bool = False  # no result carries TLAST
    drop_result: int | None = None  # this result is lost, and its TLAST with it
    add_result: int | None = None  # this result comes twice; TLAST is on the second one
    add_tlast: bool = False  # then TLAST is on the first one, too
    swap_result: int | None = None  # this result and the next one change places
    spare_results: tuple[int, ...] = ()  # integers that wait in the output stream already, the last one with TLAST
    add_beat: int | None = None  # this beat of the input comes twice
    drop_beat: int | None = None  # this beat of the input is lost
    lose_write: int | None = None  # this result is taken and counted, and never reaches memory
    tear_write: int | None = None  # only some bytes of this result reach memory
    tear_bytes: int = 1  # which: bit 0 for the lowest
    flip_result: int | None = None  # one bit of this result is wrong
    flip_bit: int = 0  # which bit of it, 0..31
    send_error: DmaError | None = None  # every transfer to the accelerator ends in this error
    no_end: bool = False  # transfers end, and no status register says so
    status: int | None = None  # what every status register reads as
    deaf: bool = False  # the registers take no writes
    receive_error: DmaError | None = None  # every transfer from the accelerator does, at its first result
    vanish_after: int | None = None  # register accesses until nothing answers any more
    vanish: Literal["raises", "ones"] = "raises"  # the whole board: OSError; its logic only: registers read 0xFFFFFFFF
    clock_stuck: bool = False  # the PL clock ignores writes, as when the clock registers are locked
    permanent: bool = False  # survives loading the bitstream; counting starts again

    def mended(self) -> "Faults":
        """Return what is left of these faults after the bitstream has been loaded."""
        if self.permanent:
            return self
        return Faults(vanish_after=self.vanish_after, vanish=self.vanish, clock_stuck=self.clock_stuck)
