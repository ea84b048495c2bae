"""A small deploy folder for tests, without training or building anything."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from contract.decision import Decision
from contract.manifest import DISCLAIMER, SCHEMA, Hardware, Manifest, Stream, save_manifest
from contract.network import Dense, Input, IntegerNetwork, save_network
from contract.npz import save_npz
from contract.preprocess import describe
from tests.integer_networks import random_pixels

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
