"""Turn a VCD waveform into an FST, about a hundredth of the size, which GTKWave and Surfer open at once.

Verilator can write FST itself, but only where the headers of lz4 and zlib are installed; the libfst in pylibfst's wheel
needs nothing.
"""

from pathlib import Path

from pylibfst import ffi, lib

from contract.errors import ToolError

_KINDS = {"wire": lib.FST_VT_VCD_WIRE, "reg": lib.FST_VT_VCD_REG, "parameter": lib.FST_VT_VCD_PARAMETER}


def vcd_to_fst(vcd: Path, fst: Path) -> None:
    """Write `fst` from `vcd`, as Verilator writes it: scopes, variables, then value changes.

    Raises:
        ToolError: the file cannot be written.
    """
    writer = lib.fstWriterCreate(str(fst).encode(), 1)
    if writer == ffi.NULL:
        raise ToolError(f"cannot write {fst}. Choose a file in an existing folder that you may write to.")
    lib.fstWriterSetPackType(writer, lib.FST_WR_PT_LZ4)
    try:
        with vcd.open("rb") as stream:
            handles = _header(writer, stream)
            for line in stream:
                first = line[:1]
                if first == b"#":
                    lib.fstWriterEmitTimeChange(writer, int(line[1:]))
                elif first == b"b":
                    value, code = line[1:].split()
                    handle, width = handles[code]
                    # VCD drops leading zeros, FST wants every bit.
                    lib.fstWriterEmitValueChange(writer, handle, value.rjust(width, b"0"))
                elif first in b"01xz":
                    lib.fstWriterEmitValueChange(writer, handles[line[1:].strip()][0], first)
    finally:
        lib.fstWriterClose(writer)


def _header(writer: object, stream: object) -> dict[bytes, tuple[int, int]]:
    """Copy the declarations; return each VCD code's FST handle and width [bit]."""
    handles: dict[bytes, tuple[int, int]] = {}
    for line in stream:  # type: ignore[attr-defined]
        words = line.split()
        if line.startswith(b"$enddefinitions"):
            break
        if not words:
            continue
        if words[0] == b"$timescale":
            lib.fstWriterSetTimescaleFromString(writer, words[1])
        elif words[0] == b"$scope":
            lib.fstWriterSetScope(writer, lib.FST_ST_VCD_MODULE, words[2], ffi.NULL)
        elif words[0] == b"$upscope":
            lib.fstWriterSetUpscope(writer)
        elif words[0] == b"$var":
            width, code = int(words[2]), words[3]
            name = b" ".join(words[4:-1])
            kind = _KINDS.get(words[1].decode(), lib.FST_VT_VCD_WIRE)
            alias = handles[code][0] if code in handles else 0
            handle = lib.fstWriterCreateVar(writer, kind, lib.FST_VD_IMPLICIT, width, name, alias)
            handles.setdefault(code, (handle, width))
    return handles
