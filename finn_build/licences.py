"""The licences of what a build gives away: ours, and those of what it copies or links."""

import shutil
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from contract.errors import ToolError

OURS = Path(__file__).parent.parent / "LICENSE"
FINN = "LICENSE.finn-rtllib"  # BSD-3-Clause: goes with the Verilog, and with a bitstream or a program made of it
NOTICE = "NOTICE"
_NOTICE = f"""\
cxrflow: Apache License 2.0, LICENSE.

The accelerator's hardware is partly finn-rtllib, of AMD and Paderborn University: BSD-3-Clause, {FINN}.
That is so for its Verilog, here with the changes that cxrflow's finn_build/portable_rtl.py lists, and for a bitstream
or a simulator that was made of it. cxrflow's own Verilog and all Python are under LICENSE.

A compiled simulator (`harness`) holds the run-time library of Verilator, copyright Wilson Snyder,
LGPL-3.0-only OR Artistic-2.0, unchanged; its source is at https://github.com/verilator/verilator
"""


def write_licences(folder: Path) -> None:
    """Put the licences and a notice of what each is about into `folder`. Raises ToolError: FINN's is not installed."""
    shutil.copyfile(OURS, folder / "LICENSE")
    (folder / FINN).write_text(_finn_licence(), encoding="utf-8")
    (folder / NOTICE).write_text(_NOTICE, encoding="utf-8")


def _finn_licence() -> str:
    """Return the licence that finn-plus, which finn-rtllib is a part of, came with."""
    try:
        found = [path for path in files("finn-plus") or () if path.match("*.dist-info/licenses/LICENSE.txt")]
        return found[0].read_text(encoding="utf-8")
    except (PackageNotFoundError, IndexError, OSError) as err:
        raise ToolError(
            f"the licence of finn-plus, expected in its dist-info/licenses/LICENSE.txt, is missing ({err}). "
            "Reinstall requirements.lock."
        ) from err
