#!/usr/bin/env python3
"""Yosys with the slang frontend from the pyosys wheel, as sby calls it: options, then a script."""

import sys

from pyosys import libyosys

libyosys.run_pass(f"script {sys.argv[-1]}")
