"""`cxrflow verify`: every stage is held against the golden integers, and what is wrong is named by its stage.

The kind of fault: a check that passes without having compared anything. A tool that is not there, a stage that nobody
made, a golden file that cannot be read, a folder of somebody who means harm: none of these is "passed". So a difference
is planted in every stage, with all hashes made good again, and exactly the checks that see it must fail.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from onnx import load, numpy_helper, save
from onnx.helper import make_attribute

from contract.files import hash_file
from contract.npz import load_npz, save_npz
from cxrflow.verify import Outcome, exit_code, write_junit
from finn_build.simulate import verilate
from qnn.checkpoint import load_checkpoint, save_checkpoint
from tests.cxrflow.conftest import Outcome as Called
from tests.cxrflow.conftest import Place
from tests.cxrflow.test_damage import restamp
from tests.cxrflow.test_import import small_file

BUILD, DEPLOY = "build/pynq-z2", "deploy/pynq-z2"
STAGES = [
    "golden", "train", "export", "integers", "cpu", "build/hardware_graph", "build/fold", "simulate", "simulate/stalls",
    "gates", "ip", "deploy/files", "deploy/driver", "deploy/cpu", "deploy/sim", "deploy/board",
]  # fmt: skip


@pytest.fixture
def place(_verified: Place, tmp_path: Path) -> Place:
    """A complete run, to be damaged."""
    shutil.copytree(_verified.folder, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path)


@pytest.fixture
def _without_simulator() -> Any:
    with mock.patch("finn_build.simulate.missing_tools", lambda: ["verilator"]):
        yield


def lines(called: Called) -> dict[str, tuple[str, str]]:
    """What was printed: stage -> result and sentence."""
    found = {}
    for line in called.out.splitlines()[:-1]:
        stage, _, said = line[8:].partition(" ")
        found[stage] = (line[:8].strip(), said.strip())
    return found


def failed(called: Called) -> set[str]:
    assert "Traceback" not in called.err
    return {stage for stage, (result, _) in lines(called).items() if result == "FAILED"}


@pytest.mark.slow
def test_a_whole_run_passes_and_what_was_not_run_is_not_passed(place: Place) -> None:
    with mock.patch("finn_build.verify.verilate", wraps=verilate) as compiled:
        called = place("verify", "tiny", "--junit", "out/verify.xml", "--require", "simulate")
    assert called.code == 0, called.out + called.err
    assert compiled.call_args.kwargs["cycles"] > 10_000  # what runs long is optimized
    found = lines(called)
    assert list(found) == STAGES
    not_run = {stage: said for stage, (result, said) in found.items() if result == "not run"}
    assert set(not_run) == {"gates", "ip", "deploy/board"}
    assert "--gates" in not_run["gates"] and "cxrflow ip" in not_run["ip"] and "bitstream" in not_run["deploy/board"]
    assert {result for result, _ in found.values()} == {"passed", "not run"}
    assert called.out.splitlines()[-1].startswith("13 passed, 3 not run, 0 failed")
    suite = ElementTree.parse(place.folder / "out" / "verify.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("16", "0", "3")
    assert [case.get("name") for case in suite] == STAGES
    assert not (place.folder / "verify-failed").exists()


def more(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same with one number changed, far enough to be seen."""
    changed = array.copy()
    flat = changed.reshape(-1)
    at = int(np.abs(flat.astype(np.int64)).argmax())
    flat[at] = -flat[at] if array.dtype == np.int8 else flat[at] + 40
    return changed


def change_npz(path: Path, prefix: str) -> None:
    arrays = load_npz(path)
    name = next(name for name in arrays if name.startswith(prefix))
    save_npz(path, arrays | {name: more(arrays[name])})


def change_checkpoint(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    with torch.no_grad():
        checkpoint.net.head.linear.weight.neg_()
    point, source = checkpoint.operating_point, checkpoint.fingerprint
    save_checkpoint(path, checkpoint.net, operating_point=point, fingerprint=source)


def change_onnx(path: Path) -> None:
    model = load(path)
    largest = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    largest.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(largest), largest.name))
    save(model, path)


def change_memory(path: Path) -> None:
    text = path.read_text()
    path.write_text("".join("0" if c in "89abcdef" else c for c in text))


def graph_of(run: Path, step: str) -> str:
    return str(next((run / BUILD / "steps").glob(f"*_{step}.onnx")).relative_to(run))


PLANTED: dict[str, tuple[Callable[[Path], str], Callable[[Path], object], set[str]]] = {
    "train": (lambda _: "train/checkpoint.pt", change_checkpoint, {"train"}),
    "export": (lambda _: "export/model.onnx", change_onnx, {"export"}),
    "integers": (
        lambda _: "export/reference.npz",
        lambda path: change_npz(path, "weights"),
        {"integers", "cpu", *(stage for stage in STAGES if stage.startswith("deploy/"))},  # whose reference is another
    ),
    "hardware_graph": (lambda run: graph_of(run, "hardware_graph"), change_onnx, {"build/hardware_graph"}),
    "fold": (lambda run: graph_of(run, "fold"), change_onnx, {"build/fold"}),
    "ip": (lambda _: "ip/pynq-z2/hdl/accelerator.v", lambda path: path.write_text("module m; endmodule\n"), {"ip"}),
}


@pytest.mark.parametrize("stage", PLANTED)
@pytest.mark.usefixtures("_without_simulator")
def test_a_planted_difference_fails_its_stage(place: Place, stage: str) -> None:
    if stage == "ip":
        assert place("ip", "tiny.yaml").code == 0
    find, change, expected = PLANTED[stage]
    name = find(place.run)
    change(place.run / name)
    restamp(place.run, name)
    if stage == "ip":
        stamp = place.run / "ip/pynq-z2/stage.json"
        content = json.loads(stamp.read_text())
        content["files"]["hdl/accelerator.v"] = hash_file(place.run / name)
        stamp.write_text(json.dumps(content))
    called = place("verify", "runs/tiny", "--junit", "v.xml")
    assert failed(called) == expected, called.out
    assert called.code == 1
    cases = {case.get("name"): case for case in ElementTree.parse(place.folder / "v.xml").getroot()}
    assert {name for name, case in cases.items() if case.find("failure") is not None} == expected
    if stage in ("hardware_graph", "fold"):
        assert "layer" in lines(called)[f"build/{stage}"][1]
        assert (place.folder / "verify-failed" / f"build-{stage}" / "mismatch.npz").is_file()


@pytest.mark.slow
def test_a_difference_in_the_rtl_is_named_by_layer_with_tensors_and_waveform(place: Place) -> None:
    memory = min((place.run / BUILD / "rtl").glob("*_weights.dat"))
    change_memory(memory)
    restamp(place.run, str(memory.relative_to(place.run)))
    called = place("verify", "tiny", "--artifacts", "found")
    assert failed(called) == {"simulate", "simulate/stalls"}, called.out
    assert called.code == 1 and "layer 0" in lines(called)["simulate"][1]
    for folder in ("simulate", "simulate-stalls"):
        files = {path.name for path in (place.folder / "found" / folder).iterdir()}
        assert {"mismatch.npz", "first_difference.fst", "first_difference.fst.gtkw"} <= files
    said = lines(called)["simulate"][1]
    assert "found/simulate/mismatch.npz" in said and "found/simulate/first_difference.fst" in said
    assert "cxrflow-verify" not in called.out  # no path into a folder that is gone


def resealed(deploy: Path, name: str) -> None:
    """Let accelerator.json vouch for a file as it is now."""
    manifest = json.loads((deploy / "accelerator.json").read_text())
    manifest["sha256"][name] = hash_file(deploy / name)
    (deploy / "accelerator.json").write_text(json.dumps(manifest))


HARNESSES = {  # a simulator that is none
    "silent": ("#!/bin/sh\nexec sleep 1000\n", "deploy/sim"),
    "wrong": ("#!/bin/sh\nexec cat /dev/zero\n", "deploy/sim"),
    "dead": ("#!/bin/sh\nexit 3\n", "deploy/sim"),
}


@pytest.mark.parametrize("harness", HARNESSES)
def test_a_hostile_simulator_fails_and_nothing_waits_for_it(place: Place, harness: str) -> None:
    deploy = place.run / DEPLOY
    text, stage = HARNESSES[harness]
    (deploy / "sim" / "harness").write_text(text)
    resealed(deploy, "sim/harness")
    with mock.patch("cxrflow.verify.TIMEOUT_S", 0.5):
        called = place("verify", deploy)
    assert failed(called) == {stage}, called.out
    assert called.code in (1, 2)


def test_of_a_deploy_folder_every_device_is_held_and_a_file_that_is_none_fails(place: Place, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere" / "deploy"
    shutil.copytree(place.run / DEPLOY, alone)
    called = place("verify", alone)
    assert called.code == 0 and list(lines(called)) == [s for s in STAGES if s.startswith("deploy/")]
    change_npz(alone / "reference.npz", "weights")
    called = place("verify", alone)
    assert failed(called) == {"deploy/files", "deploy/driver", "deploy/cpu", "deploy/sim"}
    assert lines(called)["deploy/board"][0] == "not run"  # without a bitstream there is nothing to run, damaged or not
    (alone / "accelerator.bit").touch()
    assert failed(place("verify", alone)) == {s for s in STAGES if s.startswith("deploy/")}
    (alone / "accelerator.bit").unlink()
    resealed(alone, "reference.npz")
    called = place("verify", alone)
    assert "deploy/cpu" in failed(called) and called.code == 1
    (alone / "accelerator.json").write_text("[" * 100_000)
    called = place("verify", alone)
    assert len(failed(called)) == 4 and called.code == 2


@pytest.mark.parametrize("broken", ["driver/accelerator.py", "contract/network.py", "contract"])
def test_the_code_of_a_deploy_folder_is_what_people_run(broken: str, place: Place, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere" / "deploy"
    shutil.copytree(place.run / DEPLOY, alone)
    if (alone / broken).is_dir():
        shutil.rmtree(alone / broken)
    else:
        (alone / broken).write_text("raise SystemExit('broken')\n")
    called = place("verify", alone)
    assert failed(called) == {"deploy/driver"} and called.code in (1, 2)
    assert not (alone / "driver" / "__pycache__").exists()


def test_what_verilator_refuses_keeps_its_log(place: Place) -> None:
    top = place.run / BUILD / "rtl" / "accelerator.v"
    top.write_text("module accelerator (input wire; endmodule\n")
    restamp(place.run, str(top.relative_to(place.run)))
    called = place("verify", "tiny")
    assert failed(called) == {"simulate", "simulate/stalls"} and called.code == 2
    assert "verify-failed/simulate/verilator.log" in lines(called)["simulate"][1]
    assert "accelerator.v" in (place.folder / "verify-failed" / "simulate" / "verilator.log").read_text()


@pytest.mark.usefixtures("_without_simulator")
def test_without_golden_integers_nothing_passes(place: Place) -> None:
    golden = place.run / "export" / "golden.npz"
    golden.write_bytes(golden.read_bytes()[:-40])
    shutil.rmtree(place.run / "deploy")
    called = place("verify", "tiny")
    found = lines(called)
    assert failed(called) == {"golden"} and called.code == 2
    assert not [stage for stage, (result, _) in found.items() if result == "passed"], called.out
    assert "no golden integers" in found["cpu"][1]


def test_a_run_that_was_interrupted_says_what_is_left(place: Place) -> None:
    for stage in ("build", "sim", "deploy"):
        shutil.rmtree(place.run / stage)
    called = place("verify", "tiny")
    found = lines(called)
    assert called.code == 0
    assert [stage for stage, (result, _) in found.items() if result == "passed"] == STAGES[:5]
    assert "cxrflow build" in found["simulate"][1] and "cxrflow package" in found["deploy/cpu"][1]
    called = place("verify", "tiny", "--require", "simulate")
    assert failed(called) == {"simulate"} and called.code == 2
    (place.run / "build" / "pynq-z2.failed").mkdir(parents=True)
    (place.run / "build" / "pynq-z2.failed" / "mismatch.txt").write_text("fold: 3 of 16 logits differ.")
    called = place("verify", "tiny")
    assert "simulate" in failed(called) and "3 of 16" in lines(called)["simulate"][1] and called.code == 1


@pytest.mark.parametrize("missing", ["g++", "verilator"])
def test_a_missing_tool_is_not_a_pass(place: Place, missing: str) -> None:
    with mock.patch("finn_build.simulate.missing_tools", lambda: [missing]):
        called = place("verify", "tiny")
        needed = place("verify", "tiny", "--require", "simulate")
    assert called.code == 0 and lines(called)["simulate"][0] == "not run" and missing in lines(called)["simulate"][1]
    assert lines(called)["deploy/sim"][0] == "passed"  # which was compiled before
    assert failed(needed) == {"simulate"} and needed.code == 2


def test_what_is_no_run_and_no_stage_is_refused(place: Place) -> None:
    place("verify", "nowhere").assert_refused("runs/nowhere is not there, expected a run or a deploy folder")
    (place.folder / "here").mkdir()
    place("verify", "here").assert_refused("error: here has no experiment.yaml and no accelerator.json")
    place("verify", "runs/tiny/deploy/pynq-z2.tar.gz").assert_refused("unpack")
    place("verify", "tiny", "--require", "rtl").assert_refused("rtl", "simulate/stalls")
    place("verify", "tiny", "--junit", "runs/tiny/train/metrics.json").assert_refused("metrics.json")
    place("verify", "tiny", "--artifacts", "runs/tiny/export").assert_refused("--artifacts")


@pytest.mark.parametrize("domain", ["finn.custom_op.fpgadataflow.hls", "evil"])
def test_a_foreign_node_in_a_graph_is_never_executed(
    place: Place, tmp_path: Path, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FINN's HLS nodes run the program that an attribute names; qonnx imports the module that a domain names."""
    name = graph_of(place.run, "fold")
    model = load(place.run / name)
    mark = tmp_path / "executed"
    program = tmp_path / "evil.sh"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    node = model.graph.node[0]
    node.domain = domain
    if domain == "evil":
        (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
        monkeypatch.syspath_prepend(tmp_path)
    else:
        node.op_type = "Thresholding_hls"
    node.attribute.extend([make_attribute("executable_path", str(program)), make_attribute("exec_mode", "cppsim")])
    save(model, place.run / name)
    restamp(place.run, name)
    with mock.patch("finn_build.simulate.missing_tools", lambda: ["verilator"]):
        called = place("verify", "tiny")
    assert failed(called) == {"build/fold"} and domain in lines(called)["build/fold"][1]
    assert not mark.exists()


def test_junit_holds_whatever_a_name_holds(tmp_path: Path) -> None:
    nasty = "\x00\x1b[31m\ud800 ]]> <b> & \u202e \ufffe\n" + "x" * 1000
    outcomes = [
        Outcome("a", "FAILED", nasty, 0.5, 2),
        Outcome("b", "FAILED", "bug", 0.1, 1, detail=f"Traceback\n{nasty}"),
        Outcome("c", "not run", nasty, 0.0),
        Outcome("d", "passed", nasty, 1.0),
    ]
    write_junit(tmp_path / "j.xml", nasty, outcomes)
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "1"]
    assert [case[0].tag for case in suite] == ["failure", "error", "skipped", "system-out"]


def test_exit_codes() -> None:
    passed, not_run = Outcome("a", "passed", "", 0), Outcome("b", "not run", "", 0)
    damaged, differs = Outcome("c", "FAILED", "", 0, 2), Outcome("d", "FAILED", "", 0, 1)
    assert [exit_code(o) for o in ([passed, not_run], [not_run], [passed, damaged], [damaged, differs])] == [0, 2, 2, 1]


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(place: Place) -> None:
    import signal
    import time

    process = place.start("verify", "tiny", "--junit", "v.xml", env={"TMPDIR": str(place.folder)})
    deadline = time.monotonic() + 600
    while not list(place.folder.glob("cxrflow-verify-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=600)
    # CPython ends by the signal, which is 130 to a shell, where it came within exec(), as dataclasses use it.
    assert process.returncode in (130, -signal.SIGINT) and "Traceback" not in err
    assert not list(place.folder.glob("cxrflow-*")) and not (place.folder / "v.xml").exists()


@pytest.mark.usefixtures("_without_simulator")
def test_an_imported_network_is_held_against_its_file(tmp_path: Path) -> None:
    """With samples, and an input that the host rounds; the file decides, so another file fails, by its stage."""
    place, file = Place(tmp_path), small_file(tmp_path)
    save_npz(tmp_path / "s.npz", {"x": np.random.default_rng(1).normal(size=(10, 1, 8, 8))})
    assert place("import", file, "--name", "net", "--samples", "s.npz").code == 0
    assert place("build", "runs/net/experiment.yaml").code == 0
    called = place("verify", "net")
    assert called.code == 0, called.out
    passed = [stage for stage, (result, _) in lines(called).items() if result == "passed"]
    assert passed == ["golden", "import", "integers", "cpu", "build/hardware_graph", "build/fold"]
    assert "110 images equal" in lines(called)["import"][1]
    own = place.folder / "runs" / "net" / "export" / "imported.onnx"
    change_onnx(own)
    restamp(place.folder / "runs" / "net", "export/imported.onnx")
    assert failed(place("verify", "net")) == {"import"}
    own.write_bytes(b"none")
    restamp(place.folder / "runs" / "net", "export/imported.onnx")
    called = place("verify", "net")
    assert failed(called) == {"import"} and "imported.onnx" in lines(called)["import"][1] and called.code == 2
