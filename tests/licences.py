"""What a folder that is given away must say about the work of others in it."""

from pathlib import Path

from finn_build.licences import FINN, NOTICE


def require_licences(folder: Path) -> None:
    ours, finn, notice = ((folder / name).read_text(encoding="utf-8") for name in ("LICENSE", FINN, NOTICE))
    assert "Apache License" in ours and "Version 2.0" in ours
    # Copyright, list of conditions and disclaimer, as the two conditions of BSD-3-Clause ask for.
    assert "Advanced Micro Devices, Inc." in finn and "Paderborn University" in finn
    assert "Redistributions in binary form must reproduce" in finn and "THIS SOFTWARE IS PROVIDED" in finn
    assert FINN in notice and "Verilator" in notice and "Artistic-2.0" in notice


def require_headers(rtl: Path) -> None:
    """Every copied file of finn-rtllib still names its owner."""
    for path in rtl.glob("*.sv"):
        text = path.read_text(encoding="utf-8")
        assert "SPDX-License-Identifier: Apache-2.0" in text or "Copyright" in text, path
