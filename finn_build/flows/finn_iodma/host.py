"""Build the bitstream of the `finn_iodma` shell in a container: the host's side of `container.py`.

Needs Docker and Python alone. Vivado and Vitis HLS are mounted read-only at their own paths, because their settings
name those; the image (docker/) holds FINN and what it needs. Nothing appears under the result's name unless the
container ended well and every file has the hash that was written down inside it.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract import errors
from contract.errors import ArtifactError, ConfigError, CxrflowError, ToolError, VendorToolError
from contract.files import hash_file, read_json
from finn_build import child

if TYPE_CHECKING:
    from finn_build.targets.boards import Board

REPOSITORY = Path(__file__).resolve().parents[3]
IMAGE = "cxrflow-finn"
LABEL = "cxrflow.inputs"
INPUTS = (  # what the image is made of; docker/build.sh writes their hash into the label
    "docker/Dockerfile", "docker/dependencies.txt", "docker/fetch.sh", "docker/packages.txt", "docker/entrypoint.sh",
    "requirements.lock",
)  # fmt: skip
LICENSES = ("XILINXD_LICENSE_FILE", "LM_LICENSE_FILE")
CLK_NS = 10.0  # the only clock period that the driver and FINN's shell agree on
TIMEOUT_S = 8 * 3600.0  # of a whole build; one of these networks takes well under an hour
ANSWER_S = 60.0  # for a question to Docker
POLL_S = 0.2
TAIL = 5  # lines of the log that an unexplained failure shows
AGAIN = "run the same command again"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Xilinx:
    """A host's Vivado and Vitis HLS."""

    vivado: Path
    hls: Path
    program: str  # Vitis HLS' command
    mounts: tuple[Path, ...]  # folders that hold both, by every name that may lead to them


def build_bitstream(build_dir: Path, export_dir: Path, out: Path, *, board: "Board", say: Say) -> dict[str, Any]:
    """Build the bitstream of a finished build into the new folder `out`: bit, hwh, reports and bitstream.json.

    Args:
        build_dir: a finished build with RTL.
        export_dir: the export it was made from.
        out: its parent exists; it does not, or is empty. On failure nothing is at `out`, and .NAME.docker beside it
            keeps the log.
        board: the build's board.
        say: told what happens, a line at a time.

    Returns:
        What bitstream.json holds.

    Raises:
        CxrflowError: of the kind that the container met, or ToolError for Docker, Vivado and the container itself.
    """
    build_dir, export_dir, out = build_dir.resolve(), export_dir.resolve(), out.resolve()
    _require_buildable(build_dir, board)
    xilinx = find_xilinx(os.environ)
    image = require_image()
    work = out.with_name(f".{out.name}.docker")
    with _writing(work):
        shutil.rmtree(work, ignore_errors=True)
        (work / "home").mkdir(parents=True)
        command = container_command(image, build_dir, export_dir, work, xilinx, os.environ)
        say(f"{IMAGE}: {xilinx.vivado}; log in {work / 'container.log'}")
        _require_success(_run(command, work / "container.log", say), work)
        content = _take_results(work / "result", out, image)
    shutil.rmtree(work, ignore_errors=True)
    return content


def _require_buildable(build_dir: Path, board: "Board") -> None:
    path = build_dir / "build.json"
    try:
        summary = read_json(path, advice="Run `cxrflow build` first.")
        found, clk_ns = summary["board"], summary["clk_ns"]
    except (KeyError, TypeError) as err:
        raise ArtifactError(f"{path} is missing or damaged ({err}). Run `cxrflow build` first.") from err
    if found != board.name:
        raise ConfigError(
            f"{build_dir} was built for {found}, not for {board.name}. Run `cxrflow build` for that board."
        )
    if clk_ns != CLK_NS:
        raise ConfigError(
            f"the build's clk_ns is {clk_ns:g}, but FINN's shell makes its clock from a PS clock of 100 MHz, and the "
            f"driver sets that PS clock to the accelerator's. Build again with clk_ns: {CLK_NS:g}, or use axi_dma."
        )


def find_xilinx(environment: Mapping[str, str]) -> Xilinx:
    """Find Vivado, from XILINX_VIVADO or PATH, and the Vitis HLS that belongs to it. Raises ToolError."""
    vivado = _vivado(environment)
    version = next((part for part in reversed(vivado.parts) if re.fullmatch(r"20\d\d\.[12](\.\d+)?", part)), None)
    if version is None:
        raise ToolError(
            f"{vivado} has no version such as 2022.2 in its path, which FINN reads there. "
            f"Set XILINX_VIVADO to the folder that holds settings64.sh, and {AGAIN}."
        )
    # ROOT/Vivado/2022.2, from 2025.1 on ROOT/2025.1/Vivado
    root = vivado.parent.parent
    program = "vitis_hls" if version[:6] <= "2024.2" else "vitis-run"
    named = environment.get("XILINX_HLS")
    places = [
        *([Path(named)] if named else []), root / "Vitis_HLS" / version, root / "Vitis" / version,
        root / version / "Vitis",
    ]  # fmt: skip
    for hls in places:
        if (hls / "settings64.sh").is_file() and (hls / "bin" / program).is_file():
            roots = {root} if root != Path("/") else {vivado}
            roots |= {root.resolve() for root in roots} | {vivado.resolve(), hls, hls.resolve()}
            return Xilinx(vivado, hls, program, _outermost(roots))
    raise ToolError(
        f"Vitis HLS {version} is not beside {vivado}: no bin/{program} in {', '.join(map(str, places))}. FINN's DMA "
        "engines need it. Install it or set XILINX_HLS, or use the shell axi_dma, which needs Vivado alone."
    )


def _vivado(environment: Mapping[str, str]) -> Path:
    program = shutil.which("vivado", path=environment.get("PATH", ""))
    named = environment.get("XILINX_VIVADO")
    if not named and program is None:
        raise VendorToolError(
            "Vivado is not found: XILINX_VIVADO is not set and vivado is not on PATH; everything up to it is done. "
            f"Source settings64.sh of your Vivado, and {AGAIN}, here or on a copy of this folder where Vivado is."
        )
    vivado = Path(named) if named else Path(str(program)).resolve().parent.parent
    if (
        not vivado.is_absolute()
        or not (vivado / "settings64.sh").is_file()
        or not (vivado / "bin" / "vivado").is_file()
    ):
        raise ToolError(
            f"{vivado} holds no Vivado: settings64.sh or bin/vivado is missing. "
            f"Set XILINX_VIVADO to the folder that holds them, and {AGAIN}."
        )
    return vivado


def _outermost(folders: set[Path]) -> tuple[Path, ...]:
    """Drop the folders that lie within others."""
    return tuple(sorted(f for f in folders if not any(other in f.parents for other in folders)))


def image_inputs() -> str:
    """Return the hash of what the image is made of, as docker/build.sh computes it."""
    return hashlib.sha256(b"".join((REPOSITORY / name).read_bytes() for name in INPUTS)).hexdigest()


def require_image() -> str:
    """Return the id of an image of just these files, on a Docker that we may use. Raises ToolError."""
    if shutil.which("docker") is None:
        raise VendorToolError(
            "docker is not on PATH, expected Docker Engine; everything up to it is done. "
            "Install it (https://docs.docker.com/engine/install), then run `make docker-build`."
        )
    if os.getuid() == 0:
        raise ToolError(
            "this runs as root, but the container must not. Run the same command as a user in the group docker."
        )
    info = _ask("info", "--format", "{{json .SecurityOptions}}")
    if info.returncode:
        raise _no_engine(info.stderr)
    if "name=rootless" in info.stdout:
        raise ToolError(
            "this Docker is rootless, where the container's user could not write the results. "
            f"Use a system-wide Docker (`docker context use default`), and {AGAIN}."
        )
    template = f'{{{{.Id}}}} {{{{index .Config.Labels "{LABEL}"}}}}'
    inspected = _ask("image", "inspect", "--format", template, IMAGE)
    identity, _, inputs = inspected.stdout.strip().partition(" ")
    if inspected.returncode:
        raise ToolError(f"there is no image {IMAGE} ({_last(inspected.stderr)}). Run `make docker-build`.")
    if inputs != image_inputs():
        raise ToolError(
            f"the image {IMAGE} was built from other files than docker/ holds now. Run `make docker-build`."
        )
    return identity


def _ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"`docker {arguments[0]}` gives no answer in {ANSWER_S:g} s. "
            f"Restart the engine (`sudo systemctl restart docker`), and {AGAIN}."
        ) from None
    except OSError as err:
        raise ToolError(
            f"docker can't be run ({err}). Install Docker Engine again, then run `make docker-build`."
        ) from err


def _no_engine(message: str) -> ToolError:
    if "permission denied" in message.lower():
        return ToolError(
            "Docker refuses this user (permission denied). "
            f"Run `sudo usermod -aG docker $USER`, log in again, and {AGAIN}."
        )
    return ToolError(
        f"Docker's engine does not answer ({_last(message)}). Run `sudo systemctl start docker`, and {AGAIN}."
    )


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1].rstrip(".")


def container_command(
    image: str, build_dir: Path, export_dir: Path, work: Path, xilinx: Xilinx, environment: Mapping[str, str]
) -> list[str]:
    """Return the arguments of `docker run`. Everything is mounted at its own path; only `work` can be written.

    Without a licence to ask for, the container has no network.

    Raises:
        ConfigError: a path that Docker or FINN can't take.
    """
    licenses = {name: environment[name] for name in LICENSES if environment.get(name)}
    files = {Path(part) for value in licenses.values() for part in value.split(":") if part.startswith("/")}
    code = {REPOSITORY / name for name in ("contract", "finn_build", "LICENSE")}  # the last is copied beside the RTL
    read_only = {build_dir, export_dir, *code, *xilinx.mounts, *files}
    for path in sorted({*read_only, work}):
        if re.search(r"[\s,:\"]", str(path)):
            raise ConfigError(
                f"{path} holds a space, comma, colon or quote, which Docker or FINN can't take. Move it elsewhere."
            )
        if not path.exists():
            raise ConfigError(
                f"{path} is not there, though {_origin(path, licenses)} names it. Correct it, and {AGAIN}."
            )
    variables = {
        **licenses,
        "CXRFLOW_VIVADO": str(xilinx.vivado),
        "CXRFLOW_HLS": str(xilinx.hls),
        "CXRFLOW_HLS_PROGRAM": xilinx.program,
        "HOME": str(work / "home"),
        "USER": "cxrflow",  # this user has no name inside
        "PYTHONPATH": str(REPOSITORY),
        "NUM_DEFAULT_WORKERS": "4",
    }
    return [
        "docker", "run", "--rm", "--init", "--pull", "never", "--platform", "linux/amd64",
        "--name", f"cxrflow-{uuid.uuid4().hex[:12]}",
        "--user", f"{os.getuid()}:{os.getgid()}", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--network", "host" if licenses else "none",
        *(f"--mount=type=bind,source={path},target={path},readonly" for path in sorted(_outermost(read_only))),
        f"--mount=type=bind,source={work},target={work}",
        *(f"--env={name}={value}" for name, value in variables.items()),
        "--workdir", str(work),
        image, "python", "-m", "finn_build.flows.finn_iodma.container", str(build_dir), str(export_dir), str(work),
    ]  # fmt: skip


def _origin(path: Path, licenses: Mapping[str, str]) -> str:
    return next((name for name, value in licenses.items() if str(path) in value.split(":")), "this build")


def _run(command: list[str], log: Path, say: Say) -> int:
    """Run the container, passing on what it says; return its exit code. Raises ToolError if it takes too long."""
    deadline, name = time.monotonic() + TIMEOUT_S, command[command.index("--name") + 1]
    with (
        log.open("w", encoding="utf-8") as out,
        log.open(encoding="utf-8", errors="replace") as said,
        child.running(command, last=("docker", "kill", name), stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        try:
            while True:
                ended = process.poll() is not None  # before reading, so that nothing said last is lost
                for line in said:
                    say(line.rstrip())
                if ended:
                    return process.returncode
                if time.monotonic() > deadline:
                    raise ToolError(
                        f"the container did not end in {TIMEOUT_S / 3600:g} h and was stopped. Its log is {log}; "
                        f"if Vivado was still placing or routing, make the design smaller, and {AGAIN}."
                    )
                time.sleep(POLL_S)
        finally:
            if process.poll() is None:  # too long, or Ctrl-C
                with contextlib.suppress(ToolError):
                    _ask("kill", name)  # the container, which outlives its client


def _require_success(code: int, work: Path) -> None:
    """Turn an exit code into the failure that it stands for."""
    log = work / "container.log"
    text = log.read_text(encoding="utf-8", errors="replace")
    if code == 0:
        return
    _raise_what_it_met(work / "failure.json")
    if "no space left on device" in text.lower():
        raise ConfigError(
            f"a disk is full: that of {work} or of Docker (`docker system df`). Free some space, and {AGAIN}."
        )
    if code == 125:
        raise ToolError(f"Docker could not start the container: {_last(text)}. Correct that, and {AGAIN}.")
    if code in (126, 127):
        raise ToolError(f"the image {IMAGE} is damaged: {_last(text)}. Run `make docker-build`.")
    if code == 78:
        raise ToolError(
            f"Vivado's settings do not work in the container: {_last(text)}. Repair its installation, and {AGAIN}."
        )
    if code in (137, 143):
        raise ToolError(
            f"the container was killed (exit code {code}), mostly for want of memory. "
            f"Give Docker 16 GB or close other programs, and {AGAIN}. Its log is {log}."
        )
    tail = " | ".join(text.strip().splitlines()[-TAIL:]) or "nothing"
    raise ToolError(f"the container failed with exit code {code} and said last: {tail}. Please report it with {log}.")


def _raise_what_it_met(path: Path) -> None:
    """Raise the error that the container wrote down, if it did."""
    try:
        failure = read_json(path, advice="")
        kind, message = getattr(errors, failure["kind"]), str(failure["message"])
    except (ArtifactError, KeyError, TypeError, AttributeError):
        return
    if isinstance(kind, type) and issubclass(kind, CxrflowError):
        raise kind(message)


def _take_results(result: Path, out: Path, image: str) -> dict[str, Any]:
    """Check every file against the hashes written inside, add the image, and give the folder its name."""
    path = result / "bitstream.json"
    try:
        content: dict[str, Any] = read_json(path, advice=f"No bitstream was taken over; {AGAIN}.")
        hashes, points = dict(content["sha256"]), list(content["verification"])
    except (ArtifactError, ValueError, KeyError, TypeError) as err:
        raise ToolError(
            f"the container reports success but left no whole {path} ({err}). No bitstream was taken over; {AGAIN}."
        ) from err
    for name in ("accelerator.bit", "accelerator.hwh", *hashes):
        file = result / name
        if not file.is_file() or hash_file(file) != hashes.get(name):
            state = "is not what the container wrote" if file.is_file() else "is missing"
            raise ToolError(
                f"{file} {state}, though the container reports success. No bitstream was taken over; {AGAIN}."
            )
    if not points or any(point.get("differing") != 0 or not point.get("images") for point in points):
        raise ToolError(f"{path} shows no passed verification. No bitstream was taken over; run `make docker-build`.")
    content["image"] = image
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if out.exists():
        out.rmdir()  # empty, or it is an error
    result.rename(out)
    return content


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn a full disk or a place that is not ours into one sentence."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ConfigError(f"the disk that holds {folder} is full. Free some space, and {AGAIN}.") from err
        if err.errno == errno.ENOTEMPTY:
            raise ConfigError(f"{err.filename} is there already. Remove it, and {AGAIN}.") from err
        if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ConfigError(
                f"{err.filename or folder} can't be written ({err.strerror}). Make it yours, and {AGAIN}."
            ) from err
        raise
