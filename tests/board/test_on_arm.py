"""A deploy folder on a board's processor, emulated: the same integers as here, to the last bit.

armhf is a PYNQ-Z2's processor, where numpy's default integer has 32 bits; arm64 is a ZCU104's. `make board-check` does
more of it, and takes minutes: see everything.py. Emulated times say nothing about a board's.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.decision import Decision
from contract.manifest import Hardware, Manifest, load_manifest
from cxrflow.c_header import c_header
from cxrflow.package import copy_code
from tests.board.emulated import ARMHF, PROCESSORS, ROOT, Board, MissingError, Processor, finish, open_board
from tests.board.pictures import write_every_format
from tests.deploy_folder import write_deploy

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=PROCESSORS, ids=lambda processor: processor.debian)
def board(request: pytest.FixtureRequest) -> Board:
    return opened(request.param)


def opened(processor: Processor) -> Board:
    try:
        return open_board(processor)
    except MissingError as missing:
        pytest.skip(f"a {processor.board}'s processor is not emulated: {missing}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deploy folder where nothing of cxrflow is, and beside it images of every format."""
    out = tmp_path_factory.mktemp("elsewhere")
    write_deploy(out / "deploy")
    copy_code(out / "deploy")
    write_every_format(out / "images")
    return out / "deploy"


@pytest.fixture(scope="module")
def here(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the folder answers on this machine, with this environment's numpy and Pillow."""
    out = tmp_path_factory.mktemp("here")
    done = finish(
        [sys.executable, str(HERE / "inside.py"), str(folder.parent / "images"), str(out)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)},
        timeout_s=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_every_answer_is_the_same(board: Board, folder: Path, here: dict[str, Any], tmp_path: Path) -> None:
    done = board.run(HERE / "inside.py", folder.parent / "images", tmp_path, cwd=folder)
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    assert there["integer"] == ("int32" if board.processor is ARMHF else "int64")
    assert there["seen"].keys() == here["seen"].keys()
    for name, seen in there["seen"].items():
        assert seen == here["seen"][name], name
    assert len(seen_images := there["seen"]["gray"]) > 30 and "refused" in seen_images.values()


def test_its_own_command(board: Board, folder: Path) -> None:
    done = board.run("-m", "driver", "verify", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "cpu: all 30 golden logits are equal\n", "")


def test_no_default_integer_where_64_bits_are_needed() -> None:
    done = opened(ARMHF).run(
        "-m", "pytest", "--noconftest", "-p", "no:cacheprovider", "tests/driver/test_wide_integers.py",
        cwd=ROOT, groups=("tests",),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.fixture(params=[1, 2, 3, 4], ids=lambda count: f"{count} bytes")
def manifest(request: pytest.FixtureRequest, folder: Path) -> Manifest:
    """Of an accelerator whose results have so many bytes."""
    found = load_manifest(folder / "accelerator.json")
    assert isinstance(found.hardware, Hardware)
    output = replace(found.hardware.output, packed_bytes=request.param, width_bits=8 * request.param)
    return replace(found, hardware=replace(found.hardware, output=output))


def test_the_c_header_packs_and_unpacks_as_the_driver_does(board: Board, manifest: Manifest, tmp_path: Path) -> None:
    compiler = board.processor.compiler
    look = [compiler, "-E", "-x", "c", "-include", "stdio.h", os.devnull]
    if shutil.which(compiler) is None or subprocess.run(look, stdout=subprocess.DEVNULL).returncode:
        pytest.skip(f"no {compiler} with its C library: install Debian's {' and '.join(board.processor.toolchain)}")
    (tmp_path / "cxrflow_accel.h").write_text(c_header(manifest))
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic", "-O2", "-static", f"-I{tmp_path}"]
    subprocess.run([compiler, *flags, HERE / "pack.c", "-o", tmp_path / "pack"], check=True)
    example = ROOT / "cxrflow" / "deploy" / "c" / "infer.c"  # runs in tests/driver, on the simulated device
    subprocess.run([compiler, *flags, example, "-o", tmp_path / "infer"], check=True)
    assert manifest.hardware is not None and isinstance(manifest.decision, Decision)
    size = manifest.hardware.output.packed_bytes
    top = 1 << (8 * size - 1)
    pixels = np.random.default_rng(3).integers(0, 256, (28, 28), dtype=np.uint8)
    for logit in {0, 1, -1, top - 1, -top, -top + 1, manifest.decision.threshold % top, 99, -101}:
        bytes_in = [*pixels.ravel().tolist(), *logit.to_bytes(size, "little", signed=True)]
        done = subprocess.run(
            board.command(tmp_path / "pack"), input="\n".join(map(str, bytes_in)), capture_output=True, text=True
        )
        *packed, read, chosen = map(int, done.stdout.split())
        assert bytes(packed) == pixels.tobytes()
        assert (read, chosen) == (logit, int(logit > manifest.decision.threshold))
