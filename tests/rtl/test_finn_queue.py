"""The queue of FINN's matrix-vector unit never overflows: proven on its RTL, for runs of any length and any stalls.

What is proven is FINN's own assertion, with the argument in `QUEUE.why` as the invariant. Data is of two bits, which no
handshake depends on; source, sink and the weights' stream are free.
"""

from pathlib import Path

import pytest

from finn_build.portable_rtl import QUEUE, portable
from tests.rtl.proofs import prove

SOURCES = (
    "mvu_pkg.sv", "mvu_vvu_axi.sv", "replay_buffer.sv", "mvu.sv", "mvu_vvu_8sx9_dsp58.sv", "add_multi.sv",
)  # fmt: skip
INVARIANT = """
	localparam int  FV_D = 4 + $clog2(SIMD) + (SIMD == 1);
	int  fv_pipe, fv_queue;
	always_comb begin
		fv_pipe = 0;
		for(int  i = 1; i <= FV_D; i++)  fv_pipe += blkDsp.genSoftVec.core.L[i];
		fv_queue = blkOutput.OPtr + 1;
		if(!rst) begin
			assert(fv_queue >= 0 && fv_queue + fv_pipe <= FV_D + 2);
			assert(fv_queue <= 1 || blkOutput.OLock);
		end
	end
endmodule : mvu_vvu_axi
"""


def proven(folder: Path, mw: int, mh: int, simd: int, places: int) -> tuple[bool, str]:
    """Try to prove it in the new folder `folder`, with so many `places` more than FINN has."""
    import finn

    (library,) = (Path(root) / "finn-rtllib" / "mvu" for root in finn.__path__)
    folder.mkdir()
    for name in SOURCES:
        text = portable(name, (library / name).read_text(encoding="utf-8"))
        if name == QUEUE.file:
            text = text.replace(QUEUE.new, QUEUE.old.replace(";", f" + {places};"))
            text = text.replace("endmodule : mvu_vvu_axi\n", INVARIANT)
            assert f"PTH + {places};" in text and "fv_queue" in text
        (folder / name).write_text(text, encoding="utf-8")
    parameters = {
        "IS_MVU": 1, "VERSION": 1, "MW": mw, "MH": mh, "PE": 1, "SIMD": simd, "ACTIVATION_WIDTH": 2,
        "WEIGHT_WIDTH": 2, "ACCU_WIDTH": 12,
    }  # fmt: skip
    given = " ".join(f"-G {name}={value}" for name, value in parameters.items())
    names = "\n".join(SOURCES)
    (folder / "queue.sby").write_text(
        f"""[tasks]
always proof

[options]
proof: mode prove
proof: depth 1

[engines]
smtbmc bitwuzla

[script]
read_slang --top mvu_vvu_axi -D FORMAL -D VERILATOR {given} {" ".join(SOURCES)}
setundef -anyseq
prep -top mvu_vvu_axi

[files]
{names}
""",
        encoding="utf-8",
    )
    status, log = prove("queue", "always", folder / "sby", formal=folder)
    return status == "PASS" and "successful proof by k-induction" in log, log


# MW, MH, SIMD, the places that are enough
ENOUGH = [(1, 1, 1, 1), (2, 2, 2, 1), (3, 1, 3, 2), (8, 1, 8, 1), (9, 2, 9, 2), (33, 1, 33, 2), (6, 2, 3, 0)]


@pytest.mark.slow
@pytest.mark.parametrize(("mw", "mh", "simd", "places"), ENOUGH)
def test_two_places_more_are_enough(mw: int, mh: int, simd: int, places: int, tmp_path: Path) -> None:
    good, log = proven(tmp_path / "proof", mw, mh, simd, 2)
    assert good, log


@pytest.mark.parametrize(("mw", "mh", "simd", "places"), ENOUGH[2:4])
def test_one_less_is_not(mw: int, mh: int, simd: int, places: int, tmp_path: Path) -> None:
    good, log = proven(tmp_path / "proof", mw, mh, simd, places - 1)
    assert not good and "Assert failed in mvu_vvu_axi: mvu_vvu_axi.sv" in log
