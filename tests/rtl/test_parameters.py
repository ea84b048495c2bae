"""A wrong parameter stops the elaboration of every module of ours, by name, in each tool that we have.

The kind of fault: a parameter that is out of range and elaborates all the same, into another circuit. A range such as
[WIDTH-1:0] with a WIDTH of 0 is legal, and so is a division whose remainder nobody looks at.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rtl.verilator_env import ENVIRONMENT, ROOT, RTL

# What each parameter must not be, below and above its range, with the others as they are.
WRONG: dict[str, dict[str, list[object]]] = {
    "adder_tree": {"TERMS": [0, 2**14 + 1], "BITS": [0, 65], "SIGNED": [2]},
    "axis_image_last": {
        "IN_BEATS": [0, 2**24 + 1], "OUT_BEATS": [0, 2**24 + 1], "MAX_IMAGES": [0, 4097],
        "IN_BITS": [0, 7, 12, 4097, 4104], "OUT_BITS": [0, 7, 12, 4097, 4104],
    },
    "count_ones": {},
    "depthwise": {
        "CHANNELS": [0, 2**14 + 1], "TAPS": [0, 2**12 + 1], "PE": [0, 3, 5, 8], "WEIGHT_BITS": [0, 33],
        "ACT_BITS": [0, 33], "ACT_SIGNED": [2], "ACCU_BITS": [0, 65], "START": ["31'h0", "33'h0"], "SIGN": [2],
        "DSP": [2], "NEEDED": ["15'h0", "17'h0"], "WEIGHT_FILE": ['""'], "RAM_STYLE": ['"ultra"'],
    },
    "global_sum": {
        "PLACES": [0, 2**24 + 1], "CHANNELS": [0, 2**14 + 1], "PE": [0, 3, 5, 8], "BITS": [0, 33], "SIGNED": [2],
        "SUM_BITS": [1, 65],
    },
    "lut_mvu": {
        "MW": [0, 2**24 + 1], "MH": [0, 2**14 + 1], "PE": [0, 3, 5, 8], "SIMD": [0, 3, 9, 16], "WEIGHT_BITS": [0, 33],
        "ACT_BITS": [0, 33], "ACT_SIGNED": [2], "ACCU_BITS": [0, 65], "START": ["31'h0", "33'h0"], "SIGN": [2],
        "NEEDED": ["63'h0", "65'h0"], "WEIGHT_FILE": ['""'], "RAM_STYLE": ['"ultra"'],
    },
    "lut_products": {
        "PE": [0, 2**14 + 1], "SIMD": [0, 2**14 + 1], "WEIGHT_BITS": [0, 33], "ACT_BITS": [0, 33], "ACT_SIGNED": [2],
        "SUM_BITS": [0, 65], "WORDS": [0, 2**30 + 1], "MARK_BITS": [0, 65], "NEEDED": ["63'h0", "65'h0"],
        "WEIGHT_FILE": ['""'], "RAM_STYLE": ['"ultra"'],
    },
    "max_pool": {"WINDOW": [0, 2**12 + 1], "PE": [0, 2**14 + 1], "BITS": [0, 33], "SIGNED": [2]},
    "pixel_window": {
        "HEIGHT": [0, 2**14 + 1], "WIDTH": [0, 2**14 + 1], "KERNEL_H": [0, 7], "KERNEL_W": [0, 9], "STRIDE_H": [0, 7],
        "STRIDE_W": [0, 9], "PIXELS": [0, 1, 3, 16], "BITS": [0, 33],
    },
    "requantizer": {
        "CHANNELS": [0, 2**14 + 1], "PE": [0, 3, 5, 8], "ACC_BITS": [0, 49], "ACC_SIGNED": [2], "FACTOR_BITS": [0, 65],
        "DIGIT": [0, 3, 5, 8], "DSP": [2], "ADDEND_BITS": [0, 65], "SHIFT": [64], "OUT_BITS": [0, 17], "LEVELS": [0, 4],
        "FACTOR_FILE": ['""'], "ADDEND_FILE": ['""'], "RAM_STYLE": ['"ultra"'],
    },
    "row_thresholds": {
        "MH": [0, 2**14 + 1], "PE": [0, 3, 5, 8], "BITS": [0, 65], "SIGN": [2], "START": ["31'h0", "33'h0"],
    },
    "vector_replay": {"BITS": [0, 2**20 + 1], "BEATS": [0, 2**24 + 1], "PASSES": [0, 2**24 + 1]},
}  # fmt: skip
INSIDE = {  # of lut_mvu: the module that checks it, and the name that it has there
    "MH": "row_thresholds: MH", "ACCU_BITS": "row_thresholds: BITS", "START": "row_thresholds: START",
    "SIGN": "row_thresholds: SIGN",
    **{name: f"lut_products: {name}"
       for name in ("WEIGHT_BITS", "ACT_BITS", "ACT_SIGNED", "NEEDED", "WEIGHT_FILE", "RAM_STYLE")},
}  # fmt: skip
CASES = {module: [(n, value) for n, values in p.items() for value in values] for module, p in WRONG.items()}


def text_of(module: str) -> str:
    return (RTL / f"{module}.sv").read_text(encoding="utf-8")


def test_every_parameter_of_every_module_is_here() -> None:
    ports = {path.stem: text_of(path.stem).split(") (", 1)[0] for path in sorted(RTL.glob("*.sv"))}
    assert {module: list(wrong) for module, wrong in WRONG.items()} == {
        module: re.findall(r"^    parameter [\w ]*?(\w+) +=", text, flags=re.MULTILINE)
        for module, text in ports.items()
    }


def test_both_ends_of_every_range_are_here() -> None:
    """What is wrong by one, as the modules' own checks say it."""
    checks = [
        (module, *found)
        for module in WRONG
        for found in re.findall(r"if \((\w+) < (\d+) \|\| \1 > ([\d*]+|\w+)", text_of(module))
    ]
    assert len(checks) > 20
    for module, name, least, most in checks:
        if most.isidentifier():  # another parameter: its default
            most = re.search(rf"{most} += (\d+)", text_of(module))[1]  # type: ignore[index]
        base, _, power = most.partition("**")
        largest = int(base) ** int(power or 1)
        assert {int(least) - 1, largest + 1} <= set(WRONG[module][name]), (module, name)


def message(module: str, name: str, value: object) -> str:
    said = INSIDE.get(name, f"lut_mvu: {name}") if module == "lut_mvu" else f"{module}: {name}"
    if isinstance(value, int):
        return f"{said}={value} "
    return f"{said} has {str(value)[:2]} bits" if name in ("START", "NEEDED") else said


def wrong(module: str, cases: list[tuple[str, object]], folder: Path) -> Path:
    """Write a module of one instance for each wrong parameter."""
    instances = "".join(f"    {module} #(.{name}({value})) u_{i} ();\n" for i, (name, value) in enumerate(cases))
    path = folder / "wrong.sv"
    path.write_text(f"module wrong;\n{instances}endmodule\n", encoding="utf-8")
    return path


def stops(*command: str | Path) -> str:
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode
    return done.stdout + done.stderr


def verilated(top: Path) -> str:
    verilator = ("perl", ROOT / "bin" / "verilator", "--lint-only", "--quiet", "-Wno-lint", "-Wno-style")
    return stops(*verilator, "--error-limit", "0", "--top-module", "wrong", f"-I{RTL}", top)


def elaborated(top: Path) -> str:
    """By Yosys with slang."""
    sources = " ".join(str(path) for path in (top, *sorted(RTL.glob("*.sv"))))
    command = f"read_slang --error-limit=0 --top wrong {sources}"
    return stops(sys.executable, "-c", f"from pyosys import libyosys\nlibyosys.run_pass({command!r})")


@pytest.mark.parametrize("module", [module for module in WRONG if WRONG[module]])
def test_a_wrong_one_stops_elaboration(module: str, tmp_path: Path) -> None:
    cases = CASES[module]
    said = elaborated(wrong(module, cases, tmp_path))
    assert [case for case in cases if message(module, *case) not in said] == []
    later = [(name, value) for name, value in cases if value != 0]
    said = verilated(wrong(module, later, tmp_path))
    assert [case for case in later if message(module, *case) not in said] == []
    for case in cases:
        if case not in later:  # a width of 0 stops Verilator before it comes to our check
            verilated(wrong(module, [case], tmp_path))
