"""A binary network with binary pixels, at FINN's SFC-max interval: 784-256-256-256-1 at 16 cycles per image.

    python -m benchmarks.bipolar_pixels [--cache runs/.cache/synth]

The product sends 8-bit pixels, 98 cycles per image on a PYNQ-Z2. FINN's SFC-max (Umuroglu et al., FPGA 2017) has 1-bit
pixels and reports 12.3 M images/s at 200 MHz, about 16 cycles, on 91,131 LUTs of a ZC706. Prints what Yosys makes of
our layers at 16 cycles: synthesis of each layer, no routing, no clock claimed. Exit code 1 if it is more than SFC-max.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.synthesis import library, lut_mvau, unit
from finn_build.synth import synthesise_units
from finn_build.targets.boards import BOARDS

SFC_MAX_LUT = 91_131
FAMILY = BOARDS["pynq-z2"].yosys_family
LAYERS = ((784, 256, 128, 98), (256, 256, 16, 256), (256, 256, 16, 256), (256, 1, 1, 16))  # MW, MH, PE, SIMD


def main() -> int:
    """Print a row per layer; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("runs/.cache/synth"))
    options = parser.parse_args()
    sources = library()
    cases = [lut_mvau(f"pixels{i}", FAMILY, *layer, 1, 1, "distributed") for i, layer in enumerate(LAYERS)]
    units = [unit(case, f"pixels{i}", sources) for i, case in enumerate(cases)]
    scratch = Path(tempfile.mkdtemp())
    try:
        found = synthesise_units(units, family=FAMILY, scratch=scratch / "yosys", cache=options.cache)
    finally:
        shutil.rmtree(scratch)
    for (mw, mh, pe, simd), usage in zip(LAYERS, found, strict=True):
        cycles = mw // simd * (mh // pe)
        print(f"{mw}x{mh} PE {pe} SIMD {simd}: {cycles} cycles, {usage.lut:,} LUT, {usage.bram18_equivalents} BRAM18")
    total = sum(usage.lut for usage in found)
    print(f"together {total:,} LUT, {total / SFC_MAX_LUT:.2f} of SFC-max's {SFC_MAX_LUT:,}")
    return int(total > SFC_MAX_LUT)


if __name__ == "__main__":
    sys.exit(main())
