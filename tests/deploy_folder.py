"""A small deploy folder for tests, without training or building anything."""

import hashlib
from pathlib import Path
from typing import Any

from contract.manifest import DISCLAIMER, SCHEMA, Decision, Hardware, Manifest, Stream, save_manifest
from contract.network import IntegerNetwork, save_network
from contract.npz import save_npz
from contract.preprocess import describe
from tests.random_networks import random_integer_network, random_pixels

LANES = 4  # pixels per beat


def write_deploy(out: Path, network: IntegerNetwork | None = None, **changes: Any) -> IntegerNetwork:
    """Write a deploy folder of `network`, or of a random one of 28 x 28 pixels; return the network.

    `changes` replaces fields of the manifest.
    """
    network = network or random_integer_network([16, 8], [15, 15], height=28, width=28, seed=3)
    height, width = network.height, network.width
    out.mkdir(parents=True, exist_ok=True)
    pixels = random_pixels(30, height=height, width=width)
    logits = network.outputs(pixels)[-1][:, 0]
    save_network(out / "reference.npz", network)
    save_npz(out / "golden.npz", {"pixels": pixels, "logits": logits})
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "name": out.name,
        "disclaimer": DISCLAIMER,
        "class_names": ["NORMAL", "PNEUMONIA"],
        "preprocessing": describe(),
        "height": height,
        "width": width,
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
