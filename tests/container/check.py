"""`make docker-check`: the image of FINN's own shell, built without Docker from a stand-in base, and what runs in it.

buildah builds docker/Dockerfile, and podman runs it with the arguments that prepare.py gives to Docker. The base
is made on the spot from Debian's packages; Python's packages are fetched with this machine's own pip configuration and
mounted, so that no registry and no other index is asked; FINN's HLS sources and the vendor's tools are stand-ins. All
of it lies in build/docker-check, in a storage of its own, which is removed at the end. It is started by alone.py, which
sees to that however it ends. Not collected by `make test`.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from finn_build.flows.finn_iodma.image import IMAGE, LABEL, REPOSITORY, ask, image_inputs
from finn_build.flows.finn_iodma.prepare import container_command, find_xilinx
from finn_build.flows.finn_iodma.run import run_container
from tests.container.alone import DEMO, INSIDE, WORK, mounts
from tests.container.stand_ins import BASE, SOURCES, write_base, write_sources, write_xilinx

UID = 1000
PYTHON = "3.11"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"  # where pip finds no CPU build otherwise


@dataclass(frozen=True)
class Engine:
    """buildah and podman on the storage of this check."""

    environment: dict[str, str]

    def call(self, *command: str | Path, timeout_s: float = 600) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            list(map(str, command)), env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip

    def must(self, *command: str | Path, timeout_s: float = 600) -> str:
        """The same, for what cannot fail."""
        done = self.call(*command, timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *command: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        """Run a command in the image as an ordinary user, with a root that cannot be written to."""
        return self.call(
            "docker", "run", "--rm", "--init", "--pull", "never", "--user", f"{UID}:{UID}", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--network", "none", "--read-only", "--entrypoint", "", *options,
            f"localhost/{IMAGE}", *command,
        )  # fmt: skip


@pytest.fixture(scope="session")
def engine() -> Engine:
    """A storage of its own, and podman under Docker's name."""
    if INSIDE not in os.environ:
        pytest.fail(
            "this would leave mounts and processes when it is interrupted. Run `make docker-check`, or a part of it by "
            "`python -m tests.container.alone -k PART`.",
            pytrace=False,
        )
    for name in ("storage", "state", "bin"):
        (WORK / name).mkdir(exist_ok=True)
    (WORK / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{WORK}/storage"\nrunroot = "{WORK}/state"\n'
    )
    # Limits that this machine allows, and no service of cgroups, which a machine in a machine need not have.
    (WORK / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )
    (WORK / "bin" / "docker").write_text('#!/bin/sh\nexec podman "$@"\n')
    (WORK / "bin" / "docker").chmod(0o755)
    variables = {
        "CONTAINERS_STORAGE_CONF": str(WORK / "storage.conf"),
        "CONTAINERS_CONF": str(WORK / "containers.conf"),
        "PATH": f"{WORK / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    return Engine({**os.environ, **variables})


@pytest.fixture(scope="session")
def ingredients(engine: Engine) -> tuple[str, ...]:
    """What the build gets in place of a registry and the internet, as options of docker/build.sh."""
    with _told():
        write_base(WORK / "base.tar")
    shutil.rmtree(WORK / "sources", ignore_errors=True)
    write_sources(REPOSITORY / "docker" / "dependencies.txt", WORK / "sources")
    for image, content, under in ((BASE, WORK / "base.tar", "scratch"), (SOURCES, WORK / "sources", BASE)):
        container = engine.must("buildah", "from", "--pull-never", under).strip()
        engine.must("buildah", "add", "--quiet", container, content, "/")
        engine.must("buildah", "commit", "--quiet", "--rm", container, image)
    with _told():
        fetch_wheels(WORK / "wheels")
    (WORK / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    return (
        "--isolation", "chroot", "--pull-never", f"--build-arg=BASE={BASE}", f"--build-arg=SOURCES={SOURCES}",
        f"--volume={WORK / 'wheels'}:/wheels:ro", f"--volume={WORK / 'pip.conf'}:/etc/pip.conf:ro",
    )  # fmt: skip


@contextmanager
def _told() -> Iterator[None]:
    """Fail with a sentence where a program that fetches has said why it failed."""
    try:
        yield
    except subprocess.CalledProcessError as err:
        program = " ".join(map(str, err.cmd[:4]))
        pytest.fail(f"`{program}` failed with exit status {err.returncode}; the lines above say why.", pytrace=False)


def wanted() -> list[str]:
    """NAME==VERSION of what the image holds, but torch."""
    lines = (REPOSITORY / "docker" / "packages.txt").read_text().splitlines()
    names = [line.removesuffix("==.*") for line in lines if not line.startswith("#")]
    pins = {line.split("==")[0].lower(): line for line in (REPOSITORY / "requirements.lock").read_text().splitlines()}
    return [*(pins[name.lower()] for name in names if name != "torch"), "pybind11==3.0.1"]


def fetch_wheels(out: Path) -> None:
    """Fetch the image's packages as this machine's pip finds them; torch as the very build that is installed here."""
    torch = f"torch=={version('torch')}"
    if not torch.endswith("+cpu"):
        pytest.fail(
            f"{torch} is installed here, which may be a build for GPUs of several GB. Install the CPU build first: "
            f"pip install --index-url {TORCH_INDEX} {torch}",
            pytrace=False,
        )
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(out)]
    binary = ["--only-binary=:all:", f"--python-version={PYTHON}"]
    if subprocess.run([*command, *binary, torch], check=False).returncode:
        subprocess.run([*command, *binary, "--index-url", TORCH_INDEX, torch], check=True)
    subprocess.run([*command, *binary, *wanted()], check=True)


@pytest.fixture(scope="session")
def image(engine: Engine, ingredients: tuple[str, ...]) -> str:
    """The image's id."""
    started = time.monotonic()
    done = engine.call(REPOSITORY / "docker" / "build.sh", "buildah", *ingredients, timeout_s=3600)
    (WORK / "build.log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, f"see {WORK / 'build.log'}:\n{done.stderr[-3000:]}"
    found = json.loads(engine.must("podman", "image", "inspect", IMAGE))[0]
    print(f"\nthe image has {found['Size'] / 1e9:.2f} GB; built in {time.monotonic() - started:.0f} s")
    assert found["Labels"][LABEL] == image_inputs()
    assert not engine.must("buildah", "containers", "--quiet")
    return str(found["Id"])


@pytest.fixture(scope="module")
def vendor() -> Iterator[Path]:
    """Stand-ins for Vivado and Vitis HLS, where nobody's real ones are."""
    root = WORK / "Xilinx"
    write_xilinx(root)
    yield root


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the user's own, as flow.py makes it; its parents may be entered."""
    folder = WORK / "user" / str(time.time_ns())
    (folder / "home").mkdir(parents=True)
    for path in (folder, folder / "home"):
        os.chown(path, UID, UID)
    return folder


def start(engine: Engine, image: str, vendor: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command with which run.py starts the image, as a user."""
    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "getuid", lambda: UID)
    monkeypatch.setattr(os, "getgid", lambda: UID)
    xilinx = find_xilinx({"XILINX_VIVADO": str(vendor / "Vivado" / "2022.2")})
    return container_command(image, DEMO / "build" / "pynq-z2", DEMO / "export", work, xilinx, {})


def instead(command: list[str], *words: str) -> list[str]:
    """The same start with another command."""
    return [*command[: command.index("python")], *words]


def test_packages_are_the_locks(engine: Engine, image: str) -> None:
    done = engine.run("python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
    assert done.returncode == 0, done.stderr
    inside = {line.split("==")[0].lower().replace("_", "-"): line.split("==")[1] for line in done.stdout.split()}
    for pin in [*wanted(), f"torch=={version('torch')}"]:
        name, expected = pin.split("==")
        assert inside[name.lower().replace("_", "-")] == expected, name
    done = engine.run("python", "-c", "import torch, mip, qonnx, onnxruntime, sklearn, onnxscript, pybind11, pylibfst")
    assert done.returncode == 0, done.stderr


def test_what_the_image_does_not_need_is_not_in_it(engine: Engine, image: str) -> None:
    listed = "ls -A /var/lib/apt/lists /wheels; command -v git vivado; cat /etc/pip.conf; find / -xdev -name '*.whl'"
    assert engine.run("sh", "-c", listed).stdout.split() == ["/var/lib/apt/lists:", "/wheels:"]
    done = engine.run("python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
    assert not re.search(r"^(nvidia|ray|playwright|pyarrow|cocotb|ruff|cbcbox)", done.stdout, re.M)
    sizes = engine.run("sh", "-c", "du -sm /usr/local/lib/python3*/*-packages/* /usr/lib /opt | sort -rn | head -12")
    print("\n" + sizes.stdout)


def test_it_runs_as_a_user_with_nothing_more(engine: Engine, image: str) -> None:
    done = engine.run(
        "sh", "-c",
        "id -u; touch /x || echo read-only; cat /proc/1/comm; grep -E 'CapBnd|NoNewPrivs' /proc/self/status;"
        " ls /sys/class/net; locale 2>&1 | grep LANG=; ls /opt/finn_deps; python --version",
    )  # fmt: skip
    said = done.stdout.split()
    assert said[:2] == ["1000", "read-only"] and said[2] in ("podman-init", "catatonit")
    assert said[3:7] == ["CapBnd:", "0" * 16, "NoNewPrivs:", "1"] and said[7:9] == ["lo", "LANG=en_US.UTF-8"]
    assert said[9:13] == ["attention-hlslib", "board_files", "finn-hlslib", "Python"] and said[13].startswith(PYTHON)


def test_finn_up_to_the_first_call_of_a_vendor_tool(
    engine: Engine, image: str, vendor: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's export to RTL, equal to the local build's; FINN's binding compiles; its model gives the logits."""
    said: list[str] = []
    with monkeypatch.context() as patch:
        command = start(engine, image, vendor, place, patch)
        code = run_container(command, place / "container.log", said.append)
    text = "\n".join(said)
    rtl = DEMO / "build" / "pynq-z2" / "rtl"
    files = sum(path.is_file() for path in rtl.rglob("*"))
    assert f"{files} files of RTL equal the local build's" in text, text
    assert "folded_hls_cppsim: 16 images, 0 differ" in text, text
    failure = json.loads((place / "failure.json").read_text())
    assert code == 2 and failure["kind"] == "ToolError", (code, text)
    called = re.search(r"\[Stand-in 1-1\] vivado (.*) was called in (\S+) by (\d+)", failure["message"])
    assert called is not None, failure
    assert Path(called[2]).is_relative_to(place) and called[3] == str(UID)
    assert (place / "xsi" / "xsi.so").is_file()
    owners = {path.lstat().st_uid for path in place.rglob("*") if path != place / "container.log"}
    assert owners == {UID}
    assert not (place / "result").exists()


def test_the_hosts_side_says_what_the_container_met(
    engine: Engine, image: str, vendor: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what was mounted is there, at the host's own paths, and only one folder can be written."""
    command = start(engine, image, vendor, place, monkeypatch)
    build = DEMO / "build" / "pynq-z2"
    script = (
        f"cat {build}/build.json > {place}/copy; for d in {build} {DEMO}/export {REPOSITORY}/finn_build {vendor} /usr;"
        f" do touch $d/x 2> /dev/null && echo $d is writable; done; ls {REPOSITORY} {DEMO}; pwd; echo $HOME;"
        " command -v vivado; command -v vitis_hls"
    )
    done = engine.call(*instead(command, "sh", "-c", script))
    assert done.returncode == 0, done.stderr
    assert (place / "copy").read_bytes() == (build / "build.json").read_bytes()
    assert (place / "copy").stat().st_uid == UID
    assert "writable" not in done.stdout
    listed = done.stdout.split()
    assert {"contract", "finn_build", "export", "build"} <= set(listed) and "tests" not in listed
    assert listed[-4:-2] == [str(place), f"{place}/home"]
    assert listed[-2:] == [f"{vendor}/Vivado/2022.2/bin/vivado", f"{vendor}/Vitis_HLS/2022.2/bin/vitis_hls"]


@pytest.mark.parametrize("code", [0, 1, 7, 78])
def test_exit_codes_arrive(
    engine: Engine, image: str, vendor: Path, place: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = start(engine, image, vendor, place, monkeypatch)
    assert engine.call(*instead(command, "sh", "-c", f"exit {code}")).returncode == code


@pytest.mark.parametrize(("tool", "program"), [("Vivado", "vivado"), ("Vitis_HLS", "vitis_hls")])
def test_settings_that_do_not_work(
    engine: Engine, image: str, vendor: Path, place: Path, tool: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = start(engine, image, vendor, place, monkeypatch)
    settings = vendor / tool / "2022.2" / "settings64.sh"
    content = settings.read_text()
    settings.write_text("return 1\n")
    try:
        done = engine.call(*instead(command, "true"))
    finally:
        settings.write_text(content)
    assert done.returncode == 78 and f"{program} is not on PATH after settings64.sh" in done.stderr


def test_what_is_left_when_it_is_killed(
    engine: Engine, image: str, vendor: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = start(engine, image, vendor, place, monkeypatch)
    script = f"echo begun > {place}/begun; sleep 600 & wait"
    name = command[command.index("--name") + 1]
    with subprocess.Popen(instead(command, "sh", "-c", script), env=engine.environment):
        until(lambda: (place / "begun").exists())
        assert ask("kill", name).returncode == 0
    until(lambda: name not in engine.must("podman", "ps", "--all", "--format", "{{.Names}}"))
    assert not [path for path in mounts(WORK / "storage") if path != str(WORK / "storage" / "overlay")]
    assert (place / "begun").stat().st_uid == UID


def until(condition: "object", seconds: float = 60) -> None:
    """Wait for what happens soon."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=str)
@pytest.mark.parametrize("builder", ["buildah", "podman"])
def test_an_interrupted_build_leaves_nothing(
    engine: Engine, ingredients: tuple[str, ...], how: signal.Signals, builder: str
) -> None:
    before = left(engine)
    options = [option.replace("--pull-never", "--pull=never") for option in ingredients]
    with subprocess.Popen(
        [str(REPOSITORY / "docker" / "build.sh"), builder, *options],
        env=engine.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "STEP" in line and "RUN apt-get" in line:
                break
        time.sleep(5)
        process.send_signal(how)
        said = process.stdout.read()  # to the end of everything that could still say something
    if how is signal.SIGKILL:  # nobody is left to remove what the build was working in
        assert process.returncode == -how
        engine.must("buildah", "rm", "--all")
    else:
        assert process.returncode == 130 and said.rstrip().endswith("interrupted: no image was made"), said
        assert not engine.must("buildah", "containers", "--quiet")
    assert left(engine) == before


def left(engine: Engine) -> tuple[list[str], set[str]]:
    """What is mounted, and the names of images; a build keeps layers without a name for the next one."""
    images = engine.must("buildah", "images", "--format", "{{.Name}}:{{.Tag}} {{.ID}}").splitlines()
    return mounts(WORK / "storage"), {image for image in images if not image.startswith("<none>")}
