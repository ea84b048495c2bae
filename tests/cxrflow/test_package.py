"""The deploy folder, as somebody who has nothing but it."""

import csv
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finn_build.licences import FINN, NOTICE
from tests.cxrflow.conftest import REPOSITORY, Place
from tests.licences import require_licences
from tests.notebooks import execute
from tests.served import File, Served, png

OLDEST = REPOSITORY / ".venv-oldest"  # the oldest numpy and Pillow that the driver supports, and nothing else
PYNQ = REPOSITORY / ".venv-pynq"  # the real pynq


def python_of(environment: Path) -> str:
    if not (environment / "installed").exists():
        pytest.skip(f"{environment.name} is not installed: make {environment.name}/installed")
    return str(environment / "bin" / "python")


@pytest.fixture(scope="module")
def unpacked(_verified: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a verified run, unpacked where nothing of cxrflow is."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with tarfile.open(_verified.run / "deploy" / "pynq-z2.tar.gz") as archive:
        archive.extractall(elsewhere, filter="data")
    return elsewhere / "pynq-z2"


def call(python: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.slow
class TestElsewhere:
    def test_every_device_gives_the_golden_integers_with_the_oldest_numpy(self, unpacked: Path) -> None:
        python = python_of(OLDEST)
        listed = call(python, unpacked, "-m", "pip", "list", "--format=freeze").stdout
        assert "numpy" in listed and "pydantic" not in listed and "torch" not in listed
        for device in ("cpu", "sim", "auto"):
            done = call(python, unpacked, "-m", "driver", "verify", "--device", device)
            assert done.returncode == 0, done.stderr
            assert done.stdout == f"{'cpu' if device == 'auto' else device}: all 16 golden logits are equal\n"

    def test_files_in_and_csv_out(self, unpacked: Path, finished: Any) -> None:
        images = [str(p) for p in sorted((finished.folder / "xrays" / "test").rglob("*.png"))]
        done = call(python_of(OLDEST), unpacked, "-m", "driver", "infer", "--device", "sim", "--csv", "a.csv", *images)
        assert done.returncode == 0, done.stderr
        with (unpacked / "a.csv").open() as stream:
            logits = [int(row["logit"]) for row in csv.DictReader(stream)]
        golden = np.load(unpacked / "golden.npz")["outputs"][:, 0]
        assert sorted(logits) == sorted(golden.tolist())

    def test_maps_are_the_same_integers_on_both_devices(self, unpacked: Path, finished: Any) -> None:
        image = str(next((finished.folder / "xrays" / "test").rglob("*.png")))
        arrays = []
        for device in ("cpu", "sim"):
            done = call(python_of(OLDEST), unpacked, "-m", "driver", "explain", "--device", device, image)
            assert done.returncode == 0, done.stderr
            arrays.append(np.load(next((unpacked / "explained").glob("*.npz"))))
        assert arrays[0]["differences"].any()
        for name in arrays[0].files:
            np.testing.assert_array_equal(arrays[0][name], arrays[1][name])

    def test_bench_is_json(self, unpacked: Path) -> None:
        done = call(python_of(OLDEST), unpacked, "-m", "driver", "bench", "--device", "sim", "--seconds", "0.05")
        figures = json.loads(done.stdout)
        assert figures["device"] == "sim" and figures["golden_images_verified"] == 16
        assert figures["batches"][-1]["packing_share"] < 0.02

    def test_the_notebook_in_jupyter_shows_the_rtls_answers(
        self, unpacked: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)  # the folder's own modules
        text, pictures = execute(unpacked / "board.ipynb", unpacked, device="sim")
        assert pictures == 1
        assert "('sim', '64-8-1 W4A4')" in text and "PNEUMONIA: logit" in text and "golden_images_verified" in text

    def test_the_notebooks_code_runs_with_the_oldest_numpy(self, unpacked: Path) -> None:
        cells = json.loads((unpacked / "board.ipynb").read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        for device in ("auto", "sim"):
            script = "\n".join(code).replace("device='auto'", f"device={device!r}").replace('"auto"', f'"{device}"')
            done = call(python_of(OLDEST), unpacked, "-c", script)
            assert done.returncode == 0, done.stderr

    def test_the_board_script_wants_pynq(self, unpacked: Path) -> None:
        done = subprocess.run(
            ["sh", "run_on_board.sh"],
            cwd=unpacked,
            env={"PATH": f"{OLDEST / 'bin'}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2 and "run this on a PYNQ image" in done.stderr
        assert not (unpacked / "results.json").exists()

    def test_nothing_is_missing_and_nothing_points_back(self, unpacked: Path) -> None:
        names = {p.name for p in unpacked.iterdir() if p.name not in ("a.csv", "explained", "__pycache__")}
        assert names == {
            "accelerator.json", "board.ipynb", "c", "contract", "cxrflow", "cxrflow_accel.h", "datasets", "driver",
            "golden.npz", "likeness.npz", "LICENSE", FINN, NOTICE, "README.md", "reference.npz", "run_on_board.sh",
            "sim",
        }  # fmt: skip
        require_licences(unpacked)
        manifest = json.loads((unpacked / "accelerator.json").read_text(encoding="utf-8"))
        assert manifest["provenance"]["activations"] == ["requantize", "none"]
        for path in unpacked.rglob("*"):
            if path.is_file() and path.suffix in (".py", ".sh", ".md", ".json", ".h", ".ipynb", ".dat"):
                assert str(REPOSITORY) not in path.read_text(encoding="utf-8"), path

    def test_its_own_server_answers(self, unpacked: Path) -> None:
        command = [sys.executable, "-m", "cxrflow.serve", "--port", "0"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        with subprocess.Popen(command, cwd=unpacked, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                server = Served(int(process.stdout.readline().split(":")[2].strip("/\n")))
                golden = np.load(unpacked / "golden.npz")
                file = File(png(golden["pixels"][0]))
                for device in ("cpu", "sim"):
                    answer = server.post(f"/api/explain?device={device}", file).json()
                    assert answer["result"]["logit"] == golden["outputs"][:, 0][0] and answer["device"] == device
            finally:
                process.terminate()
        assert call(sys.executable, unpacked, "-m", "cxrflow.serve", "--host", "0.0.0.0").returncode == 2

    def test_the_c_header_compiles_and_agrees(self, unpacked: Path, tmp_path: Path) -> None:
        manifest = json.loads((unpacked / "accelerator.json").read_text())
        (tmp_path / "main.c").write_text(
            '#include <stdio.h>\n#include "cxrflow_accel.h"\n'
            'int main(void) { printf("%u %u %d %d %d\\n", CXRFLOW_IN_BYTES, CXRFLOW_CYCLES_PER_IMAGE,'
            " CXRFLOW_THRESHOLD, cxrflow_class(CXRFLOW_THRESHOLD), cxrflow_class(CXRFLOW_THRESHOLD + 1)); return 0; }\n"
        )
        flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{unpacked}"]
        subprocess.run(["gcc", *flags, "main.c", "-o", "main"], cwd=tmp_path, check=True)
        printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.split()
        hardware, threshold = manifest["hardware"], manifest["decision"]["threshold"]
        assert printed == [
            str(v) for v in (hardware["input"]["packed_bytes"], hardware["cycles_per_image"], threshold, 0, 1)
        ]

    def test_real_pynq_drives_the_rtl(self, unpacked: Path) -> None:
        """The whole golden set through pynq's own DMA driver or registers, into the Verilated design."""
        arguments = ["-W", "ignore", "-m", "driver.with_pynq", ".", "--capacity", "5"]
        done = call(python_of(PYNQ), unpacked, *arguments)
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line.endswith("all 16 golden logits are equal")]
        assert [line.split(", ")[1] for line in lines] == ["axi_dma", "finn_iodma"]


def test_the_archive_is_written_again_when_it_is_lost(finished: Any) -> None:
    archive = finished.run / "deploy" / "pynq-z2.tar.gz"
    archive.unlink()
    assert finished("package", "tiny.yaml").code == 0
    assert archive.is_file()
