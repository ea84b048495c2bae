"""The RTL against the golden integers: simulate every image, compare all of them, record what was measured.

`simulate_network` takes an integer network and golden images, `simulate_build` reads them from an export folder.
"""

import contextlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import MismatchError
from contract.golden import Golden, load_golden
from contract.network import IntegerNetwork, load_network
from contract.record import read_record
from finn_build import diagnose
from finn_build.chain import Report
from finn_build.measure import measure
from finn_build.records import Built, Estimates
from finn_build.simulate import Progress, Share, simulate, simulating, stalled_shares, verilate
from finn_build.stitch import Design, load_design
from finn_build.wave import vcd_to_fst

WAVE_IMAGES = 3


def simulate_build(
    build_dir: Path,
    export: Path,
    out: Path,
    report: Report,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Simulate the design in `build_dir` on the golden images of the folder `export`; see `simulate_network`."""
    golden, network = load_golden(export / "golden.npz"), load_network(export / "reference.npz")
    return simulate_network(build_dir, network, golden, out, report, progress=progress)


def simulate_network(
    build_dir: Path,
    network: IntegerNetwork,
    golden: Golden,
    out: Path,
    report: Report,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Verilate the design in `build_dir`, stream every golden image through it, without a gap and with stalls,
    and compare every integer.

    Writes `sim.json` and the program `harness` into the new folder `out`; returns what sim.json holds.

    Raises:
        MismatchError: an integer differs; names the layer.
        ToolError: g++, make, perl or Verilator is missing.
    """
    summary = read_record(build_dir / "build.json", Built)
    estimates = read_record(build_dir / "estimates.json", Estimates)
    rtl, images = build_dir / "rtl", len(golden.outputs)
    out.mkdir(parents=True)
    start = time.perf_counter()
    report("compiling the simulator")
    design, harness = compile_simulator(build_dir, images, out / "verilator")
    compile_seconds = time.perf_counter() - start
    report(f"simulating {images} images, without a gap and with random stalls")
    shares = [Share(0, images, stall_seed=None), *stalled_shares(images)]
    with simulating(harness, rtl, design, golden.pixels, shares) as (plain, *stalled):
        result = plain(progress)
        require_rtl_equal(result.outputs, golden, network, rtl, design, out, stage="RTL")
        outputs = np.concatenate([ended(None).outputs for ended in stalled])
        require_rtl_equal(outputs, golden, network, rtl, design, out, stage="RTL with random stalls")
    measured = measure(result, design, estimates, clk_ns=summary.clk_ns)
    for remark in measured["remarks"]:
        report(remark)
    content = {
        "images": images,
        "differing": 0,
        "images_with_random_stalls": len(outputs),
        "compile_seconds": compile_seconds,
        **measured,
    }
    (out / "sim.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    harness.rename(out / "harness")  # the simulated device runs it again
    shutil.rmtree(out / "verilator")
    return content


def compile_simulator(build_dir: Path, images: int, folder: Path) -> tuple[Design, Path]:
    """Return the design in `build_dir`, and the program in the new `folder` that simulates so many images of it twice.

    Raises:
        ToolError: a tool is missing, or it refuses the design.
    """
    rtl = build_dir / "rtl"
    design = load_design(rtl)
    estimates = read_record(build_dir / "estimates.json", Estimates)
    cycles = 3 * estimates.cycles_per_image * images  # of those with stalls, about half are stalled
    return design, verilate(rtl, design, folder, cycles=cycles)


def write_wave(
    rtl: Path, design: Design, pixels: NDArray[Any], wave: Path, scratch: Path, *, stall_seed: int | None = None
) -> None:
    """Simulate a few (N, ...) images and write every signal to the FST file `wave`, also of a design that stops."""
    try:
        harness = verilate(rtl, design, scratch, wave=True)
        with contextlib.suppress(MismatchError):  # what stops is what one looks at a waveform for
            simulate(harness, rtl, design, pixels, wave=scratch / "wave.vcd", stall_seed=stall_seed)
        wave.parent.mkdir(parents=True, exist_ok=True)
        vcd_to_fst(scratch / "wave.vcd", wave)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def require_rtl_equal(
    got: NDArray[np.int64],
    golden: Golden,
    network: IntegerNetwork,
    rtl: Path,
    design: Design,
    out: Path,
    *,
    stage: str,
) -> None:
    """Stop unless a simulation of the golden images gave their integers; names the layer.

    Args:
        got: (N, K) what the simulation gave.
        golden: the images, and what they must give.
        network: what the hardware computes.
        rtl: what `stitch` wrote.
        design: what `stitch` returned.
        out: folder for the simulation that finds the layer; `mismatch/` in it gets that layer's two tensors.
        stage: what people call what was simulated.

    Raises:
        MismatchError: an integer differs.
    """
    want = golden.outputs
    if np.array_equal(got, want):
        return
    image = golden.pixels[diagnose.first_wrong_image(got, want)]
    dumping = verilate(rtl, design, out / "dump", dump=True)
    # The dumps are written where the simulation runs, so it runs in a copy.
    folder = out / "dump_rtl"
    shutil.copytree(rtl, folder)
    simulate(dumping, folder, design, image[None])
    layer = diagnose.name_first_wrong_layer(
        diagnose.rtl_activations(folder, design.nodes), network, image, out / "mismatch"
    )
    try:
        diagnose.require_equal(got, want, stage=stage)
    except MismatchError as err:
        raise MismatchError(f"{err} {layer}") from None
