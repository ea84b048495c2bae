"""`make board-check`: what test_on_arm.py leaves out because it takes minutes. Not collected by `make test`."""

import hashlib
import io
import json
import re
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from cxrflow.package import copy_code
from driver.simulated.stand_in import StandIn
from tests.board.emulated import (
    ARMHF,
    PROCESSORS,
    PYTEST,
    ROOT,
    Board,
    MissingError,
    Processor,
    finish,
    open_board,
    verdict,
)
from tests.board.mutants import TEST, Place, places, unused_excuses, write_mutant
from tests.board.pictures import write_every_format
from tests.cxrflow.conftest import Place as Run
from tests.cxrflow.conftest import _finished, _verified  # noqa: F401 # fixtures
from tests.deploy_folder import write_deploy
from tests.dicom_files import BIG, EXPLICIT, IMPLICIT, content, encapsulated, make, run_lengths
from tests.driver.simulated_scenarios import outcomes
from tests.served import File, Served, png, serving

HERE = Path(__file__).parent
SUITES = (
    "-p",
    "tests.board.without",
    "tests/contract",
    "tests/driver",
    "--ignore=tests/contract/test_images_fuzz.py",  # its files are made with what has no build for them: see without.py
    "--ignore=tests/contract/test_onnx_file.py",  # no board reads a network's file
    "--deselect=tests/driver/test_explain.py::test_the_command_explains_and_names_what_it_cannot",  # cxrflow's command
    "--deselect=tests/driver/test_sharing.py::TestSimulatorsThatDie",  # in half a second of a processor that is none
)
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
LUTS = ("ModalityLUTSequence", "VOILUTSequence")
MEMORY = (512 - 128) << 20  # of a PYNQ-Z2, without what is kept for the DMA [byte]


@pytest.fixture(scope="module", params=PROCESSORS, ids=lambda processor: processor.debian)
def board(request: pytest.FixtureRequest) -> Board:
    return opened(request.param)


def opened(processor: Processor) -> Board:
    try:
        return open_board(processor)
    except MissingError as missing:
        pytest.fail(f"a {processor.board}'s processor cannot be emulated: {missing}", pytrace=False)


@pytest.fixture(scope="module")
def deploy(_verified: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The deploy folder of a verified run, unpacked where nothing of cxrflow is."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with tarfile.open(_verified.run / "deploy" / "pynq-z2.tar.gz") as archive:
        archive.extractall(elsewhere, filter="data")
    write_every_format(elsewhere / "images")
    return elsewhere / "pynq-z2"


def test_what_is_emulated(board: Board, tmp_path: Path) -> None:
    script = (
        "import json, platform, struct, numpy, PIL; print(json.dumps([platform.machine(), 8 * struct.calcsize('P'),"
        " numpy.array(1).dtype.name, platform.python_version(), numpy.__version__, PIL.__version__]))"
    )
    done = board.run("-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    machine, bits, integer, *versions = json.loads(done.stdout)
    expected = {"armhf": ("armv7l", 32, "int32"), "arm64": ("aarch64", 64, "int64")}
    assert (machine, bits, integer) == expected[board.processor.debian]
    size = sum(path.lstat().st_size for path in board.folder.rglob("*")) // 10**6
    said = "\n{} ({}): Python {}, numpy {}, Pillow {}; {} MB in {}"
    print(said.format(board.processor.debian, machine, *versions, size, board.folder))


def test_the_drivers_and_the_contracts_own_tests(board: Board) -> None:
    done = board.run(*PYTEST, *SUITES, cwd=ROOT, groups=("tests",), timeout_s=3000)
    assert done.returncode == 0, done.stdout[-8000:]
    print(verdict(done.stdout))


@pytest.mark.parametrize("place", places(), ids=str)
def test_every_int64_is_needed(place: Place, tmp_path: Path) -> None:
    """On 32 bits, a test fails where one `np.int64` becomes numpy's default integer, or nothing."""
    write_mutant(place, tmp_path)
    done = opened(ARMHF).run(*PYTEST, "-x", TEST, cwd=tmp_path, groups=("tests",))
    assert done.returncode == 1, f"{place} may be taken back unnoticed: {place.text}\n{done.stdout}"


def test_every_excuse_is_needed() -> None:
    assert not unused_excuses()


class TestADeployFolder:
    def test_every_device_gives_the_golden_integers(self, board: Board, deploy: Path) -> None:
        """`sim` is the RTL in Verilator, compiled for this machine: the logic is simulated, the processor emulated."""
        for device in ("cpu", "sim", "auto"):
            done = board.run("-m", "driver", "verify", "--device", device, cwd=deploy)
            name = "cpu" if device == "auto" else device
            assert (done.returncode, done.stdout) == (0, f"{name}: all 16 golden logits are equal\n"), done.stderr

    def test_images_of_every_format(self, board: Board, deploy: Path, tmp_path: Path) -> None:
        said = []
        for device in ("cpu", "sim"):
            table = tmp_path / f"{device}.csv"
            done = board.run(
                "-m", "driver", "infer", "--device", device, "--csv", table, deploy.parent / "images", cwd=deploy
            )
            assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
            said.append((done.stdout, done.stderr, table.read_text()))
        assert said[0] == said[1]
        assert all(line.startswith("error: ") and line.endswith(".") for line in said[0][1].splitlines())
        assert "cut-gray.png" in said[0][1] and "gray.tif" in said[0][0] and "twelve.tif" in said[0][0]

    def test_maps(self, board: Board, deploy: Path, tmp_path: Path) -> None:
        image = deploy.parent / "images" / "gray.png"
        arrays = []
        for device in ("cpu", "sim"):
            done = board.run(
                "-m", "driver", "explain", "--device", device, "--out", tmp_path / device, image, cwd=deploy
            )
            assert done.returncode == 0, done.stderr
            arrays.append(dict(np.load(tmp_path / device / "gray.png.npz")))
            assert (tmp_path / device / "gray.png.png").read_bytes().startswith(b"\x89PNG")
        assert arrays[0]["differences"].any()
        for name, values in arrays[0].items():
            assert values.dtype == np.int64 == arrays[1][name].dtype
            np.testing.assert_array_equal(values, arrays[1][name])

    def test_bench(self, board: Board, deploy: Path) -> None:
        done = board.run("-m", "driver", "bench", "--device", "sim", "--seconds", "0.05", cwd=deploy)
        figures = json.loads(done.stdout)
        assert figures["device"] == "sim" and figures["golden_images_verified"] == 16

    @pytest.mark.parametrize(
        ("file", "content"),
        [
            ("accelerator.json", b"{"),
            ("accelerator.json", None),
            ("golden.npz", b"PK\3\4 and no more"),
            ("reference.npz", b""),
            ("sim/harness", b"\x7fELF"),
        ],
        ids=str,
    )
    def test_a_damaged_file(self, board: Board, deploy: Path, tmp_path: Path, file: str, content: bytes | None) -> None:
        damaged = tmp_path / "deploy"
        shutil.copytree(deploy, damaged)
        if content is None:
            (damaged / file).unlink()
        else:
            (damaged / file).write_bytes(content)
        for command in (("verify",), ("infer", "--device", "sim", str(deploy.parent / "images" / "gray.png"))):
            done = board.run("-m", "driver", *command, cwd=damaged)
            assert done.returncode == 2 and not done.stdout, done.stdout
            assert re.fullmatch(r"error: \S.*\.\n", done.stderr) and file.split("/")[-1] in done.stderr, done.stderr

    def test_the_simulators_end_is_one_sentence(self, board: Board, deploy: Path, tmp_path: Path) -> None:
        """As on a real board, whose processor cannot start a simulator for x86-64."""
        damaged = tmp_path / "deploy"
        shutil.copytree(deploy, damaged)
        manifest = json.loads((damaged / "accelerator.json").read_text())
        (damaged / "sim" / "harness").write_bytes(b"\x7fELF of another machine")
        manifest["sha256"]["sim/harness"] = hashlib.sha256((damaged / "sim" / "harness").read_bytes()).hexdigest()
        (damaged / "accelerator.json").write_text(json.dumps(manifest))
        done = board.run("-m", "driver", "verify", "--device", "sim", cwd=damaged)
        assert done.returncode == 2 and "does not start" in done.stderr and "Traceback" not in done.stderr
        done = board.run("-m", "driver", "verify", cwd=damaged)
        assert (done.returncode, done.stdout) == (0, "cpu: all 16 golden logits are equal\n")


@contextmanager
def page(board: Board, folder: Path, environment: dict[str, str] | None = None) -> Iterator[tuple[Served, int]]:
    """The page of a deploy folder, served from the board; and its process."""
    command = [str(board.python), "-m", "cxrflow.serve", "--port", "0"]
    environment = environment or board.environment(folder, "page")
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Served(int(process.stdout.readline().split(":")[2].strip("/\n"))), process.pid
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def untimed(value: Any) -> Any:
    """An answer without what depends on the time and on a JPEG encoder."""
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if not k.endswith(("_ms", "preview", "overlay", "probability"))}
    return [untimed(v) for v in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of the real pynq's environment is Python alone."""
    if not (ROOT / ".venv-pynq" / "installed").exists():
        pytest.fail("pynq is not installed: make .venv-pynq/installed", pytrace=False)
    out = tmp_path_factory.mktemp("pure")
    packages = next((ROOT / ".venv-pynq" / "lib").glob("python3*")) / "site-packages"
    for entry in packages.iterdir():
        if entry.name not in ("tests", "cffi", "psutil") and not any(packages.rglob(f"{entry.name}/**/*.so*")):
            (out / entry.name).symlink_to(entry)
    return out


@pytest.fixture(scope="module", params=PROCESSORS, ids=lambda processor: processor.debian)
def pynq_board(request: pytest.FixtureRequest) -> Board:
    return opened(replace(request.param, pynq=True))


class TestTheRealPynq:
    """pynq 4.0.0 with what it needs, compiled for the processor, on the simulated board."""

    def test_it_does_what_the_stand_in_does(self, pynq_board: Board, pure: Path) -> None:
        done = pynq_board.run(
            "-W", "ignore", ROOT / "tests" / "driver" / "simulated_scenarios.py",
            cwd=ROOT, groups=("pynq", str(pure)),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        real = json.loads(done.stdout.splitlines()[-1])["outcomes"]
        assert real == json.loads(json.dumps(outcomes(StandIn)))

    def test_it_drives_the_rtl_with_both_shells(self, pynq_board: Board, pure: Path, deploy: Path) -> None:
        done = pynq_board.run(
            "-W", "ignore", "-m", "driver.with_pynq", ".", "--capacity", "5",
            cwd=deploy, groups=("pynq", str(pure)),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line.endswith("all 16 golden logits are equal")]
        assert [line.split(", ")[1] for line in lines] == ["axi_dma", "finn_iodma"]


def dicoms() -> list[bytes]:
    """DICOM files, by each of the ways from stored values to gray, in every encoding that needs no codec."""
    rng = np.random.default_rng(5)
    unsigned = rng.integers(0, 4096, (40, 50)).astype(np.uint16)
    signed = (unsigned.astype(np.int32) - 2048).astype(np.int16)
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [3000, 500, 16])
    lut.add_new("LUTData", "OW", (np.arange(3000, dtype="<u2")[::-1] * 21).tobytes())
    window = {"WindowCenter": "1999999999.75", "WindowWidth": "900000000.5"}  # beyond 32 bits on the way
    far = {"RescaleSlope": "1000000.125", "RescaleIntercept": "-123456789.25", **window}
    made = [
        make(pixels, bits=12, syntax=syntax) for pixels in (unsigned, signed) for syntax in (IMPLICIT, EXPLICIT, BIG)
    ]
    made += [make(pixels, bits=12, VOILUTFunction=kind, **far) for pixels in (unsigned, signed) for kind in FUNCTIONS]
    made += [make(unsigned, bits=12, PhotometricInterpretation="MONOCHROME1") for _ in LUTS]
    for one, tag in zip(made[-len(LUTS) :], LUTS, strict=True):
        setattr(one, tag, [lut])
    made += [
        encapsulated(make(unsigned, bits=12, **far), f"{IMPLICIT}.5", run_lengths(unsigned)),
        encapsulated(
            make((unsigned >> 4).astype(np.uint8), bits=8),
            f"{IMPLICIT}.4.50",
            png((unsigned >> 4).astype(np.uint8), "JPEG"),
        ),
    ]
    return [content(one) for one in made]


class TestThePage:
    def test_uploads(self, board: Board, deploy: Path) -> None:
        golden = np.load(deploy / "golden.npz")
        images = deploy.parent / "images"
        with page(board, deploy) as (server, _):
            # The simulator is compiled for x86-64: a board's page does not offer it.
            assert server.ask("GET", "/api/runs").json()["runs"][0]["devices"] == ["cpu"]
            upload = File(png(golden["pixels"][0]))
            server.post("/api/explain?device=sim", upload).assert_refused(404, "unknown-device")
            answer = server.post("/api/explain", upload).json()
            assert answer["result"]["logit"] == golden["outputs"][:, 0][0] and answer["device"] == "cpu"
            assert answer["overlay"].startswith("data:image/png")
            several = [File(png(pixels)) for pixels in golden["pixels"][:8]]
            answers = server.post("/api/predict", *several).json()["results"]
            assert [answer["logit"] for answer in answers] == golden["outputs"][:, 0][:8].tolist()
            files = [File((images / name).read_bytes()) for name in ("gray.jpg", "colour.jpg", "sixteen.png")]
            assert all("logit" in answer for answer in server.post("/api/predict", *files).json()["results"])
            for name, status in (("cut-gray.png", 422), ("text.jpg", 415), ("empty.png", 400), ("gray.tif", 415)):
                reply = server.post("/api/predict", File((images / name).read_bytes()))
                assert reply.status == status, reply.content
            assert server.ask("GET", "/").status == 200

    def test_it_answers_as_it_does_here(self, board: Board, deploy: Path) -> None:
        images = deploy.parent / "images"
        uploads = [File(content) for content in (*(p.read_bytes() for p in sorted(images.iterdir())), *dicoms())]
        with page(board, deploy) as (there, _), serving(deploy, devices=("cpu",)) as here:
            for upload in uploads:
                replies = [server.post("/api/explain?device=cpu", upload) for server in (there, here)]
                assert replies[0].status == replies[1].status
                if replies[0].status == 200:
                    assert untimed(replies[0].json()) == untimed(replies[1].json())
                else:
                    assert replies[0].json()["code"] == replies[1].json()["code"]


def limited(board: Board, folder: Path, *groups: str) -> dict[str, str]:
    """An environment in which Python, and each Python that it starts, has MEMORY of address space and no more.

    It is `ulimit -v`, which qemu cannot do for a 32-bit processor: see limited/sitecustomize.py. For a 64-bit one
    qemu has an option.
    """
    kind = {"MEBIBYTES": str(MEMORY >> 20)} if board.processor is ARMHF else {"QEMU_RESERVED_VA": str(MEMORY)}
    return board.environment(folder, *groups, str(HERE / "limited"), **kind)


class TestMemory:
    """A PYNQ-Z2's. Resident memory is measured too, at its peak, the emulator and its translated code included."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A deploy folder, and beside it X-rays, and one that is too large for such a board."""
        out = tmp_path_factory.mktemp("memory")
        write_deploy(out / "deploy")
        copy_code(out / "deploy")
        for name, kind in (("xray.jpg", "JPEG"), ("xray.png", "PNG"), ("xray.tif", "TIFF")):
            (out / name).write_bytes(png(an_xray(), kind))
        (out / "large.jpg").write_bytes(large_jpeg())
        return out / "deploy"

    def test_the_limit_is_one(self, board: Board, folder: Path) -> None:
        script = "bytes({0}); print({0})"
        for mebi, code in ((MEMORY >> 21, 0), (MEMORY >> 20, 1)):
            command = [str(board.python), "-c", script.format(mebi << 20)]
            done = finish(command, cwd=folder, env=limited(board, folder), timeout_s=100)
            assert done.returncode == code and ("MemoryError" in done.stderr) == bool(code), done.stderr

    def test_infer(self, board: Board, folder: Path) -> None:
        script = (
            "import sys; from driver.__main__ import main; code = main(sys.argv[1:]);"
            " print(open('/proc/self/status').read()); sys.exit(code)"
        )
        images = sorted(folder.parent.glob("xray.*"))
        command = [str(board.python), "-c", script, "infer", *map(str, [*images * 3, images[0].with_name("large.jpg")])]
        done = finish(command, cwd=folder, env=limited(board, folder), timeout_s=300)
        said = [line for line in done.stderr.splitlines() if line]
        assert done.returncode == 1 and done.stdout.count("  logit ") == 9, done.stderr
        assert said == ["error: large.jpg: takes more memory to decode than this machine has left; shrink the image."]
        require_peak(board, "infer", peak_kib(done.stdout))

    def test_page(self, board: Board, folder: Path) -> None:
        with page(board, folder, limited(board, folder, "page")) as (server, process):
            for _ in range(3):
                reply = server.post("/api/predict", *[File(png(an_xray(), kind)) for kind in ("JPEG", "PNG")])
                assert all("logit" in answer for answer in reply.json()["results"]), reply.content
            children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
            peak = sum(peak_kib(Path(f"/proc/{pid}/status").read_text()) for pid in (process, *children))
            require_peak(board, "the page and its decoder", peak)
            server.post("/api/predict", File((folder.parent / "large.jpg").read_bytes())).assert_refused(
                413, "too-many-pixels"
            )
            assert "logit" in server.post("/api/predict", File(png(an_xray()))).json()["results"][0]


def an_xray() -> NDArray[np.uint8]:
    """Five megapixels."""
    return np.random.default_rng(0).integers(0, 256, (2000, 2500), dtype=np.uint8)


def large_jpeg() -> bytes:
    """36 megapixels in colour and of several scans, of which decoders keep ten bytes a pixel."""
    stream = io.BytesIO()
    Image.new("RGB", (6000, 6000), (90, 90, 90)).save(stream, "JPEG", progressive=True, subsampling=0)
    return stream.getvalue()


def peak_kib(status: str) -> int:
    """The most memory that a process had, by its /proc/self/status [KiB]."""
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None, status
    return int(found[1])


def require_peak(board: Board, what: str, kib: int) -> None:
    print(f"\n{board.processor.debian}: {what} had {kib >> 10} MiB at most, the emulator included")
    assert kib << 10 < MEMORY
