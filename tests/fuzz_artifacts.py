"""Hostile artifacts through their readers: what stages leave, what people write, and what they are given by others.

    python -m tests.fuzz_artifacts 10000      # `make fuzz`; it makes a small run first

Everything begins as a whole file of that run, and is damaged where its format has a meaning: values, keys and nesting
of JSON and YAML, members of an archive under right checksums, lengths in a header. What vouches for a file by its hash
is forged along with it, so that the hash is not all that is ever tested.
"""

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml

from contract import likeness
from contract.decision import choice, with_points
from contract.errors import DataError
from contract.files import read_json
from contract.golden import load_labelled
from contract.inputs import Fed, read_inputs
from contract.manifest import load_manifest
from contract.network import load_network
from contract.npz import load_npz
from contract.quantizer import InputRule
from contract.record import read_record
from cxrflow import summary
from cxrflow.experiment import load_experiment
from cxrflow.report import view
from cxrflow.report.facts import RECORDS, collect
from cxrflow.runs import read_stamp
from cxrflow.serve.devices import Fleet
from cxrflow.sweep.spec import load_sweep
from driver.accelerator import Accelerator
from driver.reference import Reference
from finn_build.folding_file import read_folding
from finn_build.hardware_graph import hardware_graph
from finn_build.stitch import load_design
from finn_build.targets.boards import load_boards
from finn_build.witness import load_onnx
from qnn.checkpoint import load_checkpoint
from qnn.records import read_history
from tests.cxrflow.conftest import Place, call_all, draw_xrays
from tests.fuzzing import Content, Target, main, mutated
from tests.value_files import files_of_signs

REPOSITORY = Path(__file__).parents[1]
BOARD = "build/pynq-z2"
DEPLOY = "deploy/pynq-z2"
DEEP = 100_000
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 255, 2**31, -(2**31) - 1, 2**53, 2**63, -(2**63), 10**100, 10**399, 0.5, -0.0,
    1e-300, 1e308, float("inf"), float("nan"), "", "x", "0", "-1", "nan", "x" * 301, "x" * 100_000, "\ud800", "\0",
    "\u202e", "../..", "/dev/zero", "a/" * 3000, "%s{0}", "<b>", [], {}, [[]], [None], {"": {}}, [0] * 1000,
    {str(i): i for i in range(1000)},
]  # fmt: skip
TEXTS = [  # of JSON that no dict can be written as
    b"[" * DEEP, b'{"a":' * DEEP, b"[" * 40 + b"]" * 40, b"[" * 600 + b"]" * 600, b"9" * DEEP, b"-" + b"9" * 4000,
    b"1e999999999", b"NaN", b'"\\ud800"', b'{"a":1,"a":2}', b" " * (5 << 20), b"[" + b"{}," * 300_000 + b"{}]",
    b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"",
]  # fmt: skip
LINES = [  # of YAML
    "a: &a [x, x]", "b: *a", "<<: *a", "<<: {name: x}", "name: twice", "? [a, b]\n: c", "? {a: b}\n: c",
    "? !!set {a}\n: c", "x: !!python/object/apply:os.system [ls]", "x: !!binary '////'", "x: !!binary a",
    "x: 0000-00-00", "x: 2001-12-14t21:59:43.10-99:99", "x: 0x" + "f" * 5000, "x: " + "9" * 5000,
    "x: " + "1:" * 5000 + "1", "x: 0b" + "1" * 20_000, "x: .inf", "x: 1e999", "\t", "- a", "x: " + "[" * 3000,
    "x: " + "{a: " * 300 + "1" + "}" * 300, "x: |\n  " + "y" * 50_000, "--- a", "...", "%YAML 9.9", "x: !!omap [a]",
    "x: !!timestamp a", "x: !!float a", 'x: "\\ud800"', "\n".join(f"k{i}: 1" for i in range(2000)),
    "{" + "a: 1, " * 2000 + "}", "lol: [&1 [x], &2 [*1, *1], &3 [*2, *2]]", "x: " + "- " * 2000, "? " * 2000,
    "!" * 3000, "&" * 3000, "x: '" + "\n" * 5000 + "'",
]  # fmt: skip


def damaged(rng: Random, value: Any) -> Any:
    """Return a copy of nested `value` with one thing changed."""
    copy = json.loads(json.dumps(value))
    holders: list[Any] = []
    found = [copy]
    while found:
        one = found.pop()
        if isinstance(one, dict | list) and one:
            holders.append(one)
            found += one.values() if isinstance(one, dict) else one
    if not holders:
        return rng.choice(VALUES)
    holder = rng.choice(holders)
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match rng.choice(["set", "set", "set", "drop", "grow", "swap", "nest", "add"]):
        case "set":
            holder[key] = rng.choice(VALUES)
        case "drop":
            del holder[key]
        case "grow" if isinstance(holder[key], list) and holder[key]:
            holder[key] = holder[key] * rng.choice([2, 10, 2000])
        case "grow" if isinstance(holder[key], int | float):
            holder[key] = rng.choice([holder[key] + 1, -holder[key], holder[key] * 1000, str(holder[key])])
        case "swap":
            other = rng.choice(rng.choice([list(one.values()) if isinstance(one, dict) else one for one in holders]))
            holder[key] = json.loads(json.dumps(other))
        case "nest":
            for _ in range(rng.choice([1, 60, 400])):
                holder[key] = [holder[key]]
        case _ if isinstance(holder, dict):
            holder[rng.choice(["", "extra", "\ud800", "x" * 10_000, "a.b", "__class__"])] = rng.choice(VALUES)
    return copy


def damaged_json(rng: Random, content: bytes) -> bytes:
    """Return a JSON file with things changed."""
    if rng.random() < 0.03:
        return rng.choice(TEXTS)
    value = json.loads(content)
    text = content
    for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
        if len(text) < 300_000:
            try:
                value = damaged(rng, value)
                text = json.dumps(value).encode()
            except RecursionError:  # nested more deeply than Python writes; TEXTS has such
                break
    if rng.random() < 0.05:
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(TEXTS)[:200_000] + text[at:]
    return mutated(rng, text) if rng.random() < 0.2 else text


def damaged_yaml(rng: Random, content: bytes) -> bytes:
    """Return a YAML file with things changed."""
    value: Any = yaml.safe_load(content)
    for _ in range(rng.choice([0, 1, 1, 2])):
        value = damaged(rng, value)
    try:
        lines = yaml.safe_dump(value, sort_keys=False, allow_unicode=rng.random() < 0.5).splitlines()
    except Exception:  # a value that YAML cannot write
        lines = content.decode().splitlines()
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(LINES))
    text = "\n".join(lines).encode(errors="surrogatepass")
    return mutated(rng, text) if rng.random() < 0.2 else text


def damaged_zip(rng: Random, content: bytes) -> bytes:
    """Return an archive whose bytes are damaged, or one member of it, under checksums that are right."""
    if rng.random() < 0.3:
        return mutated(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    chosen = rng.randrange(len(members))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for at, (info, data) in enumerate(members):
            name, how = info.filename, info.compress_type
            if at == chosen:
                match rng.choice(["damage", "damage", "damage", "value", "value", "drop", "rename", "pack", "zeros"]):
                    case "drop":
                        continue
                    case "rename":
                        name = rng.choice([members[0][0].filename, "x.npy", "../x", "x" * 5000, "a/data.pkl"])
                    case "pack":
                        how = rng.choice(
                            [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
                        )
                    case "zeros":
                        how, data = zipfile.ZIP_DEFLATED, data + bytes(rng.choice([1, 1 << 10, 4 << 20]))
                    case "value" if name.endswith(".npy"):
                        data = with_a_value(rng, data)
                    case _:
                        data = with_numbers(rng, data) if rng.random() < 0.5 else mutated(rng, data)
            archive.writestr(name, data, how)
    whole = stream.getvalue()
    return mutated(rng, whole) if rng.random() < 0.1 else whole


def with_a_value(rng: Random, data: bytes) -> bytes:
    """Return an array of integers with one of them another: near it, or at an end of what 64 bits or layers hold."""
    array = np.load(io.BytesIO(data))
    if array.dtype.kind not in "iu" or not array.size:
        return data
    at, info = rng.randrange(array.size), np.iinfo(array.dtype)
    value = int(array.flat[at])
    power = 1 << rng.randrange(64)
    others = [value + 1, value - 1, -value, 0, -1, 2 * value, power, -power, power - 1, info.min, info.max]
    array.flat[at] = min(max(rng.choice(others), info.min), info.max)
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def with_numbers(rng: Random, data: bytes) -> bytes:
    """Return `data` with one decimal number in its text replaced, such as a length in a header."""
    places = [at for at in range(min(len(data), 2000)) if data[at : at + 1].isdigit()]
    if not places:
        return data
    at = rng.choice(places)
    end = at
    while data[end : end + 1].isdigit():
        end += 1
    number = rng.choice([b"0", b"1", b"-1", b"7", b"65536", b"4294967296", b"1099511627776", b"9" * 30, b"9" * 5000])
    return data[:at] + number + data[end:]


FED = (Fed("float", (1, 2, 3)), Fed("bipolar", (6,)), Fed("uint8", (6,)))


def damaged_values(rng: Random) -> bytes:
    """Return a file of values with things changed."""
    array, archive, nested, text = files_of_signs()
    match rng.randrange(4):
        case 0:
            return with_numbers(rng, array) if rng.random() < 0.5 else mutated(rng, array)
        case 1:
            return damaged_zip(rng, archive)
        case 2:
            return damaged_json(rng, nested)
    return mutated(rng, with_numbers(rng, text))


def take_values(path: Path) -> None:
    """What is accepted is what a network is fed, whichever way it was given; what is refused is quoted nowhere."""
    for fed in FED:
        try:
            found = read_inputs(path, fed, name="x")
        except DataError:
            continue
        rule = InputRule(fed.reads, "uint2", 0, ((0.5, 1.5),))
        assert found.shape[1:] == fed.shape and len(found) and rule.fits(found) and found.dtype == fed.dtype
        np.testing.assert_array_equal(found, read_inputs(path.read_bytes(), fed, name="x"))
        rule(found)


def forged(files: dict[str, bytes]) -> dict[str, bytes]:
    """Let the stamps and the manifest vouch for what is there, and for nothing else."""
    made = dict(files)
    for name in sorted(files, key=lambda name: (-name.count("/"), name)):  # inner ones first, a stamp last
        folder, slash, last = name.rpartition("/")
        inside = folder + slash
        hashes = {
            other.removeprefix(inside): hashlib.sha256(data).hexdigest()
            for other, data in made.items()
            if other.startswith(inside) and other != name
        }
        field = {"stage.json": "files", "accelerator.json": "sha256"}.get(last)
        try:
            content = json.loads(made[name]) if field else None
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict) and isinstance(content.get(str(field)), dict):
            content[str(field)] = {key: value for key, value in hashes.items() if key in content[str(field)]}
            made[name] = json.dumps(content).encode()
    return made


def make_run(folder: Path) -> Path:
    """Make a small run, all of it; return its folder."""
    place = Place(folder)
    draw_xrays(folder / "xrays")
    place.experiment(data={"source": str(folder / "xrays")})
    call_all(place, ["train", "export", "build", "simulate", "synth", "package"])
    return place.run


def of_three(manifest: bytes) -> bytes:
    """Return an accelerator.json of three classes, made of one of a logit."""
    content = json.loads(manifest)
    chosen = with_points(choice([0.1, 0.2, 0.3], [0.0, 1.0, -1.0], rule="test"), 1, {"second": 0.5})
    content |= {"outputs": 3, "class_names": ["a", "b", "c"], "decision": asdict(chosen)}
    if content["hardware"] is not None:
        content["hardware"]["output"] |= {"shape": [3], "folded_shape": [3, 1], "packed_bytes": 12}
    return json.dumps(content).encode()


def targets(run: Path) -> list[Target]:
    """Return all targets, whose files are those of a finished run."""

    def read(name: str) -> bytes:
        return (run / name).read_bytes()

    def one(
        name: str, file: str, content: bytes, damage: Callable[[Random, bytes], bytes], feed: Callable[[Path], object]
    ) -> Target:
        return Target(name, lambda rng: {file: damage(rng, content)}, lambda folder: feed(folder / file))

    shipped = ("accelerator.json", "reference.npz", "golden.npz", likeness.FILE)
    of_deploy = {name: read(f"{DEPLOY}/{name}") for name in shipped}
    side = load_experiment(run / "experiment.yaml").network.height
    small = [path for path in run.rglob("*") if path.suffix in (".json", ".yaml", ".csv") or path.name == "golden.npz"]
    of_run = {str(path.relative_to(run.parent)): path.read_bytes() for path in small}
    damages = {".json": damaged_json, ".yaml": damaged_yaml, ".npz": damaged_zip}

    def some(files: dict[str, bytes], rng: Random) -> Content:
        name = rng.choice(sorted(files))
        return forged({**files, name: damages.get(Path(name).suffix, mutated)(rng, files[name])})

    records = [(file, kind, of_run[found]) for _, _, file, kind in RECORDS
               if (found := next((name for name in of_run if name.endswith(f"/{file}")), ""))]  # fmt: skip
    graph = hardware_graph(load_network(run / "export" / "reference.npz"))
    sweeps = [path.read_bytes() for path in sorted((REPOSITORY / "experiments").glob("sweep*.yaml"))]
    plain, boards = read("experiment.yaml"), (REPOSITORY / "finn_build" / "targets" / "boards.toml").read_bytes()

    def record(rng: Random) -> Content:
        file, _, content = rng.choice(records)
        return {Path(file).name: damaged_json(rng, content)}

    def read_its_record(folder: Path) -> None:
        (path,) = folder.iterdir()
        read_record(path, next(kind for file, kind, _ in records if Path(file).name == path.name))

    def use(folder: Path) -> None:
        fleet = Fleet([folder], ["cpu"])
        fleet.close()
        with Accelerator(folder, "cpu") as accelerator:
            accelerator.prepare()

    def infer(path: Path) -> None:
        """What is accepted gives the same integers by definition, on the CPU reference, and by thresholds alone."""
        network = load_network(path)
        images = network.input.values.random(np.random.default_rng(0), (5, *network.input.shape))
        images[0] = network.input.values.high  # type: ignore[call-overload]
        counted = replace(network, layers=tuple(replace(layer, requantization=None) for layer in network.dense))
        want = network.outputs(images)[-1]
        assert (Reference(network).outputs(images) == want).all() and (counted.outputs(images)[-1] == want).all()

    def show(folder: Path) -> None:
        facts = collect(folder / run.name)
        if facts.deployed is not None:
            summary.result_row(facts)
        view.page(facts)

    def sweep(rng: Random) -> Content:
        return {"sweep.yaml": damaged_yaml(rng, rng.choice(sweeps)), "w8a8.yaml": plain}

    def measure(path: Path) -> None:
        found = likeness.load_likeness(path, height=side, width=side)
        found.unlikeness(np.full((2, side, side), 255, dtype=np.uint8))

    return [
        one("npz", "a.npz", of_deploy["golden.npz"], damaged_zip, load_npz),
        Target("values", lambda rng: {"x": damaged_values(rng)}, lambda folder: take_values(folder / "x")),
        one("reference.npz", "reference.npz", of_deploy["reference.npz"], damaged_zip, infer),
        one("golden.npz", "golden.npz", read("export/golden.npz"), damaged_zip, load_labelled),
        one(likeness.FILE, likeness.FILE, of_deploy[likeness.FILE], damaged_zip, measure),
        one("accelerator.json", "accelerator.json", of_deploy["accelerator.json"], damaged_json, load_manifest),
        one("accelerator.json-of-three", "accelerator.json", of_three(of_deploy["accelerator.json"]), damaged_json,
            load_manifest),
        Target("deploy-folder", lambda rng: some(of_deploy, rng), use),
        one("checkpoint.pt", "checkpoint.pt", read("train/checkpoint.pt"), damaged_zip, load_checkpoint),
        one("model.onnx", "model.onnx", read("export/model.onnx"), mutated, load_onnx),
        one("folding.json", "folding.json", read(f"{BOARD}/folding.json"), damaged_json,
            lambda path: read_folding(graph, path)),
        one("design.json", "rtl/design.json", read(f"{BOARD}/rtl/design.json"), damaged_json,
            lambda path: load_design(path.parent)),
        one("stage.json", "stage.json", read("train/stage.json"), damaged_json, lambda path: read_stamp(path.parent)),
        one("json", "a.json", read("train/metrics.json"), damaged_json, lambda path: read_json(path, advice="")),
        one("history.csv", "history.csv", read("train/history.csv"), mutated, read_history),
        Target("records", record, read_its_record),
        Target("run-folder", lambda rng: some(of_run, rng), show),
        one("experiment.yaml", "experiment.yaml", plain, damaged_yaml, load_experiment),
        Target("sweep.yaml", sweep, lambda folder: load_sweep(folder / "sweep.yaml")),
        one("boards.toml", "boards.toml", boards, mutated, load_boards),
    ]  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)  # its threads do not survive a fork
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        main(targets(make_run(Path(scratch))))
