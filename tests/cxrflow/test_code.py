"""A stage is made again when something that its result depends on has changed, and not for anything else.

The kind of fault: a key that leaves out a file that is read or shipped leaves a stale result; one that takes in whole
folders trains again for a word in a docstring.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.code import READS, ROOMS, _kept, _named, bytes_key, closure, code_key
from cxrflow.package import shipped_files
from cxrflow.runs import REPOSITORY
from cxrflow.stage_table import STAGES
from tests.cxrflow.conftest import Place

CODED = {name for name, row in STAGES.items() if row.code}  # what a stage does may stand in cxrflow/stages.py alone
DESIGN = CODED - {"train", "figures", "export", "import", "synth_figure", "package"}
VIVADO = {"vivado", "synth_vivado", "bitstream"}
# What depends on each file that is no Python: the stages that one changed byte makes stale.
CHANGED = {
    "LICENSE": DESIGN | {"package"},
    "finn_build/targets/boards.toml": DESIGN | {"synth_figure", "package"},
    "finn_build/targets/families/gate_cells.v": {"gates"},
    "finn_build/chain.cpp": {"build", "bitstream_iodma"},
    "finn_build/harness.cpp": {"simulate", "gates"},
    "finn_build/ip/templates/accelerator_tb.v": {"ip"},
    "finn_build/ip/templates/datasheet.md": {"ip"},
    "finn_build/ip/templates/package_ip.tcl": {"ip"},
    "finn_build/ip/templates/simulate.sh": {"ip"},
    "finn_build/rtl/adder_tree.sv": DESIGN,
    "finn_build/rtl/axis_image_last.sv": DESIGN,
    "finn_build/rtl/count_ones.sv": DESIGN,
    "finn_build/rtl/depthwise.sv": DESIGN,
    "finn_build/rtl/global_sum.sv": DESIGN,
    "finn_build/rtl/lut_mvu.sv": DESIGN,
    "finn_build/rtl/lut_products.sv": DESIGN,
    "finn_build/rtl/max_pool.sv": DESIGN,
    "finn_build/rtl/pixel_window.sv": DESIGN,
    "finn_build/rtl/requantizer.sv": DESIGN,
    "finn_build/rtl/row_thresholds.sv": DESIGN,
    "finn_build/rtl/vector_replay.sv": DESIGN,
    "finn_build/flows/vivado/tcl/block_design.tcl": VIVADO,
    "finn_build/flows/vivado/tcl/build.tcl": VIVADO,
    "finn_build/flows/vivado/tcl/common.tcl": VIVADO,
    "finn_build/flows/vivado/tcl/memories.tcl": VIVADO,
    "finn_build/flows/vivado/tcl/synth.tcl": VIVADO,
}
NO_STAGE = ("cxrflow/report/", "finn_build/rtl/formal/")  # pages are written anew every time; proofs are tests


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the repository, to be edited."""
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(REPOSITORY / "LICENSE", tmp_path / "LICENSE")
    return tmp_path


def keys(root: Path) -> dict[str, str]:
    code_key.cache_clear()
    return {stage: code_key(*row.code, root=root) for stage, row in STAGES.items()}


def stale(before: dict[str, str], root: Path) -> set[str]:
    return {stage for stage, key in keys(root).items() if key != before[stage]}


def test_one_byte_of_any_file_makes_its_stages_stale_and_no_other(tree: Path) -> None:
    before = keys(tree)
    for name, stages in CHANGED.items():
        content = (tree / name).read_bytes()
        (tree / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert stale(before, tree) == stages, name
        (tree / name).write_bytes(content)
    assert stale(before, tree) == set()


def test_every_file_that_is_no_python_belongs_to_somebody() -> None:
    """A new template or module of Verilog is in a key, or here is said why it need not be."""
    listed = subprocess.run(["git", "ls-files", *ROOMS], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    others = {name for name in listed.stdout.splitlines() if not name.endswith(".py")}
    unknown = others - CHANGED.keys() - shipped_files().keys()
    assert [name for name in sorted(unknown) if not name.startswith(NO_STAGE)] == []
    for module, globs in READS.items():
        assert closure(module), module
        assert all(list(REPOSITORY.glob(glob)) for glob in globs), module


@pytest.mark.parametrize(
    ("file", "edit", "stages"),
    [
        ("finn_build/ip/folder.py", lambda text: text.replace('"""', '"""Once more: ', 1), set()),
        ("finn_build/ip/folder.py", lambda text: text + "\n# a comment\n", set()),
        ("finn_build/ip/folder.py", lambda text: text.replace("GOLDEN_IMAGES = 8", "GOLDEN_IMAGES = 9"), {"ip"}),
        ("qnn/figures.py", lambda text: text.replace("DPI = 150", "DPI = 151"), {"figures"}),  # and trains nothing
        ("cxrflow/synth_figure.py", lambda text: text.replace("0.35", "0.4"), {"synth_figure"}),
    ],
    ids=["docstring", "comment", "code", "figure", "synth"],
)
def test_python_is_what_it_does(tree: Path, file: str, edit: object, stages: set[str]) -> None:
    before, path = keys(tree), tree / file
    text = path.read_text(encoding="utf-8")
    assert callable(edit) and edit(text) != text
    path.write_text(edit(text), encoding="utf-8")
    assert stale(before, tree) == stages


def test_what_is_kept_is_of_that_text_and_a_damaged_file_of_it_is_none(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    def key() -> str:
        code_key.cache_clear()
        _kept.cache_clear()
        return code_key("contract.golden", root=tree)

    path = tree / "contract" / "golden.py"
    first = key()
    (kept,) = (path.parent / "__pycache__").glob("golden.*.does.json")
    for content in ("", "[]", '{"of": 1}', kept.read_text().replace('"of": "', '"of": "0').replace("numpy", "x")):
        kept.write_text(content, encoding="utf-8")
        assert key() == first
    path.write_text(path.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")
    assert (changed := key()) != first
    assert key() == changed
    shutil.rmtree(kept.parent)
    kept.parent.touch()  # nothing can be kept
    assert key() == changed


IMPORTED = f"""
import json, os, sys
import numpy, finn, qonnx.core.modelwrapper, onnx, pydantic, yaml
for stage, modules in json.load(sys.stdin).items():
    if not os.fork():
        for module in modules:
            __import__(module)
        print(stage, *(name for name in sys.modules if name.partition(".")[0] in {ROOMS}), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


def test_the_closure_holds_all_that_an_import_brings() -> None:
    """Against Python itself, which imports at least what is at the top of modules."""
    stages = {name: STAGES[name].code for name in sorted(CODED - {"train", "figures", "export"})}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], input=json.dumps(stages), cwd=REPOSITORY, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    brought = {stage: set(names) for stage, *names in map(str.split, done.stdout.splitlines())}
    assert brought.keys() == stages.keys()
    for stage, names in brought.items():
        assert names and names <= set(_named(closure(*stages[stage]))), stage


def test_a_deploy_folder_is_made_again_for_exactly_the_files_that_it_ships(tree: Path) -> None:
    """A changed page or DICOM reader once left a stale folder."""
    shipped, before = shipped_files(), bytes_key(*shipped_files(), root=tree)
    for name in ("cxrflow/serve/page/page.js", "datasets/dicom.py", "cxrflow/deploy/board.ipynb", "driver/link.py"):
        content = (tree / name).read_bytes()
        (tree / name).write_bytes(content + b"\n")
        assert name in shipped and bytes_key(*shipped, root=tree) != before, name
        (tree / name).write_bytes(content)
    assert bytes_key(*shipped, root=tree) == before
    assert not [name for name in shipped if name.startswith(("finn_build/", "qnn/", "export/", "cxrflow/report/"))]


OPENED = """
import os, sys
from pathlib import Path
root, found, write = sys.argv[1], open(sys.argv[2], "w"), os.write

def heard(event, args):
    if event == "open" and isinstance(args[0], str) and args[0].startswith(root):
        write(found.fileno(), (args[0] + "\\n").encode())

sys.addaudithook(heard)
from cxrflow import cli
for command in sys.argv[3:]:
    sys.argv = ["cxrflow", *command.split(), "tiny.yaml"]
    try:
        cli.main()
    except SystemExit:
        pass
"""


def test_every_file_that_a_stage_opens_is_in_its_key(finished: Place) -> None:
    """Against the system itself: what is read without being named in READS would leave a stale result."""
    shutil.rmtree(finished.run / "build")
    found = finished.folder / "opened"
    arguments = [REPOSITORY, found, "build", "ip", "synth --tool vivado", "package"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", OPENED, *map(str, arguments)]
    done = subprocess.run(command, cwd=finished.folder, env=environment, capture_output=True, text=True, check=False)
    assert (finished.run / "ip").is_dir() and (finished.run / "vivado").is_dir(), done.stderr
    opened = {str(Path(line).relative_to(REPOSITORY)) for line in found.read_text().splitlines()}
    ours = {
        name for name in opened if name.startswith(ROOMS) and not name.endswith(".py") and "__pycache__" not in name
    }
    known = {name for stage in ("build", "ip", "vivado", "package") for name in closure(*STAGES[stage].code)}
    assert "finn_build/rtl/axis_image_last.sv" in ours and "finn_build/flows/vivado/tcl/build.tcl" in ours
    assert ours <= known | shipped_files().keys()
