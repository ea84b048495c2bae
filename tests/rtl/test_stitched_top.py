"""Whole designs as a DMA sees them: small networks, from export to AXI-Stream, with cocotbext-axi at both ends."""

import shutil
from pathlib import Path

import pytest

from contract.golden import load_golden
from contract.npz import save_npz
from finn_build.build import build
from finn_build.config import BuildConfig
from finn_build.stitch import TOP, load_design
from tests.random_networks import export_random, small_spec
from tests.rtl.verilator_env import program

NETWORKS: dict[str, tuple[object, object]] = {"W1A1": (1, 1), "W8A8": (8, 8), "mixed": ((8, 1, 4), (1, 4))}


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_the_stream_keeps_its_images_and_its_rules(network: str, tmp_path: Path) -> None:
    weight_bits, act_bits = NETWORKS[network]
    export_random(tmp_path / "export", small_spec(weight_bits, act_bits, (8, 4)), count=10)
    build(tmp_path / "export", tmp_path / "build", BuildConfig(target_fps=2_000_000), lambda _: None)
    rtl, sim = tmp_path / "build" / "rtl", tmp_path / "sim"
    shutil.copytree(rtl, sim)  # memory files are read from where the simulation runs
    golden = load_golden(tmp_path / "export" / "golden.npz")
    assert not golden.pixels[0].any() and (golden.pixels[1] == 255).all()
    save_npz(sim / "images.npz", {"pixels": golden.pixels, "logits": golden.logits})
    sources = [sim / name for name in load_design(rtl).sources]
    assert program(sources, TOP, "stitched_bench", sim).failures() == 0
