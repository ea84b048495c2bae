"""A wrong parameter stops the elaboration of every module of ours, by name, in each tool that we have.

The kind of fault: a parameter that is out of range and elaborates all the same, into another circuit. A range such as
[WIDTH-1:0] with a WIDTH of 0 is legal, and so is a division whose remainder nobody looks at.
"""

import re
import subprocess
import sys

import pytest

from tests.rtl.verilator_env import ENVIRONMENT, ROOT, RTL

# What each parameter must not be, with the others that this needs.
WRONG: dict[str, dict[str, list[object]]] = {
    "adder_tree": {"TERMS": [0], "BITS": [0, 65], "SIGNED": [2]},
    "axis_image_last": {
        "IN_BEATS": [0], "OUT_BEATS": [0], "MAX_IMAGES": [0], "IN_BITS": [0, 12],
        "OUT_BITS": [0, 12],
    },
    "count_ones": {},
    "lut_mvu": {
        "MW": [0], "MH": [0], "PE": [0, 3, 8], "SIMD": [0, 3, 16], "WEIGHT_BITS": [0, 33],
        "ACT_BITS": [0, 33], "ACT_SIGNED": [2], "ACCU_BITS": [0, 65], "START": ["31'h0", "33'h0"], "SIGN": [2],
        "WEIGHT_FILE": ['""'], "RAM_STYLE": ['"ultra"'],
    },
    "lut_products": {
        "PE": [0], "SIMD": [0], "WEIGHT_BITS": [0, 33], "ACT_BITS": [0, 33], "ACT_SIGNED": [2],
        "SUM_BITS": [0, 65], "WORDS": [0], "MARK_BITS": [0, 65], "WEIGHT_FILE": ['""'], "RAM_STYLE": ['"ultra"'],
    },
    "row_thresholds": {
        "MH": [0], "PE": [0, 3, 8], "BITS": [0, 65], "SIGN": [2], "START": ["31'h0", "33'h0"],
    },
    "vector_replay": {"BITS": [0], "BEATS": [0], "PASSES": [0]},
}  # fmt: skip
INSIDE = {  # of lut_mvu: the module that checks it, and the name that it has there
    "MH": "row_thresholds: MH", "ACCU_BITS": "row_thresholds: BITS", "START": "row_thresholds: START",
    "SIGN": "row_thresholds: SIGN",
    **{name: f"lut_products: {name}" for name in ("WEIGHT_BITS", "ACT_BITS", "ACT_SIGNED", "WEIGHT_FILE", "RAM_STYLE")},
}  # fmt: skip
CASES = [(module, name, value) for module, p in WRONG.items() for name, values in p.items() for value in values]


def parameters(module: str) -> list[str]:
    ports = (RTL / f"{module}.sv").read_text(encoding="utf-8").split(") (", 1)[0]
    return re.findall(r"^    parameter [\w ]*?(\w+) +=", ports, flags=re.MULTILINE)


def test_every_parameter_of_every_module_is_here() -> None:
    assert {module: list(wrong) for module, wrong in WRONG.items()} == {
        path.stem: parameters(path.stem) for path in sorted(RTL.glob("*.sv"))
    }


def message(module: str, name: str) -> str:
    return INSIDE.get(name, f"lut_mvu: {name}") if module == "lut_mvu" else f"{module}: {name}"


def verilated(module: str, name: str, value: object) -> str:
    command = ["perl", str(ROOT / "bin" / "verilator"), "--lint-only", "--quiet", "-Wno-lint", "-Wno-style"]
    command += ["--top-module", module, f"-I{RTL}", f"-G{name}={value}", str(RTL / f"{module}.sv")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode
    return done.stderr


def elaborated(module: str, name: str, value: object) -> str:
    """By Yosys with slang."""
    sources = " ".join(str(path) for path in sorted(RTL.glob("*.sv")))
    program = (
        f"from pyosys import libyosys\nlibyosys.run_pass({f'read_slang --top {module} -G {name}={value} {sources}'!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode
    return done.stdout + done.stderr


@pytest.mark.parametrize(("module", "name", "value"), CASES, ids=lambda v: str(v).replace('"', ""))
def test_a_wrong_one_stops_elaboration(module: str, name: str, value: object) -> None:
    said = verilated(module, name, value)
    if value == WRONG[module][name][0]:
        said += elaborated(module, name, value)  # a 0 stops one of them before it comes to our check
    assert message(module, name) in said
