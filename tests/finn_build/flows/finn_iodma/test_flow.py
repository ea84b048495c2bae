"""The host's side of the container: how Docker is called, and one sentence for each way it can fail."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.errors import ArtifactError, ConfigError, CxrflowError, MismatchError, ToolError, VendorToolError
from finn_build.flows.finn_iodma import run as run_module
from finn_build.flows.finn_iodma.flow import build_bitstream
from finn_build.flows.finn_iodma.image import IMAGE, LABEL, REPOSITORY, image_inputs
from finn_build.flows.finn_iodma.prepare import find_xilinx
from finn_build.targets.boards import BOARDS
from tests.finn_build.flows.finn_iodma.docker_bench import fake_docker, write

DOCKER = REPOSITORY / "docker"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build and an export beside what `fake_docker` leaves."""
    fake_docker(tmp_path, monkeypatch)
    write(tmp_path / "build" / "build.json", json.dumps({"board": "pynq-z2", "clk_ns": 10.0}))
    (tmp_path / "export").mkdir()
    return tmp_path


def run(place: Path, said: list[str] | None = None) -> dict[str, Any]:
    return build_bitstream(
        place / "build", place / "export", place / "build" / "bitstream", board=BOARDS["pynq-z2"],
        say=(said if said is not None else []).append,
    )  # fmt: skip


def arguments(place: Path) -> list[str]:
    return list(json.loads((place / "fake" / "run.json").read_text()))


def test_the_results_come_out_whole_and_the_container_gets_just_what_it_needs(place: Path) -> None:
    said: list[str] = []
    content = run(place, said)
    out, work = place / "build" / "bitstream", place / "build" / ".bitstream.docker"
    assert sorted(p.name for p in out.iterdir()) == ["accelerator.bit", "accelerator.hwh", "bitstream.json", "reports"]
    assert json.loads((out / "bitstream.json").read_text()) == content and content["image"] == "sha256:1234"
    assert "compiling the network" in said and not work.exists()
    got = arguments(place)
    assert got[0] == "run" and {"--rm", "--init"} <= set(got)
    assert not {"-t", "--tty", "-i", "-it", "--interactive", "--privileged"} & set(got)
    for option, value in {
        "--user": "1234:567", "--pull": "never", "--network": "none", "--cap-drop": "ALL", "--workdir": str(work),
        "--security-opt": "no-new-privileges", "--platform": "linux/amd64",
    }.items():  # fmt: skip
        assert got[got.index(option) + 1] == value
    mounts = [re.fullmatch(r"--mount=type=bind,source=(.*?),target=(.*?)(,readonly)?", a) for a in got if "mount" in a]
    assert all(m and m[1] == m[2] for m in mounts), "at the same path as on the host"
    repository = REPOSITORY
    assert {m[1]: bool(m[3]) for m in mounts if m} == {
        **{str(place / name): True for name in ("build", "export", "Xilinx")},
        **{str(repository / name): True for name in ("contract", "finn_build", "LICENSE")},
        str(work): False,
    }
    image = got.index("sha256:1234")
    assert got[image + 1 :] == [
        "python", "-m", "finn_build.flows.finn_iodma.container", str(place / "build"), str(place / "export"), str(work),
    ]  # fmt: skip
    assert f"--env=CXRFLOW_VIVADO={place}/Xilinx/Vivado/2022.2" in got and f"--env=HOME={work}/home" in got


def test_a_licence_file_is_mounted_and_a_server_can_be_reached(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place / "licences" / "x.lic", "FEATURE")
    monkeypatch.setenv("XILINXD_LICENSE_FILE", f"2100@server:{place}/licences/x.lic")
    run(place)
    got = arguments(place)
    assert f"--env=XILINXD_LICENSE_FILE=2100@server:{place}/licences/x.lic" in got
    assert f"--mount=type=bind,source={place}/licences/x.lic,target={place}/licences/x.lic,readonly" in got
    assert got[got.index("--network") + 1] == "host"
    (place / "licences" / "x.lic").unlink()
    (place / "build" / "bitstream" / "x").touch()
    with pytest.raises(ConfigError, match=r"x\.lic is not there, though XILINXD_LICENSE_FILE names it"):
        run(place)


# what docker does -> the error and what its one sentence says; all but the results' own end with a command
FAILURES: dict[str, tuple[type[CxrflowError], str]] = {
    "permission": (ToolError, r"permission denied\)\. Run `sudo usermod -aG docker \$USER`, log in again"),
    "down": (ToolError, r"engine does not answer .* Run `sudo systemctl start docker`"),
    "rootless": (ToolError, r"is rootless.*docker context use default"),
    "no_image": (ToolError, r"there is no image cxrflow-finn .*Run `make docker-build`"),
    "stale": (ToolError, r"built from other files .*Run `make docker-build`"),
    "mismatch": (MismatchError, r"^stitched_ip_rtlsim: image 2 gives 7, the golden logit is 8\.$"),
    "vivado": (ToolError, r"^FINN's ZynqBuild failed: ERROR: \[Place 30-640\] more LUTs\.$"),
    "forged": (ToolError, r"exit code 1 and said last: .*KeyError: 'a bug'"),
    "bug": (ToolError, r"exit code 1 and said last: .*KeyError: 'a bug'.*container\.log"),
    "crash": (ToolError, r"exit code 139 and said last: .*Segmentation fault"),
    "killed": (ToolError, r"was killed \(exit code 137\), mostly for want of memory"),
    "disk": (ConfigError, r"a disk is full: .*Free some space, and run the same command again"),
    "start": (ToolError, r"could not start the container: .*invalid mount config"),
    "damaged": (ToolError, r"image cxrflow-finn is damaged: .*Run `make docker-build`"),
    "settings": (ToolError, r"settings do not work in the container: vivado is not on PATH"),
    "no_json": (ToolError, r"reports success but left no whole .*bitstream\.json"),
    "no_bit": (ToolError, r"accelerator\.bit is missing, though the container reports success"),
    "half_bit": (ToolError, r"accelerator\.bit is not what the container wrote"),
    "unverified": (ToolError, r"shows no passed verification"),
    "unequal": (ToolError, r"shows no passed verification"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_each_failure_has_its_sentence_and_leaves_no_bitstream(
    how: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, sentence = FAILURES[how]
    monkeypatch.setenv("FAKE_DOCKER", how)
    with pytest.raises(CxrflowError, match=sentence) as caught:
        run(place)
    assert type(caught.value) is kind
    assert not (place / "build" / "bitstream").exists()


def test_what_a_failure_left_is_not_in_the_way(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DOCKER", "half_bit")
    with pytest.raises(ToolError):
        run(place)
    assert (place / "build" / ".bitstream.docker" / "container.log").read_text() == "compiling the network\n"
    monkeypatch.setenv("FAKE_DOCKER", "success")
    run(place)


def test_a_hanging_container_is_killed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DOCKER", "hang")
    monkeypatch.setattr(run_module, "TIMEOUT_S", 0.3)
    with pytest.raises(ToolError, match=r"did not end in .* h and was stopped.*make the design smaller"):
        run(place)
    assert (place / "fake" / "killed").exists() and not (place / "build" / "bitstream").exists()


def test_the_container_ends_with_whoever_started_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of fault: what a vendor's tool does goes on when the command that started it is killed."""
    monkeypatch.setenv("FAKE_DOCKER", "hang")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    code = (
        "import sys; from pathlib import Path; from finn_build.flows.finn_iodma.run import run_container\n"
        "run_container(sys.argv[1:], Path(sys.argv[-1]) / 'log', say=print)"
    )
    command = ["docker", "run", "--name", "cxrflow-1", str(place)]
    process = subprocess.Popen([sys.executable, "-u", "-c", code, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and "compiling" in process.stdout.readline()
    assert not (place / "fake" / "killed").exists()
    process.kill()
    process.wait()
    until = time.monotonic() + 300
    while not (place / "fake" / "killed").exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def no_docker(place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", str(place))


def root(place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "getuid", lambda: 0)


def no_vivado(place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("XILINX_VIVADO")
    patch.setenv("PATH", str(place / "bin"))


def wrong_vivado(place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("XILINX_VIVADO", str(place / "nowhere" / "2022.2"))


def no_version(place: Path, patch: pytest.MonkeyPatch) -> None:
    (place / "Xilinx" / "Vivado" / "2022.2").rename(place / "Xilinx" / "Vivado" / "latest")
    patch.setenv("XILINX_VIVADO", str(place / "Xilinx" / "Vivado" / "latest"))


def no_hls(place: Path, patch: pytest.MonkeyPatch) -> None:
    (place / "Xilinx" / "Vitis_HLS" / "2022.2" / "bin" / "vitis_hls").unlink()


def no_build(place: Path, patch: pytest.MonkeyPatch) -> None:
    (place / "build" / "build.json").unlink()


def summary(**changes: object) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def change(place: Path, _: pytest.MonkeyPatch) -> None:
        path = place / "build" / "build.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def taken(place: Path, patch: pytest.MonkeyPatch) -> None:
    write(place / "build" / "bitstream" / "something", "")


def spaced(place: Path, patch: pytest.MonkeyPatch) -> None:
    (place / "Xilinx").rename(place / "my tools")
    patch.setenv("XILINX_VIVADO", str(place / "my tools" / "Vivado" / "2022.2"))


def unknown_to_finn(place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(BOARDS, "pynq-z2", BOARDS["pynq-z2"].model_copy(update={"finn_name": None}))


OBSTACLES: list[tuple[Callable[[Path, pytest.MonkeyPatch], None], type[CxrflowError], str]] = [
    (no_docker, VendorToolError, r"docker is not on PATH.*then run `make docker-build`"),
    (root, ToolError, r"runs as root.*as a user in the group docker"),
    (no_vivado, VendorToolError, r"XILINX_VIVADO is not set and vivado is not on PATH; .*\. Source settings64\.sh"),
    (wrong_vivado, ToolError, r"nowhere/2022\.2 holds no Vivado.*Set XILINX_VIVADO"),
    (no_version, ToolError, r"latest has no version such as 2022\.2"),
    (no_hls, ToolError, r"Vitis HLS 2022\.2 is not beside .*or use the shell axi_dma"),
    (no_build, ArtifactError, r"build\.json is not there\. Run `cxrflow build` first"),
    (summary(board="zcu104"), ConfigError, r"was built for zcu104, not for pynq-z2"),
    (summary(clk_ns=5.0), ConfigError, r"clk_ns is 5, but FINN's shell.*Build again with clk_ns: 10, or use axi_dma"),
    (unknown_to_finn, ConfigError, r"FINN does not know pynq-z2, so .*Use axi_dma"),
    (taken, ConfigError, r"bitstream is there already\. Remove it"),
    (spaced, ConfigError, r"my tools holds a space"),
]


@pytest.mark.parametrize(("obstacle", "kind", "sentence"), OBSTACLES)
def test_what_is_missing_is_named_with_the_next_command(
    obstacle: Callable[[Path, pytest.MonkeyPatch], None],
    kind: type[CxrflowError],
    sentence: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    obstacle(place, monkeypatch)
    with pytest.raises(CxrflowError, match=sentence) as caught:
        run(place)
    assert type(caught.value) is kind
    assert not (place / "build" / "bitstream" / "accelerator.bit").exists()


def test_the_newer_layout_of_vivado_is_found(tmp_path: Path) -> None:
    for tool, program in (("Vivado", "vivado"), ("Vitis", "vitis-run")):
        write(tmp_path / "2025.1" / tool / "settings64.sh", "")
        write(tmp_path / "2025.1" / tool / "bin" / program, "")
    found = find_xilinx({"PATH": str(tmp_path / "2025.1" / "Vivado" / "bin")})
    assert (found.hls, found.program) == (tmp_path / "2025.1" / "Vitis", "vitis-run")
    assert found.mounts == (tmp_path,)


def test_the_image_is_built_with_the_label_that_the_run_looks_for(place: Path) -> None:
    subprocess.run(["sh", DOCKER / "build.sh"], check=True, cwd=place)
    got = json.loads((place / "fake" / "build.json").read_text())
    assert got[got.index("--label") + 1] == f"{LABEL}={image_inputs()}"
    assert got[got.index("--tag") + 1] == IMAGE


def test_the_entrypoint_takes_over_the_settings_and_becomes_the_command(place: Path) -> None:
    xilinx = place / "Xilinx"
    vivado, hls = (xilinx / tool / "2022.2" for tool in ("Vivado", "Vitis_HLS"))
    # Xilinx' own settings end with an error when another product is not installed.
    for tool in (vivado, hls):
        write(
            tool / "settings64.sh", f"export XILINX_VIVADO={vivado} PATH={tool}/bin:$PATH\nsource /nowhere/DocNav.sh\n"
        )
    named = {"VIVADO": str(vivado), "HLS": str(hls), "HLS_PROGRAM": "vitis_hls"}
    environment = {"PATH": "/usr/bin:/bin"} | {f"CXRFLOW_{name}": value for name, value in named.items()}
    command = ["bash", str(DOCKER / "entrypoint.sh"), "sh", "-c", 'echo "$LD_LIBRARY_PATH"; exit 7']
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 7, "the command's exit code is the container's"
    assert f"{vivado}/lib/lnx64.o" in done.stdout.strip().split(":")
    (hls / "bin" / "vitis_hls").unlink()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 78 and "vitis_hls is not on PATH" in done.stderr
