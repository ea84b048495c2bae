"""Copies of finn-rtllib's files that every SystemVerilog tool accepts, and that lose no result.

finn-rtllib is written for Vivado. The places below are refused by Verilator or Yosys; each edit says why it is needed
and leaves the function as it is. One edit mends a fault. The edits are made on copies, at build time, and an edit whose
pattern is missing is an error: a new FINN version must be looked at, not silently half-edited.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from contract.errors import ToolError


@dataclass(frozen=True)
class Edit:
    """Replace `old`, which occurs exactly once in the file, by `new`."""

    file: str
    why: str
    old: str
    new: str


_FIFO_FUNCTION = """\
	function abits_t INIT_ABITS();
		automatic abits_t  abits = '{ lo: $clog2(DEPTH_REQ), hi: 0 };
		if(abits.lo > MIN_ABITS) begin
			// Consider Decomposition into lo + hi
			automatic int unsigned  hi_abits = $clog2(DEPTH_REQ - 2**(abits.lo-1));
			if(hi_abits < abits.lo - 1) begin
				abits.lo--;
				abits.hi = hi_abits < 1? 1 : hi_abits;
			end
		end
		return  abits;
	endfunction : INIT_ABITS
	localparam abits_t       ABITS      = INIT_ABITS();
"""
_FIFO_EXPRESSION = """\
	localparam int unsigned  ABITS_ALL  = $clog2(DEPTH_REQ);
	localparam int unsigned  ABITS_HI   = $clog2(DEPTH_REQ - 2**(ABITS_ALL-1));
	localparam bit           SPLIT      = (ABITS_ALL > MIN_ABITS) && (ABITS_HI < ABITS_ALL - 1);
	localparam abits_t       ABITS      = '{
		lo: SPLIT? ABITS_ALL - 1 : ABITS_ALL,
		hi: !SPLIT? 0 : ABITS_HI < 1? 1 : ABITS_HI
	};
"""
_LEAF_LOAD = """\
		// Compute the count of decendents for all nodes in the reduction trees.
		typedef int unsigned  leaf_load_t[2*N-1];
		function leaf_load_t init_leaf_loads();
			automatic leaf_load_t  res;
			for(int unsigned  i = 2*N-1; i-- > N-1;)  res[i] = 1;
			for(int unsigned  i =   N-1; i-- >   0;)  res[i] = res[2*i+1] + res[2*i+2];
			return  res;
		endfunction : init_leaf_loads
"""
_TREE_START = "	uwire [SUM_WIDTH-1:0]  sum0;\n	if(L < 1) begin : genTrivial\n"
_RECOVERY_WATCH = """\
	if(1) begin : blkRecoveryWatch
		logic  Dirty = 1;
		initial begin
			#100ns;
			Dirty <= 0;
		end

		always_ff @(posedge clk) begin
			assert(!Dirty || rst || !en || zero) else begin
				$warning("%m: Feeding input during DSP startup recovery. Expect functional errors.");
			end
		end
	end : blkRecoveryWatch
"""
_NETTYPE = "a `default_nettype directive stands inside a module, where IEEE 1800 forbids directives of this kind"
_STYLE = "only Vivado finds an attribute whatever its case; the others know ram_style"

QUEUE = Edit(
    "mvu_vvu_axi.sv",
    """A fault of FINN's: the queue behind the matrix-vector pipeline overflows under back-pressure where every beat
    ends a vector (SIMD = MW). Let D = 4 + clog2(SIMD) + (SIMD == 1) be mvu.sv's registers from operands to result.
      1. At the start of a cycle in which the unit is not stopped the queue holds at most one result: whenever it holds
         one, either one leaves in that cycle, or the output register is held back and that stops the unit (OLock).
      2. So when the unit stops, the queue holds at most that one and one that entered in the same cycle, and the
         pipeline D more. Nothing enters the pipeline until the queue has run empty; then 1 holds again.
      3. So the queue never holds more than D + 2, whatever the sink and the weights' stream do.
    OBuf has MAX_IN_FLIGHT + 1 places, and CORE_PIPELINE_DEPTH is D, or D - 1 where SIMD is no power of two (it has
    clog2(SIMD + 1) for clog2(SIMD) + 1). So + 2 is enough for every SIMD, and + 1 is not. With several beats per
    vector the pipeline holds half as many results, and FINN's own size was enough. Clock-pumped and DSP58 units, which
    no board here has, were not looked at.""",
    "MAX_IN_FLIGHT = CORE_PIPELINE_DEPTH;",
    "MAX_IN_FLIGHT = CORE_PIPELINE_DEPTH + 2;",
)
EDITS = (
    Edit("fifo.sv", _NETTYPE, ");\n`default_nettype none\n", ");\n"),
    Edit("fifo.sv", _NETTYPE, "`default_nettype wire\n", ""),
    Edit("vpc.sv", _NETTYPE, "`default_nettype none\n", ""),
    Edit("vpc.sv", _NETTYPE, "`default_nettype wire\n", ""),
    Edit(
        "fifo.sv",
        "Verilator evaluates no constant function that returns a struct; the same values as expressions",
        _FIFO_FUNCTION,
        _FIFO_EXPRESSION,
    ),
    Edit(
        "add_multi.sv",
        "a constant function inside a generate block is refused; it depends on N alone and moves to module scope",
        _LEAF_LOAD,
        "",
    ),
    Edit(
        "add_multi.sv", "the other half of the move above", _TREE_START, _LEAF_LOAD.replace("\t\t", "\t") + _TREE_START
    ),
    Edit(
        "mvu.sv",
        "a simulation-only watchdog that waits for 100 ns; it can only print a warning",
        _RECOVERY_WATCH,
        "",
    ),
    QUEUE,
    Edit(
        "thresholding.sv",
        "Yosys' slang refuses the reversed range that stage 0 makes of it, in a branch that is not taken there",
        "p.ptr[M-1:SN+1] < 2**stage - SCOPE_REDUCE",
        "(p.ptr[M-1:0] >> (SN+1)) < 2**stage - SCOPE_REDUCE",
    ),
    Edit("memstream.sv", _STYLE, "(* RAM_STYLE = RAM_STYLE *)", "(* ram_style = RAM_STYLE *)"),
    Edit(
        "thresholding.sv",
        _STYLE,
        '"FALSE", RAM_STYLE = RAM_STYLE *)\n',
        '"FALSE", ram_style = RAM_STYLE *)\n',
    ),
)


def portable(file: str, text: str) -> str:
    """Return the `text` of finn-rtllib's `file` (its bare name) with our edits, if there are any for it."""
    for edit in EDITS:
        if edit.file != file:
            continue
        found = text.count(edit.old)
        if found != 1:
            raise ToolError(
                f"finn-rtllib's {file} holds the text of an edit {found} times, expected once ({edit.why}). "
                "The installed finn-plus is not the locked version: reinstall requirements.lock, or review "
                "finn_build/portable_rtl.py for the new version."
            )
        text = text.replace(edit.old, edit.new)
    return text


def edited_library(library: Path, folder: Path) -> None:
    """Copy finn-rtllib, the folder `library`, into the new folder `folder`, with all our edits. Raises ToolError."""
    shutil.copytree(library, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in sorted({edit.file for edit in EDITS}):
        found = list(folder.rglob(file))
        if len(found) != 1:
            raise ToolError(
                f"finn-rtllib in {library} has {len(found)} files {file}, expected one. The installed finn-plus is not "
                "the locked version: reinstall requirements.lock."
            )
        found[0].write_text(portable(file, found[0].read_text(encoding="utf-8")), encoding="utf-8")
