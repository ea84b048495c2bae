"""`python -m cxrflow.serve`, the server of a deploy folder, where there is no `cxrflow` command: on a board."""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    from driver.needed import require_packages

    require_packages()

from contract.errors import CxrflowError
from contract.manifest import DISCLAIMER
from driver.accelerator import DEVICES

try:
    from cxrflow.serve.start import serve
except ImportError as missing:
    sys.exit(f"error: {missing.name} is missing. Run `pip install fastapi uvicorn python-multipart`.")


def main() -> int:
    """Serve until Ctrl-C and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cxrflow.serve", description=DISCLAIMER)
    parser.add_argument("--folder", type=Path, default=Path(), help="deploy folder (default: this one)")
    parser.add_argument("--device", action="append", choices=DEVICES, help="may be repeated; default: all there are")
    parser.add_argument("--host", default="127.0.0.1", help="other than loopback needs --token")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--token", help="what the API asks for; 16 characters or more")
    options = parser.parse_args()
    try:
        serve(
            [options.folder.resolve()],
            options.folder,
            devices=options.device or [],
            host=options.host,
            port=options.port,
            token=options.token,
            say=lambda address: print(f"{address}\n{DISCLAIMER}", flush=True),
        )
    except CxrflowError as err:
        print(f"error: {err}", file=sys.stderr)
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
