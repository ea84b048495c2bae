"""FINN's ZynqBuild around our design, with stand-ins for Vivado and Vitis HLS, and every way it must fail.

FINN's Tcl is run, not read: the stand-in for Vivado is a Tcl interpreter that refuses a file or a module that is not
there. Vivado's simulation is replaced by the integer network.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finn.transformation.fpgadataflow import create_stitched_ip

from contract.errors import MismatchError, ToolError
from contract.golden import load_golden
from contract.network import load_network
from finn_build.build import build
from finn_build.config import BuildConfig
from finn_build.flows.finn_iodma import container as zynq
from tests.random_networks import export_random, small_spec

pytestmark = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh not found")
FAKES = Path(__file__).parent / "fakes"


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local build: a layer of FINN's DSPs, one that is ours by choice, and one that FINN has no RTL for."""
    folder = tmp_path_factory.mktemp("local")
    export_random(folder / "export", small_spec((8, 4, 1), (4, 6), (8, 4)), count=5)
    (folder / "folding.json").write_text(
        json.dumps({"MVAU_rtl_0": {"resType": "dsp"}, "MVAU_rtl_1": {"resType": "lut"}})
    )
    build(folder / "export", folder / "build", BuildConfig(folding=folder / "folding.json", sample=3), quiet)
    return folder


@pytest.fixture
def xilinx(tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Stand-ins on PATH; the simulator gives the network's own logits."""
    for name in ("FINN_RTLLIB", "FINN_CUSTOM_HLS", "FINN_XSI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XILINX_VIVADO", str(tmp_path / "Vivado" / "2022.2"))
    monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NUM_DEFAULT_WORKERS", "1")
    monkeypatch.setattr(zynq, "load_simulator", lambda folder: None)
    # FINN waits for every file to stay unchanged for a while; nothing here is written late.
    monkeypatch.setattr(create_stitched_ip, "wait_for_file", lambda path, **_: path.is_file())
    simulate_with(monkeypatch, built, error=0)
    return monkeypatch


@pytest.fixture
def compiled(xilinx: pytest.MonkeyPatch, built: Path) -> pytest.MonkeyPatch:
    """As `xilinx`, and the network is not compiled once more."""
    xilinx.setattr(zynq, "build", lambda export, out, *_: shutil.copytree(built / "build", out))
    return xilinx


def simulate_with(monkeypatch: pytest.MonkeyPatch, built: Path, *, error: int) -> None:
    from finn.core import onnx_exec

    network = load_network(built / "export" / "reference.npz")

    def rtlsim(model: Any, context: dict[str, Any], *_: object) -> None:
        assert Path(model.get_metadata_prop("wrapper_filename")).is_file()
        pixels = (
            context[model.graph.input[0].name].astype(np.uint8).reshape(-1, network.input.height, network.input.width)
        )
        logits = network.outputs(pixels)[-1] + error * (pixels[:, 3:4, 4] == 255) * (pixels.sum() == 255)
        context[model.graph.output[0].name] = logits.astype(np.float32)

    monkeypatch.setattr(onnx_exec, "rtlsim_exec", rtlsim)


def run(built: Path, work: Path) -> dict[str, Any]:
    work.mkdir()
    return zynq.zynq_build(built / "build", built / "export", work, quiet)


def test_a_bitstream_with_everything_checked(built: Path, xilinx: pytest.MonkeyPatch, tmp_path: Path) -> None:
    xilinx.setenv("NUM_DEFAULT_WORKERS", "3")  # FINN builds the parts of its shell in processes of their own
    content = run(built, tmp_path / "work")
    result = tmp_path / "work" / "result"
    assert json.loads((result / "bitstream.json").read_text()) == content
    assert (result / "accelerator.bit").read_text() == "a bitstream\n"
    assert content["timing"] == {"WNS(ns)": 0.512, "WHS(ns)": 0.02, "WPWS(ns)": 3.75}
    assert [(p["point"], p["images"], p["differing"]) for p in content["verification"]] == [
        (point, 5, 0) for point in zynq.POINTS
    ]
    assert content["resources"]["(top)"]["LUT"] == 5000
    assert content["output"] == {"packed_bytes": 2, "width_bits": 16}, "logits of up to 4 * 63 in whole bytes"
    assert set(content["sha256"]) == {
        "accelerator.bit", "accelerator.hwh", *(f"reports/{p.name}" for p in (result / "reports").iterdir())
    }  # fmt: skip
    assert not (tmp_path / "work" / "result.partial").exists()
    check_block_designs(tmp_path / "work" / "local" / "finn")


def test_sums_beyond_float32_leave_finns_python_model_out(
    built: Path, compiled: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would be a false alarm; Vivado's simulation of the stitched IP is verified all the same."""
    compiled.setattr("contract.network.FLOAT32_EXACT", 1000)
    assert [p["point"] for p in run(built, tmp_path / "work")["verification"]] == list(zynq.POINTS[1:])


def check_block_designs(finn: Path) -> None:
    """Every layer is a cell of the stitched design, our own too, and the shell joins two engines and the design."""
    stitched = [p for p in finn.glob("vivado_stitch_proj_*/vivado_calls.txt") if "LutMVAU" in p.read_text()]
    assert len(stitched) == 2, "one for the verification and one in FINN's shell, which renames the nodes"
    renamed = [re.findall(r"-reference (LutMVAU\S+) (\S+)$", p.read_text(), re.M) for p in stitched]
    assert sorted(renamed) == [
        [("LutMVAU_rtl_0", "LutMVAU_rtl_0")],
        [("LutMVAU_rtl_0", "StreamingDataflowPartition_1_LutMVAU_rtl_1")],
    ]
    for path in stitched:
        text = path.read_text()
        cell = re.findall(r"-reference LutMVAU\S+ (\S+)$", text, re.M)[0]
        ends = re.findall(rf"get_bd_intf_pins \S*{cell}/(\w+)", text)
        assert sorted(ends) == ["in0_V", "out0_V"]
        assert len(re.findall(r"-reference Thresholding", text)) == 2
        assert len(re.findall(r"-reference MVAU_rtl_\d ", text)) == 2
        # FINN's modules are the ones that were simulated, with our edits.
        added = {Path(name) for name in re.findall(r"^add_files .*?(\S+\.sv)$", text, re.M)}
        assert {"mvu_vvu_axi.sv", "thresholding.sv", "memstream.sv"} <= {path.name for path in added}
        for file in added:
            simulated = finn.parent / "rtl" / file.name
            assert not simulated.exists() or file.read_bytes() == simulated.read_bytes(), file
    (wrapper,) = finn.glob("code_gen_ipgen_LutMVAU*/LutMVAU_rtl_0.v")
    (weights,) = re.findall(r'WEIGHT_FILE\("(.*?)"\)', wrapper.read_text())
    assert Path(weights).is_absolute() and Path(weights).is_file()
    # FINN's shell does not generate anything anew: the thresholds are still those that were pinned and compared.
    tables = sorted((finn.parent / "rtl").glob("Thresholding_rtl_*.dat"))
    assert tables
    for table in tables:
        assert [p.read_bytes() for p in finn.glob(f"code_gen_ipgen_*/{table.name}")] == [table.read_bytes()]
    (shell,) = finn.glob("vivado_zynq_proj_*/vivado_calls.txt")
    cells = re.findall(r"^create_bd_cell .* (\S+)$", shell.read_text(), re.M)
    assert {"idma0", "odma0", "StreamingDataflowPartition_1", "zynq_ps"} <= set(cells)
    (tcl,) = finn.glob("vivado_zynq_proj_*/ip_config.tcl")
    joined = re.findall(r"\[get_bd_intf_pins (\w+)/s_axis_0\] \[get_bd_intf_pins (\w+)/m_axis_0\]", tcl.read_text())
    assert joined == [("StreamingDataflowPartition_1", "idma0"), ("odma0", "StreamingDataflowPartition_1")]


FAILURES = {
    "error": r"ZynqBuild failed: ERROR: \[Place 30-640\] This design requires more LUTs\. The whole log is \S+runme",
    "no_bit": r"Synthesis failed, no bitfile found",
    "late_error": r"ERROR: \[Common 17-55\] after the bitstream",
    "slow_clock": r"timing is not met: WNS\(ns\) is -0\.317, expected 0 or more, at a clock period of 10 ns",
    "hls_error": r"ERROR: \[HLS 200-1715\]",
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_failure_of_the_tools_is_named_and_leaves_nothing(
    how: str, built: Path, compiled: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiled.setenv("FAKE_VIVADO", how)
    with pytest.raises(ToolError, match=FAILURES[how]):
        run(built, tmp_path / "work")
    assert not list((tmp_path / "work").glob("result*"))


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis'", "Set XILINXD_LICENSE_FILE"),
        ("couldn't write file: No space left on device", "Free some space on the disk that holds"),
    ],
)
def test_the_first_error_is_shown_with_what_mends_it(line: str, remedy: str, tmp_path: Path) -> None:
    for seconds, name, text in ((1, "z/runme.log", f"INFO: fine\n{line}\n"), (2, "a.log", "ERROR: [X 1] an echo\n")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        os.utime(path, (seconds, seconds))
    with pytest.raises(ToolError, match=remedy) as caught, zynq._explained("synthesis", tmp_path):
        raise RuntimeError("Synthesis failed, check the logs")
    assert str(caught.value).startswith(f"synthesis failed: {line}. ")


def test_one_wrong_logit_in_vivados_simulation_stops_before_synthesis(
    built: Path, compiled: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate_with(compiled, built, error=1)  # of image 2 alone
    work = tmp_path / "work"
    work.mkdir()
    assert zynq.main([str(p) for p in (built / "build", built / "export", work)]) == 1
    failure = json.loads((work / "failure.json").read_text())
    logit = load_golden(built / "export" / "golden.npz").logits[2]
    assert failure["kind"] == "MismatchError"
    assert f"stitched_ip_rtlsim: image 2 gives {logit + 1}, the golden logit is {logit}" in failure["message"]
    assert not list((work / "local" / "finn").glob("vivado_zynq_proj_*")) and not (work / "result").exists()
    assert "folded_hls_cppsim: 5 images, 0 differ" in capsys.readouterr().out


def test_other_rtl_than_the_local_builds_is_refused(built: Path, compiled: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def other(_: Path, out: Path, *__: object) -> None:
        shutil.copytree(built / "build", out)
        (out / "rtl" / "Thresholding_rtl_1_threshs_0_0.dat").write_text("0\n")

    compiled.setattr(zynq, "build", other)
    with pytest.raises(MismatchError, match=r"Thresholding_rtl_1_threshs_0_0\.dat differs .* run `cxrflow build`"):
        run(built, tmp_path / "work")


def test_a_verification_that_did_not_run_is_no_success(built: Path, tmp_path: Path) -> None:
    golden = load_golden(built / "export" / "golden.npz")
    for i in range(2):
        np.save(tmp_path / f"verify_p_{i}_SUCCESS.npy", golden.outputs[i : i + 1].astype(np.float32))
    assert zynq.require_verified(tmp_path, "p", golden, 2)["differing"] == 0
    with pytest.raises(MismatchError, match="FINN left 0 outputs for image 2"):
        zynq.require_verified(tmp_path, "p", golden, 3)
    (tmp_path / "verify_p_1_SUCCESS.npy").rename(tmp_path / "verify_p_1_FAIL.npy")
    with pytest.raises(MismatchError, match="image 1 gives"):
        zynq.require_verified(tmp_path, "p", golden, 2)


def test_a_simulator_that_does_not_compile_is_named(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finn_build.finn_session import finn_session

    monkeypatch.setenv("FINN_XSI", "")  # put back after the test
    monkeypatch.delenv("FINN_XSI")
    monkeypatch.setenv("XILINX_VIVADO", str(tmp_path / "Vivado" / "2022.2"))
    with (
        finn_session(tmp_path / "finn"),
        pytest.raises(ToolError, match=r"2022\.2\. Check that this Vivado has data/xsim"),
    ):
        zynq.load_simulator(tmp_path / "xsi")
    assert (tmp_path / "xsi" / "xsi_bind.cpp").is_file(), "FINN's own files are left alone"
