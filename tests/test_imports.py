"""The folders keep to who may import whom: pyproject.toml has the rules."""

import subprocess
import sys
from pathlib import Path


def test_imports_follow_the_arrows() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
