"""The image `cxrflow-finn` of docker/: what it is made of, and whether Docker has it as it is now."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from contract.errors import ToolError, VendorToolError
from finn_build.flows.finn_iodma import AGAIN

REPOSITORY = Path(__file__).resolve().parents[3]
IMAGE = "cxrflow-finn"
LABEL = "cxrflow.inputs"
INPUTS = (  # what the image is made of; docker/build.sh writes their hash into the label
    "docker/Dockerfile", "docker/dependencies.txt", "docker/fetch.sh", "docker/packages.txt", "docker/entrypoint.sh",
    "requirements.lock",
)  # fmt: skip
ANSWER_S = 60.0  # for a question to Docker


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
    info = ask("info", "--format", "{{json .SecurityOptions}}")
    if info.returncode:
        raise _no_engine(info.stderr)
    if "name=rootless" in info.stdout:
        raise ToolError(
            "this Docker is rootless, where the container's user could not write the results. "
            f"Use a system-wide Docker (`docker context use default`), and {AGAIN}."
        )
    template = f'{{{{.Id}}}} {{{{index .Config.Labels "{LABEL}"}}}}'
    inspected = ask("image", "inspect", "--format", template, IMAGE)
    identity, _, inputs = inspected.stdout.strip().partition(" ")
    if inspected.returncode:
        raise ToolError(f"there is no image {IMAGE} ({last_line(inspected.stderr)}). Run `make docker-build`.")
    if inputs != image_inputs():
        raise ToolError(
            f"the image {IMAGE} was built from other files than docker/ holds now. Run `make docker-build`."
        )
    return identity


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what Docker answers to one question. Raises ToolError: it gives no answer, or can't be run."""
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
        f"Docker's engine does not answer ({last_line(message)}). Run `sudo systemctl start docker`, and {AGAIN}."
    )


def last_line(text: str) -> str:
    """Return the last line of what a program said, for the middle of a sentence."""
    return (text.strip().splitlines() or ["no message"])[-1].rstrip(".")
