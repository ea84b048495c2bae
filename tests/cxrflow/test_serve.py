"""The server: its answers, what it refuses, what it never does, and how many it can serve at once."""

import contextlib
import http.client
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from contract.decision import Choice, Head
from contract.errors import ConfigError
from contract.manifest import load_manifest
from contract.network import Input, IntegerNetwork
from contract.preprocess import load_pixels
from contract.quantizer import InputRule
from cxrflow.serve.decode import READY, Job, write_message
from cxrflow.serve.decoders import CODE
from cxrflow.serve.devices import Fleet
from cxrflow.serve.guard import Crowd, Patient
from cxrflow.serve.limits import Budget, Limits, Refusal
from driver.accelerator import Accelerator
from driver.explain import explain
from tests import dicom_files
from tests.cxrflow.conftest import Place
from tests.deploy_folder import write_classes, write_deploy, write_integers, write_likeness
from tests.served import BOUNDARY, File, Served, form, noise, png, serving
from tests.value_files import npz, table

HOSTILE = (sys.executable, "-m", "tests.hostile_decoder")
SMALL = Limits(file_bytes=100_000, request_bytes=200_000, files=3, pixels=1_000_000)
AUDIT: list[str] = []  # files opened for writing while it is watched
WATCH = threading.Event()


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and WATCH.is_set():
        path, mode, flags = args
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or (isinstance(mode, str) and set(mode) & set("wax+")):
            AUDIT.append(str(path))


sys.addaudithook(_audit)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "first"


@pytest.fixture(scope="module")
def network(folder: Path) -> IntegerNetwork:
    return write_deploy(folder)


@pytest.fixture(scope="module")
def server(folder: Path, network: IntegerNetwork) -> Iterator[Served]:
    """Bounds that tests can reach."""
    with serving(folder, limits=SMALL) as served:
        yield served


@pytest.fixture(scope="module")
def impatient(folder: Path, network: IntegerNetwork) -> Iterator[Served]:
    """One that waits for nobody."""
    with serving(folder, limits=replace(SMALL, idle_s=1, upload_s=2, header_s=2)) as served:
        yield served


def dicom_file(pixels: Any = None, **tags: Any) -> bytes:
    return dicom_files.content(dicom_files.make(noise() if pixels is None else pixels, bits=8, **tags))


def without_pixels() -> bytes:
    header = dicom_files.make(noise(), bits=8)
    del header.PixelData
    return dicom_files.content(header)


def zipped() -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("xray.dcm", dicom_file())
    return stream.getvalue()


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    stream = BytesIO()
    Image.fromarray(noise(200) & 1).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * count + whole[-2:]


def wrapped(jpeg: bytes) -> bytes:
    """A DICOM file of a JPEG image of 200 x 200 pixels."""
    header = dicom_files.make(noise(200), bits=8)
    return dicom_files.content(dicom_files.encapsulated(header, "1.2.840.10008.1.2.4.50", jpeg))


def bomb(width: int, height: int) -> bytes:
    """A small PNG file of a huge black image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width)) for _ in range(min(height, 1000))) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class TestAnswers:
    def test_every_format_gives_the_integers_of_the_network(self, server: Served, network: IntegerNetwork) -> None:
        gray = noise(56)
        files = [File(png(gray)), File(png(gray, "JPEG"), "a.jpg", "image/jpeg"), File(dicom_file(gray), "a.dcm")]
        pixels = [load_pixels(file.content, height=28, width=28) for file in files[:2]]
        pixels.append(pixels[0])  # the DICOM file has no window: its values are the gray
        want = network.outputs(np.stack(pixels))[-1][:, 0]
        answer = server.post("/api/predict", *files).json()
        assert [row["logit"] for row in answer["results"]] == want.tolist() and len(set(want)) == 2
        assert answer["operating_point"] == {"name": "balanced", "threshold": 128, "probability": 0.5}
        for row in answer["results"]:
            assert row["class_name"] == ("PNEUMONIA" if row["logit"] > 128 else "NORMAL")
            assert np.log(row["probability"] / (1 - row["probability"])) == pytest.approx(row["logit"] / 256 - 0.5)
            assert (row["width"], row["height"]) == (56, 56) and row["preprocess_ms"] > 0 and row["device_ms"] > 0

    def test_the_map_is_the_devices(self, server: Served, folder: Path) -> None:
        pixels = noise(seed=4)
        with Accelerator(folder, "cpu") as accelerator:
            want = explain(accelerator, pixels)
        answer = server.post("/api/explain?point=sensitivity_95", File(png(pixels))).json()
        assert answer["map"]["differences"] == want.differences.tolist()
        assert answer["map"]["sums"] == want.sums.tolist() and answer["images"] == 65
        assert (answer["cycles"], answer["cycles_are"]) == (want.cycles, "expected")
        assert answer["result"]["logit"] == want.logit and answer["operating_point"]["threshold"] == -400
        assert answer["preview"].startswith("data:image/jpeg") and answer["overlay"].startswith("data:image/png")

    def test_choices_and_examples(self, server: Served, folder: Path) -> None:
        (run,) = server.ask("GET", "/api/runs").json()["runs"]
        assert run["name"] == "first" and run["devices"] == ["cpu"] and run["examples"] == 6
        golden = np.load(folder / "golden.npz")
        logits = []
        for number in range(6):
            content = server.ask("GET", f"/api/example?number={number}").content
            logits.append(server.post("/api/predict", File(content)).json()["results"][0]["logit"])
        assert (
            logits == sorted(logits)
            and logits[0] == golden["outputs"][:, 0].min()
            and logits[-1] == golden["outputs"][:, 0].max()
        )
        server.ask("GET", "/api/example?number=6").assert_refused(404, "unknown-example")
        server.post("/api/predict?run=none", File(png(noise()))).assert_refused(404, "unknown-run")
        server.post("/api/predict?device=sim", File(png(noise()))).assert_refused(404, "unknown-device")
        server.post("/api/predict?point=none", File(png(noise()))).assert_refused(404, "unknown-point")
        server.post("/api/explain?fill=black", File(png(noise()))).assert_refused(422, "bad-parameter")
        for unknown in ("explain?class=nope", "explain?nonsense=1", "predict?target=1"):
            server.post(f"/api/{unknown}", File(png(noise()))).assert_refused(422, "unknown-parameter")
        for unknown in ("api/runs?run=first", "api/example?run=first&class=1", "healthz?x="):
            server.ask("GET", f"/{unknown}").assert_refused(422, "unknown-parameter")
        server.ask("GET", "/api/example?number=0&number=1").assert_refused(422, "repeated-parameter")
        server.ask("GET", "/nothing").assert_refused(404, "not-found")
        server.ask("GET", "/api/predict").assert_refused(405, "bad-request")

    def test_health_and_headers(self, server: Served) -> None:
        reply = server.ask("GET", "/healthz")
        assert reply.json() == {"status": "ok", "note": "Research use only, not a medical device."}
        for path in ("/", "/healthz", "/nothing", "/page.js"):
            headers = server.ask("GET", path).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
            assert "access-control-allow-origin" not in headers and "server" not in headers
        page = server.ask("GET", "/").content.decode()
        assert "Research use only, not a medical device" in page and "//" not in page.replace("http://www.w3.org", "")

    def test_two_runs_take_turns_on_one_device(self, folder: Path, network: IntegerNetwork, tmp_path: Path) -> None:
        other = write_deploy(tmp_path / "other", seed=9)
        write_deploy(tmp_path / "again" / "first")  # the same name
        with serving(folder, tmp_path / "other", tmp_path / "again" / "first") as served:
            names = [run["name"] for run in served.ask("GET", "/api/runs").json()["runs"]]
            assert names == ["first", "other", "first (2)"]
            want = network.outputs(noise()[None])[-1][0, 0], other.outputs(noise()[None])[-1][0, 0]
            with ThreadPoolExecutor(8) as pool:
                paths = [f"/api/predict?run={names[i % 2]}" for i in range(16)]
                asked = list(pool.map(lambda path: served.post(path, File(png(noise()))), paths))
        for i, reply in enumerate(asked):
            assert reply.json()["results"][0]["logit"] == want[i % 2]


def test_an_answer_says_whether_its_image_is_unlike(tmp_path: Path) -> None:
    """Of one logit, of classes, and of a folder that does not know."""
    write_deploy(tmp_path / "one")
    write_deploy(tmp_path / "none")
    write_classes(tmp_path / "three", ["a", "b", "c"])
    plain = np.random.default_rng(0).integers(90, 110, (9, 28, 28), dtype=np.uint8)
    files = [File(png(plain[0])), File(png(noise(28, 7)))]
    for name in ("one", "three"):
        write_likeness(tmp_path / name, plain)
    with serving(*(tmp_path / name for name in ("one", "three", "none")), devices=("cpu",)) as served:
        for name in ("one", "three"):
            rows = served.post(f"/api/predict?run={name}", *files).json()["results"]
            assert [row["unlike"] for row in rows] == [False, True] == [row["unlikeness"] > 1 for row in rows]
        (row,) = served.post("/api/predict?run=none", files[1]).json()["results"]
        assert row["unlike"] is None and row["unlikeness"] is None


class TestClasses:
    """A network of K outputs, trained here or imported: the driver's classes, at any operating point, and its maps."""

    NAMES = ("NORMAL", "<b>BACTERIA", "VIRUS")

    def test_answers_are_the_drivers(self, tmp_path: Path) -> None:
        write_classes(tmp_path / "three", list(self.NAMES))
        write_classes(tmp_path / "other", list(self.NAMES), head=Head(steps=[("multiply", [[-2.0]])]))
        pixels = np.stack([noise(seed=i) for i in range(3)])
        files = [File(png(image)) for image in pixels]
        with serving(tmp_path / "three", tmp_path / "other", limits=SMALL) as served:
            runs = served.ask("GET", "/api/runs").json()["runs"]
            answers = served.post("/api/predict", *files).json()
            careful = served.post("/api/predict?point=careful", *files).json()
            imported = served.post("/api/predict?run=other", *files).json()
            served.post("/api/predict?point=balanced", *files).assert_refused(404, "unknown-point")
            examples = [served.ask("GET", f"/api/example?number={i}").content for i in range(runs[0]["examples"])]
            of_examples = [served.post("/api/predict", File(png_)).json()["results"][0]["label"] for png_ in examples]
        with Accelerator(tmp_path / "three", "cpu") as accelerator:
            want = accelerator.infer(pixels)
        with Accelerator(tmp_path / "other", "cpu") as accelerator:
            foreign = accelerator.infer(pixels)
        assert runs[0]["class_names"] == list(self.NAMES) and not runs[0]["imported"] and runs[0]["outputs"] == 3
        careful_point = runs[0]["operating_points"][1]
        assert careful_point == {"name": "careful", "class_name": "<b>BACTERIA", "margin": pytest.approx(-2.5)}
        assert answers["operating_point"] == {"name": "default", "class_name": None, "margin": None}
        for n, row in enumerate(answers["results"]):
            assert (row["outputs"], row["results"]) == (want.outputs[n].tolist(), None)
            assert row["probabilities"] == want.probabilities[n].tolist()
            assert (row["label"], row["class_name"]) == (want.classes[n], want.names[n])
        assert isinstance(want.decision, Choice)
        assert [row["label"] for row in careful["results"]] == want.decision.classes(want.outputs, "careful").tolist()
        assert runs[1]["class_names"] == ["class 0", "class 1", "class 2"] and runs[1]["imported"]
        for n, row in enumerate(imported["results"]):
            assert row["probabilities"] is None and row["results"] == foreign.results[n].tolist()
            assert (row["outputs"], row["class_name"]) == (foreign.outputs[n].tolist(), foreign.names[n])
        assert of_examples == sorted(of_examples) and set(of_examples) == {0, 1, 2}

    def test_the_map_is_of_the_class_that_is_asked_for(self, tmp_path: Path) -> None:
        write_classes(tmp_path / "three", list(self.NAMES))
        pixels = noise(seed=4)
        with serving(tmp_path / "three", limits=SMALL) as served:
            asked = [served.post(f"/api/explain?point=careful{more}", File(png(pixels))) for more in ("", "&target=2")]
            served.post("/api/explain?target=3", File(png(pixels))).assert_refused(404, "unknown-class")
            served.post("/api/explain?target=-1", File(png(pixels))).assert_refused(404, "unknown-class")
            by_name = served.post("/api/explain?target=%3Cb%3EBACTERIA", File(png(pixels))).json()
        answer, second = (reply.json() for reply in asked)
        assert answer["target"] == answer["result"]["label"] and second["target"] == 2 and by_name["target"] == 1
        with Accelerator(tmp_path / "three", "cpu") as accelerator:
            for found in (answer, second):
                want = explain(accelerator, pixels, target=found["target"])
                assert found["map"]["differences"] == want.differences.tolist() and want.differences.any()
                assert found["result"]["outputs"] == want.outputs.tolist()

    def test_one_logit_has_one_map(self, server: Served) -> None:
        server.post("/api/explain?target=0", File(png(noise()))).assert_refused(404, "unknown-class")
        assert server.post("/api/explain?target=1", File(png(noise()))).status == 200

    def test_what_the_page_cannot_show_is_said_and_left_out_of_all(self, tmp_path: Path) -> None:
        names, said = list(self.NAMES), list[str]()
        write_integers(tmp_path / "a", Input(8, 8), 4, outputs=3, result_bits=32)
        write_classes(tmp_path / "b", [f"class {k}" for k in range(1001)])
        for name, words in (
            ("a", "gives 3 integers per image and no decision: the page shows classes"),
            ("b", "gives 1001 integers per image; the page shows 1000"),
        ):
            with pytest.raises(ConfigError, match=words):
                Fleet([tmp_path / name], [])
        write_classes(tmp_path / "c", names)
        fleet = Fleet([tmp_path / name for name in "abc"], [], left_out=said.append)
        assert list(fleet.runs) == ["c"] and len(said) == 2
        with pytest.raises(ConfigError, match="1001 integers"):
            Fleet([tmp_path / name for name in "ab"], [], left_out=said.append)


HALVES = InputRule("float", "uint3", 0, (tuple(0.5 + n for n in range(7)),))
VALUES: dict[str, tuple[Input, dict[str, Any]]] = {  # what the hardware reads, and the manifest's fields
    "float": (Input(8, 8, 1, "uint3"), {"rule": HALVES, "fed_shape": [1, 8, 8]}),
    "int8": (Input(1, 40, 1, "int8"), {"fed_shape": [40]}),
    "bipolar": (Input(4, 8, 3, "bipolar"), {}),
    "uint8": (Input(1, 16), {}),
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, IntegerNetwork]]:
    """Imported networks of 10 outputs that are fed no pictures, by what they are fed."""
    out, found = tmp_path_factory.mktemp("values"), {}
    for name, (source, fields) in VALUES.items():
        head = Head(steps=[("multiply", [[-0.25]])])
        network = write_integers(out / name, source, 4, outputs=10, result_bits=32, head=head, **fields)
        found[name] = out / name, network
    return found


@pytest.fixture(scope="module")
def values(networks: dict[str, tuple[Path, IntegerNetwork]]) -> Iterator[Served]:
    limits = replace(SMALL, inputs=50)
    with serving(*(folder for folder, _ in networks.values()), limits=limits) as served:
        yield served


def fed_to(name: str, count: int = 5) -> NDArray[Any]:
    """Values for one of `networks`, (N, M)."""
    source, fields = VALUES[name]
    rng = np.random.default_rng(1)
    if "rule" in fields:
        return rng.uniform(-1, 8, (count, source.size))
    return source.values.random(rng, (count, source.size))


class TestValues:
    """Runs that are fed no pictures: files of values through the room where files are decoded, and no map."""

    @pytest.mark.parametrize("name", VALUES)
    def test_answers_are_the_drivers(
        self, values: Served, networks: dict[str, tuple[Path, IntegerNetwork]], name: str
    ) -> None:
        x, (folder, network) = fed_to(name), networks[name]
        with Accelerator(folder, "cpu") as accelerator:
            want = accelerator.infer(x.reshape(5, *accelerator.manifest.fed.shape))
        read = HALVES(x) if name == "float" else x
        np.testing.assert_array_equal(network.outputs(read.reshape(5, *network.input.shape))[-1], want.outputs)
        text, path = json.dumps(x.tolist()).encode(), f"/api/predict?run={name}"
        replies = [
            values.ask("POST", path, text, Content_Type="application/json"),
            values.ask("POST", path, table(x)),
            values.post(path, File(table(x), "x.csv", "text/csv")),
            values.post(path, File(npz(x=x), "x.npz")),
        ]
        for reply in replies:
            assert reply.status == 200, reply.content
            rows = reply.json()["results"]
            assert [row["outputs"] for row in rows] == want.outputs.tolist()
            assert [row["results"] for row in rows] == want.results.tolist()
            assert [row["class_name"] for row in rows] == want.names and len(set(map(tuple, want.outputs))) > 1
            assert [row["index"] for row in rows] == list(range(5)) and rows[0]["probabilities"] is None
            assert {(row["width"], row["height"], row["unlike"]) for row in rows} == {(None, None, None)}
            assert "not a medical device" in reply.json()["note"]

    def test_what_may_be_sent_is_said_and_what_makes_no_sense_is_not_there(self, values: Served) -> None:
        runs = {run["name"]: run for run in values.ask("GET", "/api/runs").json()["runs"]}
        about = runs["float"]["values"]
        assert (about["type"], about["shape"], about["inputs"]) == ("float", [1, 8, 8], 50)
        assert about["expected"] == (
            "float of the shape (N, 1, 8, 8) or (N, 64); the host makes uint3 by 7 thresholds from 0.5 to 6.5"
        )
        assert runs["int8"]["values"]["expected"] == "int8 (-128 to 127) of the shape (N, 40)"
        assert {run["examples"] for run in runs.values()} == {0}
        values.ask("GET", "/api/example?run=int8").assert_refused(404, "unknown-example")
        values.post("/api/explain?run=int8", File(b"[]")).assert_refused(422, "no-picture", "of which there is no map")

    @pytest.mark.parametrize(
        ("content", "status", "code", "words"),
        [
            (b"", 400, "empty-file", "The file is empty"),
            (b"[[1,2,3]]", 422, "unusable", "The file holds an array of the shape (1, 3), expected (N, 40)."),
            (b"0," * 39 + b"128", 422, "unusable", "from 0.0 to 128.0, expected whole ones: int8"),
            (b"0," * 39 + b"0.5", 422, "unusable", "from 0.0 to 0.5, expected whole ones"),
            (b"[[" + b"1," * 39 + b"1e400]]", 422, "unusable", "no finite number of float32, first in input 0"),
            (b"[" * 90_000, 422, "unusable", "no whole JSON"),
            (b"1," * 39 + b"Doe^Jane", 422, "unusable", "no finite number in line 1"),
            (npz(**{"Doe^Jane": np.zeros((1, 40))}), 422, "unusable", "no array 'x'"),
            (npz(x=np.array([["Doe^Jane"] * 40])), 422, "unusable", "expected numbers that float64 holds"),
            (npz(**{"Doe^Jane": np.array([None])}), 422, "unusable", "is damaged, or unpacks to"),
            (npz(x=np.zeros((9, 40)))[:-50], 422, "unusable", "is damaged, or unpacks to more"),
            (png(noise()), 422, "unusable", "of no known kind, expected an .npz with an array 'x'"),
            (json.dumps([[0] * 40] * 51).encode(), 413, "too-many-inputs", "holds 51 inputs, expected 50 at most"),
            (bytes(100_001), 413, "too-large", "A file is larger than"),
        ],
    )  # fmt: skip
    def test_refusals(self, values: Served, content: bytes, status: int, code: str, words: str) -> None:
        for reply in (
            values.ask("POST", "/api/predict?run=int8", content, Content_Type="application/json"),
            values.post("/api/predict?run=int8", File(content, "x.npz", "application/zip")),
        ):
            reply.assert_refused(status, code, words)
            assert b"Doe" not in reply.content
        good = json.dumps(fed_to("int8").tolist()).encode()
        assert values.ask("POST", "/api/predict?run=int8", good).status == 200

    def test_a_long_file_leaves_turns_to_others_and_ends_with_its_connection(
        self, networks: dict[str, tuple[Path, IntegerNetwork]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, network = networks["int8"]
        x, sizes, going = fed_to("int8", 50), list[int](), threading.Event()
        infer = Accelerator.infer

        def slow(self: Accelerator, images: NDArray[Any]) -> Any:
            sizes.append(len(images))
            going.set()
            time.sleep(0.05)
            return infer(self, images)

        monkeypatch.setattr("cxrflow.serve.app.AT_ONCE", 4)
        monkeypatch.setattr(Accelerator, "infer", slow)
        body = json.dumps(x.tolist()).encode()
        with serving(folder) as served:
            with ThreadPoolExecutor(1) as pool:
                long = pool.submit(served.ask, "POST", "/api/predict", body)
                assert going.wait(20)
                assert served.ask("POST", "/api/predict", json.dumps(x[:1].tolist()).encode()).status == 200
                assert not long.done()
            rows = long.result().json()["results"]
            want = network.outputs(x.reshape(50, *network.input.shape))[-1]
            assert [row["outputs"] for row in rows] == want.tolist() and sorted(sizes) == [1, 2, *[4] * 12]
            going.clear()
            with socket.create_connection(("127.0.0.1", served.port)) as gone:
                gone.sendall(
                    f"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                )
                gone.sendall(body)
                assert going.wait(20)
            time.sleep(0.7)
            assert len(sizes) < 14 + 12

    def test_one_file_a_request(self, values: Served) -> None:
        good = File(json.dumps(fed_to("int8").tolist()).encode())
        values.post("/api/predict?run=int8", good, good).assert_refused(413, "too-many-files", "More than one file")
        values.ask("POST", "/api/predict?run=int8&point=x", good.content).assert_refused(404, "unknown-point")

    def test_what_a_small_file_unpacks_to_counts_while_it_waits(
        self, networks: dict[str, tuple[Path, IntegerNetwork]]
    ) -> None:
        zeros = npz(x=np.zeros((90, 40), dtype=np.int8))
        assert len(zeros) < 1000
        with serving(networks["int8"][0], limits=Limits(held_bytes=2500)) as served:
            for _ in range(2):
                served.ask("POST", "/api/predict", zeros).assert_refused(503, "busy", "Too many uploads")
                assert served.ask("POST", "/api/predict", npz(x=np.zeros((60, 40), dtype=np.int8))).status == 200

    def test_how_many_inputs_a_file_may_have_follows_from_what_they_take(self, tmp_path: Path) -> None:
        row = Input(1, 100, 1, "int8")
        write_integers(tmp_path, row, 4, outputs=30, result_bits=32, head=Head())
        manifest = load_manifest(tmp_path / "accelerator.json")
        for limits, most in (
            (Limits(inputs=10), 10),
            (Limits(outputs=100), 3),
            (Limits(decode_bytes=2000), 5),
            (Limits(decode_bytes=20), 1),
        ):
            assert limits.inputs_of(manifest) == most

    def test_memory_and_time_are_bounded_as_of_images(self, networks: dict[str, tuple[Path, IntegerNetwork]]) -> None:
        many = b"[" + b"[]," * 600_000 + b"[]]"
        for limits, status, code, words in (
            (Limits(decode_bytes=20 << 20), 413, "too-much-memory", "The file takes more than 20 MiB to decode. Send"),
            (Limits(decode_s=0.02), 422, "unusable", "The file takes more than 0.02 s to decode"),
        ):
            with serving(networks["int8"][0], limits=limits) as served:
                served.ask("POST", "/api/predict", many).assert_refused(status, code, words)


BAD: dict[str, tuple[Callable[[], list[File]], int, str, str]] = {
    "a large file": (lambda: [File(bytes(100_001))], 413, "too-large", "A file is larger than"),
    "a large request": (lambda: [File(bytes(90_000))] * 3, 413, "too-large", "The request is larger than"),
    "many files": (lambda: [File(png(noise()))] * 4, 413, "too-many-files", "More than 3 files"),
    "a bomb": (lambda: [File(bomb(4000, 4000))], 413, "too-many-pixels", "more than 1 megapixels"),
    "a bomb beyond Pillow's own bound": (lambda: [File(bomb(60000, 60000))], 413, "too-many-pixels", "more than 1"),
    "a DICOM bomb": (lambda: [File(dicom_file(Rows=60000, Columns=60000))], 413, "too-many-pixels", "more than 1"),
    "a ZIP archive": (lambda: [File(zipped(), "a.dcm", "application/dicom")], 415, "not-an-image", "ZIP archive"),
    "a drawing": (
        lambda: [File(b"<?xml version='1.0'?><svg><script>alert(1)</script></svg>", "a.png", "image/png")],
        415, "not-an-image", "SVG drawing",
    ),
    "a declared drawing": (lambda: [File(b"<svg/>", "a.svg", "image/svg+xml")], 415, "wrong-type", "declared"),
    "text": (lambda: [File(b"some text", "a.png", "image/png")], 415, "not-an-image", "no JPEG, PNG or DICOM"),
    "another type than declared": (lambda: [File(png(noise()), "a.jpg", "image/jpeg")], 415, "type-mismatch", "PNG"),
    "endless scans": (lambda: [File(scans(99))], 422, "unusable", "JPEG scans, expected at most 100"),
    "endless scans in a DICOM": (lambda: [File(wrapped(scans(99)))], 422, "unusable", "JPEG scans"),
    "nothing": (lambda: [File(b"")], 400, "empty-file", "0 bytes"),
    "half a PNG": (lambda: [File(png(noise(200))[:20_000])], 422, "unusable", "damaged and cannot be decoded"),
    "half a JPEG": (lambda: [File(png(noise(200), "JPEG")[:9_000])], 422, "unusable", "damaged and cannot be decoded"),
    "half a DICOM": (lambda: [File(dicom_file()[:900])], 422, "unusable", "damaged DICOM file"),
    "a DICOM without pixels": (lambda: [File(without_pixels())], 422, "unusable", "DICOM file without pixels"),
    "several frames": (lambda: [File(dicom_file(NumberOfFrames=3))], 422, "unusable", "has 3 frames"),
    "a small PNG": (lambda: [File(png(noise(20)))], 422, "unusable", "at least 28 x 28"),
    "a small DICOM": (lambda: [File(dicom_file(noise(20)))], 422, "too-small", "20 x 20 pixels"),
    "a path as name": (lambda: [File(png(noise()), "../../etc/passwd")], 400, "file-name", "holds a path"),
    "a Windows path": (lambda: [File(png(noise()), "..\\\\boot.ini")], 400, "file-name", "holds a path"),
    "a Windows drive": (lambda: [File(png(noise()), "C:\\\\x.png")], 400, "file-name", "holds a path"),
    "a Windows drive, not escaped": (lambda: [File(png(noise()), "C:\\x.png")], 400, "file-name", "holds a path"),
    "a Windows share": (lambda: [File(png(noise()), "\\\\\\\\host\\\\x.png")], 400, "file-name", "holds a path"),
    "a control character": (lambda: [File(png(noise()), "a\x00.png")], 400, "file-name", "control characters"),
    "another field": (lambda: [File(png(noise()), field="image")], 400, "bad-form", "field 'files'"),
    "no file": (lambda: [], 400, "bad-form", ""),
}  # fmt: skip


class TestRefusals:
    @pytest.mark.parametrize("name", BAD)
    def test_has_its_own_status_and_sentence_and_the_server_goes_on(self, server: Served, name: str) -> None:
        make, status, code, words = BAD[name]
        server.post("/api/predict", *make()).assert_refused(status, code, words)
        assert server.post("/api/predict", File(png(noise()))).status == 200

    def test_one_bad_file_does_not_hinder_the_others(self, server: Served, network: IntegerNetwork) -> None:
        reply = server.post("/api/predict", File(png(noise())), File(b""), File(png(noise(seed=1))))
        good, bad, also_good = reply.json()["results"]
        want = network.outputs(np.stack([noise(), noise(seed=1)]))[-1][:, 0]
        assert reply.status == 200 and [good["logit"], also_good["logit"]] == want.tolist()
        assert (bad["index"], bad["status"], bad["code"]) == (1, 400, "empty-file")
        server.post("/api/explain", *[File(png(noise()))] * 2).assert_refused(413, "too-many-files", "one file")

    def test_bodies_that_are_no_form(self, server: Served) -> None:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        whole = form(File(png(noise())))
        server.ask("POST", "/api/predict", whole, Content_Type="application/json").assert_refused(415, "wrong-type")
        server.ask("POST", "/api/predict", whole).assert_refused(415, "wrong-type")
        server.ask("POST", "/api/predict", whole, Content_Type="multipart/form-data").assert_refused(400, "bad-form")
        server.ask("POST", "/api/predict", b"garbage", Content_Type=kind).assert_refused(400, "bad-form")
        server.ask("POST", "/api/predict", whole[:-30], Content_Type=kind).assert_refused(
            400, "bad-form", "ended early"
        )
        nameless = whole.replace(b'; filename="xray.png"', b"")
        server.ask("POST", "/api/predict", nameless, Content_Type=kind).assert_refused(400, "bad-form", "files only")
        wide = whole.replace(b"Content-Type", b"X: " + b"y" * 9000 + b"\r\nContent-Type")
        server.ask("POST", "/api/predict", wide, Content_Type=kind).assert_refused(400, "bad-form")

    @pytest.mark.parametrize(
        "header",
        [
            b"", b"Host: localhost\r\nHost: localhost", b"Host: localhost\r\nContent-Length: -1", b"Host: ?\r\n: x",
            b"Host: localhost\r\nContent-Length: 1" + b"0" * 30,
            b"Host: localhost\r\nTransfer-Encoding: x, chunked\r\nContent-Length: 5",
            b"Host: localhost\r\nX: " + b"y" * 200_000,
        ],
        ids=["no host", "two hosts", "negative", "nameless", "huge", "two lengths", "endless"],
    )  # fmt: skip
    def test_what_is_not_http_is_refused_in_json_too(self, server: Served, header: bytes) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(b"POST /api/predict HTTP/1.1\r\n" + header + b"\r\n\r\n")
            response = http.client.HTTPResponse(raw)
            response.begin()
            answer = json.loads(response.read())
        assert (response.status, answer["status"], answer["code"]) == (400, 400, "bad-request")
        assert response.getheader("X-Content-Type-Options") == "nosniff"

    def test_an_upgrade_is_an_ordinary_request_and_no_advice(
        self, server: Served, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert server.ask("GET", "/healthz", Connection="Upgrade", Upgrade="websocket").status == 200
        assert caplog.text == ""

    @pytest.mark.parametrize("trickle", [False, True], ids=["silent", "a byte now and then"])
    def test_an_upload_that_never_ends_is_cut_off_and_hinders_nobody(self, impatient: Served, trickle: bool) -> None:
        with socket.create_connection(("127.0.0.1", impatient.port)) as slow:
            slow.sendall(
                b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n"
                + f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n--{BOUNDARY}\r\n".encode()
            )
            slow.settimeout(0.2)
            received, start = b"", time.monotonic()
            while not received and time.monotonic() - start < 10:
                assert impatient.post("/api/predict", File(png(noise()))).status == 200
                if trickle:
                    slow.sendall(b"X")
                with contextlib.suppress(TimeoutError):
                    received = slow.recv(4096)
            taken = time.monotonic() - start
            while more := slow.recv(4096):
                received += more
        assert received.startswith(b"HTTP/1.1 408") and b"too-slow" in received
        assert (1.9 if trickle else 0.9) < taken < 9

    def test_a_connection_that_never_asks_is_closed(self, impatient: Served) -> None:
        with socket.create_connection(("127.0.0.1", impatient.port), timeout=5) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\nHost: local")
            assert silent.recv(100) == b""
        with socket.create_connection(
            ("127.0.0.1", impatient.port), timeout=4
        ) as silent:  # less than uvicorn's own 5 s
            silent.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert silent.recv(4096).startswith(b"HTTP/1.1 200")
            silent.sendall(b"GET /healthz HT")
            while silent.recv(4096):
                pass

    def test_a_broken_off_upload_gives_its_memory_back(self, folder: Path, network: IntegerNetwork) -> None:
        tight = replace(SMALL, held_bytes=120_000)
        with serving(folder, limits=tight) as served:
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", served.port)) as broken:
                    broken.sendall(
                        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n"
                        + f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode()
                        + form(File(bytes(80_000)))
                    )
                    time.sleep(0.1)
                    served.post("/api/predict", File(bytes(60_000))).assert_refused(503, "busy", "in a moment")
                deadline = time.monotonic() + 60
                while served.post("/api/predict", File(png(noise(200)))).status != 200:
                    assert time.monotonic() < deadline

    def test_a_budget_counts(self) -> None:
        budget = Budget(10)
        budget.take(10)
        with pytest.raises(Refusal):
            budget.take(1)
        budget.give(10)
        budget.take(10)


def hostile(*words: bytes) -> bytes:
    """An X-ray at which tests.hostile_decoder acts."""
    return b"\n".join((png(noise()), *words))


DEATHS: dict[str, tuple[int, str, str]] = {
    "eat": (413, "too-much-memory", "more than 100 MiB to decode"),
    "crash": (422, "unusable", "makes its decoder crash"),
    "abort": (422, "unusable", "makes its decoder crash"),
    "exit": (422, "unusable", "makes its decoder crash"),
    "system": (503, "busy", "short of memory"),
    "bug": (500, "bug", "a bug of ours"),
    "write": (500, "bug", "a bug of ours"),
}


class TestDecodersThatFail:
    """An image may do anything to what decodes it: it costs its sender an answer, and nobody else anything.

    So: to take time, in Python, in native code, and asleep; to take memory, and to have none; to end the process, in
    every way in which one ends; to print, to write, to be a bug of ours.
    """

    @pytest.fixture(scope="class")
    def attacked(self, folder: Path, network: IntegerNetwork) -> Iterator[Served]:
        limits = Limits(patience_s=0.2, decode_s=6, decode_bytes=100 << 20)  # a busy machine starts a process in 3 s
        with serving(folder, limits=limits, decoder=HOSTILE) as served:
            yield served

    @pytest.mark.parametrize("name", DEATHS)
    def test_an_end_is_a_sentence_to_its_sender_alone(
        self, attacked: Served, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "written"
        reply = attacked.post(
            "/api/predict", File(png(noise())), File(hostile(bytes(file), name.encode())), File(png(noise(seed=1)))
        )
        before, failed, after = reply.json()["results"]
        status, code, words = DEATHS[name]
        assert (failed["status"], failed["code"]) == (status, code) and words in failed["error"]
        assert {"logit"} <= before.keys() & after.keys()
        assert not file.exists() or file.stat().st_size == 0
        assert "Doe" not in caplog.text and ("Error at " in caplog.text) == (status == 500)

    def test_others_are_answered_while_one_hangs(self, folder: Path, network: IntegerNetwork) -> None:
        """The other X-ray needs a new process, as a new server's first does: a busy machine takes long to start one."""
        start = time.monotonic()
        with serving(folder, decoder=HOSTILE) as alone:
            assert alone.post("/api/predict", File(png(noise()))).status == 200
        needs = time.monotonic() - start
        limits = Limits(patience_s=0.2, decode_s=max(6, round(4 * needs)))
        with serving(folder, limits=limits, decoder=HOSTILE) as served, ThreadPoolExecutor(1) as pool:
            assert served.post("/api/predict", File(png(noise()))).status == 200
            hangs = pool.submit(served.post, "/api/predict", File(hostile(b"spin")))
            time.sleep(0.2)
            start = time.monotonic()
            assert served.ask("GET", "/healthz").status == 200 and time.monotonic() - start < max(1, needs)
            assert served.post("/api/predict", File(png(noise()))).status == 200
            assert not hangs.done()
            hangs.result().assert_refused(422, "unusable", f"takes more than {limits.decode_s:g} s to decode")
            assert served.post("/api/predict", File(png(noise()))).status == 200

    def test_many_that_hang_delay_others_by_no_more_than_their_own_time(self, attacked: Served) -> None:
        with ThreadPoolExecutor(3) as pool:
            words = b"spin", b"native", b"sleep"
            hanging = [pool.submit(attacked.post, "/api/predict", File(hostile(word))) for word in words]
            time.sleep(0.2)
            start = time.monotonic()
            assert attacked.post("/api/predict", File(png(noise()))).status == 200
            assert time.monotonic() - start < 20
            assert {reply.result().status for reply in hanging} == {422}

    def test_what_codecs_print_is_lost(self, attacked: Served, capfd: pytest.CaptureFixture[str]) -> None:
        assert attacked.post("/api/predict", File(hostile(b"print"))).status == 200
        assert capfd.readouterr() == ("", "")

    def test_a_real_image_that_is_too_much(self, folder: Path, network: IntegerNetwork) -> None:
        with serving(folder, limits=Limits(decode_bytes=8 << 20)) as served:
            reply = served.post("/api/explain", File(bomb(4000, 4000)))
            reply.assert_refused(413, "too-much-memory", "more than 8 MiB")
            assert served.post("/api/explain", File(png(noise()))).status == 200

    def test_a_dicom_of_endless_numbers(self, folder: Path, network: IntegerNetwork) -> None:
        """Two kilobytes that once stopped a server for ever; here, the bounds of the parser are gone too."""
        hang = dicom_file(RescaleSlope="1e-99999999", RescaleIntercept="0")
        with serving(folder, limits=Limits(decode_s=1.5), decoder=(*HOSTILE, "unbound")) as served:
            served.post("/api/predict", File(hang)).assert_refused(422, "unusable", "more than 1.5 s to decode")
            assert served.post("/api/predict", File(png(noise()))).status == 200
        with serving(folder) as served:
            served.post("/api/predict", File(hang)).assert_refused(422, "unusable", "RescaleSlope")

    def test_no_process_outlives_the_server(self) -> None:
        """A process whose server was killed ends by itself, idle and at work."""
        job = Job("", 28, 28, False, 10**6, 0.0, 100 << 20)
        for word, code in (b"", 0), (b"spin", -signal.SIGXCPU):
            process = subprocess.Popen(HOSTILE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CODE)
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.read(len(READY)) == READY
            if word:
                write_message(cast(BinaryIO, process.stdin), vars(job), hostile(word))
            process.stdin.close()
            process.stdout.close()
            assert process.wait(20) == code

    def test_a_decoder_that_cannot_start(self, folder: Path, network: IntegerNetwork) -> None:
        for command in ("/nowhere/python",), (sys.executable, "-c", ""), (sys.executable, "-c", "print('nonsense')"):
            with serving(folder, decoder=command) as served:
                served.post("/api/predict", File(png(noise()))).assert_refused(503, "busy", "cannot be started")
                assert served.ask("GET", "/healthz").status == 200


class Member:
    """A connection that says what it does, and keeps in mind that it was closed."""

    def __init__(self, state: str) -> None:
        self.doing, self.aborted, self.transport = state, False, self

    def state(self) -> str:
        return self.doing

    def abort(self) -> None:
        self.aborted = True


class TestConnections:
    """Whoever holds connections without using them locks nobody out, whatever it is that they do not do."""

    @pytest.fixture(scope="class")
    def narrow(self, folder: Path, network: IntegerNetwork) -> Iterator[Served]:
        """One with room for eight, that waits for long."""
        with serving(folder, limits=replace(SMALL, connections=8, idle_s=60, upload_s=60, header_s=60)) as served:
            yield served

    HALF = (
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
        b"Content-Type: multipart/form-data; boundary=" + BOUNDARY.encode() + b"\r\n\r\n"
    )

    @pytest.mark.parametrize(
        "sent",
        [b"", b"GET / HTTP/1.1\r\nX: ", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", HALF % 9999],
        ids=["silent", "half a header", "kept alive", "half a body"],
    )
    def test_a_new_client_is_served(self, narrow: Served, sent: bytes) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                one = stack.enter_context(socket.create_connection(("127.0.0.1", narrow.port)))
                one.sendall(sent)
                if b"/healthz" in sent:  # where eight are being answered, it is the new one that has to go
                    assert one.recv(100).startswith(b"HTTP/1.1 200")
            start = time.monotonic()
            assert narrow.post("/api/predict", File(png(noise()))).status == 200
            assert time.monotonic() - start < 4

    def test_an_upload_under_way_is_not_cut_off_for_silent_ones(self, narrow: Served) -> None:
        body = form(File(png(noise())))
        with contextlib.ExitStack() as stack, socket.create_connection(("127.0.0.1", narrow.port)) as upload:
            upload.sendall(self.HALF % len(body) + body[:100])
            for _ in range(20):
                stack.enter_context(socket.create_connection(("127.0.0.1", narrow.port)))
                assert narrow.ask("GET", "/healthz").status == 200
            upload.sendall(body[100:])
            assert upload.recv(100).startswith(b"HTTP/1.1 200")

    def test_an_answer_that_nobody_reads_is_given_up(self, impatient: Served) -> None:
        with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as deaf:
            asked = b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3000
            deaf.sendall(asked)
            time.sleep(3)
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while got := deaf.recv(1 << 20):
                    received += len(got)
        assert 0 < received < 3000 * len(impatient.ask("GET", "/page.js").content)

    def test_those_who_hold_most_make_room(self) -> None:
        crowd = Crowd(6)
        states = ["working", "idle", "receiving", "idle", "working"]
        theirs, other = [Member(state) for state in states], Member("idle")
        crowd.enter(cast(Patient, other), "other")
        for member in theirs:
            crowd.enter(cast(Patient, member), "many")
        order = []
        for peer in ("new-1", "new-2", "many", "new-3"):
            crowd.enter(cast(Patient, Member("working")), peer)
            order.append([member.aborted for member in theirs])
        assert order[0] == [False, True, False, False, False]  # the oldest idle one
        assert order[1] == [False, True, False, True, False]
        assert order[2] == [False, True, True, True, False]  # of those at work, one that is still sending
        assert order[3] == order[2] and not other.aborted  # the newest, which came last
        full = Crowd(1)
        first, second = Member("working"), Member("idle")
        full.enter(cast(Patient, first), "one")
        full.enter(cast(Patient, second), "one")
        assert second.aborted and not first.aborted
        full.leave(cast(Patient, first))
        third = Member("idle")
        full.enter(cast(Patient, third), "one")
        assert not third.aborted

    @pytest.mark.parametrize("most", [6, 256])
    def test_where_all_hold_few_no_request_is_cut_off(self, most: int) -> None:
        """The oldest idle connection makes room, whoever's it is; without one, whoever comes is turned away."""
        crowd = Crowd(most)
        uploads = [Member(state) for state in ("receiving", "working")]
        for member in uploads:
            crowd.enter(cast(Patient, member), "asks twice")
        quiet = [Member("idle") for _ in range(most - 2)]
        for number, member in enumerate(quiet):
            crowd.enter(cast(Patient, member), f"holds one, {number}")
        for number in range(most - 2):
            new = Member("receiving")
            crowd.enter(cast(Patient, new), f"new, {number}")
            assert [member.aborted for member in quiet] == [one <= number for one in range(most - 2)]
            assert not new.aborted
        last = Member("idle")
        crowd.enter(cast(Patient, last), "one too many")
        assert last.aborted and not any(member.aborted for member in uploads)

    def test_a_few_peers_with_endless_uploads_lock_nobody_out(self) -> None:
        crowd = Crowd(256)
        slow = [Member("receiving") for _ in range(256)]
        for number, member in enumerate(slow):
            crowd.enter(cast(Patient, member), f"slow, {number % 8}")
        for number in range(20):
            new = Member("receiving")
            crowd.enter(cast(Patient, new), f"new, {number}")
            assert not new.aborted and sum(member.aborted for member in slow) == number + 1

    def test_one_connection_of_each_of_many_addresses(self, narrow: Served) -> None:
        """As above with sockets, of this machine's other addresses, and an upload beside a second connection."""

        def connection(address: int) -> socket.socket:
            return stack.enter_context(
                socket.create_connection(("127.0.0.1", narrow.port), 10, source_address=(f"127.0.0.{address}", 0))
            )

        body = form(File(png(noise())))
        with contextlib.ExitStack() as stack:
            upload, _beside = connection(100), connection(100)
            upload.sendall(self.HALF % len(body) + body[:100])
            for address in range(101, 121):
                connection(address)
                new = connection(address + 50)
                start = time.monotonic()
                new.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert new.recv(100).startswith(b"HTTP/1.1 200")
                assert time.monotonic() - start < 1
            upload.sendall(body[100:])
            assert upload.recv(100).startswith(b"HTTP/1.1 200")


class TestAccess:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:8000", "LOCALHOST"])
    def test_this_machine(self, server: Served, host: str) -> None:
        assert server.ask("GET", "/healthz", Host=host).status == 200

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[", "127.0.0.1@evil"])
    def test_a_rebound_name_is_refused(self, server: Served, host: str) -> None:
        server.ask("GET", "/healthz", Host=host).assert_refused(421, "wrong-host", "this machine only")

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://["])
    def test_another_sites_page_is_refused(self, server: Served, origin: str) -> None:
        server.post("/api/predict", File(png(noise())), Origin=origin).assert_refused(403, "cross-origin")
        own = f"http://127.0.0.1:{server.port}"
        assert server.post("/api/predict", File(png(noise())), Origin=own).status == 200

    def test_a_token(self, folder: Path, network: IntegerNetwork) -> None:
        with serving(folder, token="0123456789abcdef") as served:
            assert served.ask("GET", "/").status == served.ask("GET", "/healthz").status == 200
            for given in ("", "Bearer wrong", "Bearer \u00e9", "0123456789abcdef", "Basic 0123456789abcdef"):
                reply = served.ask("GET", "/api/runs", Authorization=given)
                reply.assert_refused(401, "token")
                assert reply.headers["www-authenticate"] == "Bearer"
            for given in ("Bearer 0123456789abcdef", "bearer 0123456789abcdef"):
                assert served.ask("GET", "/api/runs", Authorization=given).status == 200

    def test_what_the_command_refuses(self, folder: Path, network: IntegerNetwork, tmp_path: Path) -> None:
        place = Place(tmp_path)
        place("serve", folder, "--host", "0.0.0.0").assert_refused("lets other machines ask", "--token is needed")
        place("serve", folder, "--token", "short").assert_refused("--token has 5 characters", "16 or more")
        for letter in "%", "%2F", "&", " ", "#", "?", "\u00e9", "\uff1d", "=a", '"', "\n":
            place("serve", folder, "--token", f"0123456789abcdef{letter}").assert_refused(
                f"--token holds {'=' if letter == '=a' else letter[0]!r}", "letters, digits"
            )
        place("serve", "none").assert_refused("none is no run or deploy folder")
        place("serve").assert_refused("runs holds no deploy folder")
        place("serve", folder, "--device", "gpu").assert_refused("device is 'gpu'", "auto, board, sim, cpu")
        place("serve", folder, "--device", "board").assert_refused("cannot run on board here", "has cpu for it")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            place("serve", folder, "--port", port).assert_refused(f"127.0.0.1:{port} cannot be used")


class TestPromises:
    def test_nothing_is_written_or_logged(
        self,
        folder: Path,
        network: IntegerNetwork,
        networks: dict[str, tuple[Path, IntegerNetwork]],
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        large = png(np.kron(noise(400), np.ones((4, 4), np.uint8)) ^ noise(1600))  # beyond any spool's size
        assert len(large) > 2 << 20
        patient = dicom_file(WindowCenter="12345.6", WindowWidth="9").replace(
            b"12345.6", b"Doe^Jan"
        )  # decoders dislike it
        with serving(folder, networks["int8"][0]) as served:
            served.ask("GET", "/healthz")
            AUDIT.clear()
            WATCH.set()
            try:
                for path in ("/api/predict", "/api/explain"):
                    assert served.post(path, File(large, "Doe-Jane.png")).status == 200
                    assert served.post(path, File(patient, "Doe-Jane.dcm")).status in (200, 422)
                    assert b"Doe" not in served.post(path, File(patient[:700], "Doe-Jane.dcm")).content
                    kind = f"multipart/form-data; boundary={BOUNDARY}"
                    served.ask("POST", path, b"garbage", Content_Type=kind).assert_refused(400, "bad-form")
                assert served.ask("POST", "/api/predict?run=int8", json.dumps([[1] * 40]).encode()).status == 200
                assert b"Doe" not in served.ask("POST", "/api/predict?run=int8", b"Doe\nJane").content
            finally:
                WATCH.clear()
        assert AUDIT == []
        said = capfd.readouterr()
        assert said.out + said.err == ""
        assert "Doe" not in caplog.text and not [r for r in caplog.records if not r.name.startswith(("PIL", "asyncio"))]

    def test_a_bug_is_one_sentence_and_its_message_is_not_logged(
        self, folder: Path, network: IntegerNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise ValueError("PatientName is Doe^Jane")

        monkeypatch.setattr("cxrflow.serve.app._result", broken)
        with serving(folder) as served:
            served.post("/api/predict", File(png(noise()))).assert_refused(500, "bug", "a bug of ours")
            assert served.ask("GET", "/healthz").status == 200
        assert "ValueError at " in caplog.text and "Doe" not in caplog.text

    def test_a_device_that_fails_is_named_and_the_others_go_on(
        self, folder: Path, network: IntegerNetwork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from contract.errors import DeviceError

        def broken(*_: Any) -> None:
            raise DeviceError("the DMA failed: nothing answers.")

        with serving(folder) as served:
            with monkeypatch.context() as patched:
                patched.setattr(Accelerator, "prepare", broken)
                served.post("/api/predict", File(png(noise()))).assert_refused(503, "device", "the DMA failed")
            assert served.post("/api/predict", File(png(noise()))).status == 200

    def test_fifty_at_once(self, folder: Path, network: IntegerNetwork) -> None:
        images = [noise(300, seed) for seed in range(50)]
        pixels = np.stack([load_pixels(png(image), height=28, width=28) for image in images])
        with serving(folder) as served, ThreadPoolExecutor(50) as pool:
            gate = threading.Barrier(50)

            def one(i: int) -> int:
                gate.wait(30)
                reply = served.post("/api/predict", File(png(images[i])))
                assert reply.status == 200, reply.content
                return int(reply.json()["results"][0]["logit"])

            assert list(pool.map(one, range(50))) == network.outputs(pixels)[-1][:, 0].tolist()

    def test_light_enough_for_a_board(self) -> None:
        code = "import sys, cxrflow.cli, cxrflow.serve.start; print(sorted({m.split('.')[0] for m in sys.modules}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for heavy in ("torch", "brevitas", "matplotlib", "pydicom", "scipy", "onnx", "lightning", "multipart.decoders"):
            assert f"'{heavy}'" not in done.stdout
        assert "'uvicorn'" in done.stdout

    def test_the_command_serves_until_interrupted(self, folder: Path, network: IntegerNetwork, tmp_path: Path) -> None:
        with Place(tmp_path).start("serve", str(folder), "--port", "0", "--token", "0123456789abcdef") as process:
            try:
                assert process.stdout is not None
                address = process.stdout.readline().strip()
                assert address.endswith("/#0123456789abcdef")
                assert "not a medical device" in process.stdout.readline()
                port = int(address.split(":")[2].split("/")[0])
                reply = Served(port).post("/api/predict", File(png(noise())), Authorization="Bearer 0123456789abcdef")
                assert reply.status == 200
            finally:
                process.send_signal(2)
            out, err = process.communicate(timeout=600)
        assert process.returncode == 0 and out == "" and err.splitlines()[-1].strip() == "Ctrl-C ends it."
