"""A small deploy folder for tests, without training or building anything."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decision import Decision, choice, with_points
from contract.likeness import FILE, Likeness
from contract.manifest import DISCLAIMER, SCHEMA, Hardware, Manifest, Stream, load_manifest, save_manifest
from contract.network import Dense, Input, IntegerNetwork, save_network
from contract.npz import save_npz
from contract.preprocess import describe
from tests.integer_networks import random_integer_network, random_pixels

LANES = 4  # pixels per beat


def lively_network(seed: int) -> IntegerNetwork:
    """A random network of 28 x 28 pixels whose activations and logits differ from image to image."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-128, 128, (16, 784)).astype(np.int8)
    accumulators = random_pixels(200, height=28, width=28).reshape(200, -1).astype(np.int64) @ weights.T.astype(
        np.int64
    )
    thresholds = np.sort(np.quantile(accumulators, np.arange(1, 16) / 16, axis=0).T.astype(np.int64), axis=1)
    last = Dense(rng.integers(-128, 128, (1, 16)).astype(np.int8), None)
    return IntegerNetwork(Input(28, 28), (Dense(weights, thresholds), last))


def write_deploy(out: Path, network: IntegerNetwork | None = None, *, seed: int = 3, **changes: Any) -> IntegerNetwork:
    """Write a deploy folder of `network`, or of a lively one; return the network.

    `changes` replaces fields of the manifest.
    """
    network = network or lively_network(seed)
    height, width = network.input.height, network.input.width
    out.mkdir(parents=True, exist_ok=True)
    pixels = random_pixels(30, height=height, width=width)
    outputs = network.outputs(pixels)[-1]
    save_network(out / "reference.npz", network)
    save_npz(out / "golden.npz", {"pixels": pixels, "outputs": outputs})
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "name": out.name,
        "disclaimer": DISCLAIMER,
        "class_names": ["NORMAL", "PNEUMONIA"],
        "preprocessing": describe(),
        "height": height,
        "width": width,
        "channels": 1,
        "datatype": "uint8",
        "outputs": 1,
        "decision": Decision(
            scale=1 / 256,
            offset=-0.5,
            threshold=128,
            rule="even odds",
            operating_points={"balanced": 128, "sensitivity_95": -400},
        ),
        "hardware": Hardware(
            shell=None,
            board="pynq-z2",
            part="xc7z020clg400-1",
            clock_mhz=100.0,
            input=Stream([height, width], "uint8", [height * width // LANES, LANES], height * width, 8 * LANES),
            output=Stream([1], "int32", [1, 1], 4, 32),
            dma={},
            cycles_per_image=height * width // LANES,
        ),
        "sha256": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.glob("*.npz"))},
        "versions": {},
        "provenance": {"network": "random"},
    }
    save_manifest(out / "accelerator.json", Manifest(**(fields | changes)))
    return network


def write_classes(out: Path, names: list[str], *, seed: int = 3, **changes: Any) -> IntegerNetwork:
    """Write a deploy folder of a network that tells so many classes apart; return the network.

    `changes` replaces fields of the manifest. With `head` it is an imported one, which has neither names nor decision.
    """
    hidden, count = lively_network(seed).layers[0], len(names)
    rng = np.random.default_rng(seed + 1)
    network = IntegerNetwork(Input(28, 28), (hidden, Dense(rng.integers(-128, 128, (count, 16)).astype(np.int8), None)))
    usual = network.outputs(random_pixels(200, height=28, width=28))[-1].mean(axis=0)
    offsets = (-usual / 256).tolist()  # so that each class is the answer now and then
    decision = with_points(choice([1 / 256] * count, offsets, rule="the most probable"), 1, {"careful": -2.5})
    write_deploy(out)
    hardware = load_manifest(out / "accelerator.json").hardware
    assert hardware is not None
    several = replace(hardware, output=Stream([count], "int32", [count, 1], 4 * count, 32))
    fields: dict[str, Any] = {"class_names": names, "decision": decision, "outputs": count, "hardware": several}
    imported: dict[str, Any] = {"class_names": [], "decision": None} if "head" in changes else {}
    write_deploy(out, network, **(fields | imported | changes))
    return network


def write_likeness(folder: Path, images: NDArray[np.uint8]) -> Likeness:
    """Say in a deploy folder that training images look like these, (N, H, W), which vary like noise; return it."""
    mean = np.rint(images.mean(axis=0)).astype(np.uint8)
    none = np.zeros((0, *mean.shape), dtype=np.int16), np.zeros(0, dtype=np.int64)
    _, beyond = zip(*Likeness(mean, *none, np.ones(3, dtype=np.int64)).measures(images), strict=True)
    likeness = Likeness(mean, *none, np.array([1, min(beyond), max(beyond)], dtype=np.int64))
    likeness.save(folder / FILE)
    manifest = load_manifest(folder / "accelerator.json")
    known = {**manifest.sha256, FILE: hashlib.sha256((folder / FILE).read_bytes()).hexdigest()}
    save_manifest(folder / "accelerator.json", replace(manifest, sha256=known))
    return likeness


def write_integers(
    folder: Path, source: Input, lanes: int, *, outputs: int, result_bits: int, **changes: Any
) -> IntegerNetwork:
    """Write a deploy folder of a random network that reads `source` and gives several integers; return the network.

    Args:
        folder: of the deploy.
        source: what is read.
        lanes: values per beat.
        outputs: K.
        result_bits: of one result on the stream.
        changes: fields of the manifest, in the place of those that follow from these.
    """
    network = random_integer_network([9], [7], seed=source.size, source=source, outputs=outputs, reach=3)
    write_deploy(folder)
    images = source.values.random(np.random.default_rng(0), (20, *source.shape))
    save_network(folder / "reference.npz", network)
    save_npz(folder / "golden.npz", {"pixels": images, "outputs": network.outputs(images)[-1]})
    path = folder / "accelerator.json"
    plain = load_manifest(path)
    assert plain.hardware is not None
    beats, beat_bytes = source.size // lanes, source.values.beat_bytes(lanes)
    hardware = replace(
        plain.hardware,
        input=Stream(list(source.shape), source.datatype, [beats, lanes], beats * beat_bytes, 8 * beat_bytes),
        output=Stream([outputs], "int32", [outputs, 1], outputs * result_bits // 8, result_bits),
    )
    manifest = replace(
        plain,
        class_names=[],
        decision=None,
        height=source.height,
        width=source.width,
        channels=source.channels,
        datatype=source.datatype,
        outputs=outputs,
        hardware=hardware,
        sha256={p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.npz")},
    )
    save_manifest(path, replace(manifest, **changes))
    return network
