"""What stands for a registry's base image, for FINN's sources on the internet, and for Vivado and Vitis HLS."""

import hashlib
import shutil
import subprocess
import time
from pathlib import Path

from contract.files import hash_file
from tests.board.emulated import MIRROR, SUITE

BASE, SOURCES = "localhost/base", "localhost/sources"
# python:3.11-slim-bookworm is Debian with a Python of its own in /usr/local. Debian's, with its headers, stands for it:
# pip may install for the whole system, and python is on PATH by that name.
_PACKAGES = "python3,python3-dev,python3-pip,ca-certificates"
_AS_THE_REAL_ONE = (
    'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED; ln -s python3 "$1/usr/bin/python"; '
    'rm -rf "$1"/usr/share/doc "$1"/usr/share/man'
)
BASE_S = 30 * 86400.0  # after which a base is too old to stand for a new one
# What FINN's binding to Vivado's simulator compiles against: the names of UG900's "Xilinx Simulator Interface".
_XSI_H = """\
#pragma once
#include <tuple>
typedef void *xsiHandle;
typedef int XSI_INT32;
typedef unsigned XSI_UINT32;
typedef long long XSI_INT64;
typedef struct { XSI_UINT32 aVal, bVal; } s_xsi_vlog_logicval, *p_xsi_vlog_logicval;
typedef struct t_xsi_setup_info { char *logFileName, *wdbFileName; } s_xsi_setup_info, *p_xsi_setup_info;
enum { xsiNormal, xsiError, xsiFatalError };
enum { xsiNumTopPorts, xsiTimePrecisionKernel, xsiDirectionTopPort, xsiHDLValueSize, xsiNameTopPort };
enum { xsiInputPort = 1, xsiOutputPort, xsiInoutPort };
typedef xsiHandle (*t_fp_xsi_open)(p_xsi_setup_info);
typedef void (*t_fp_xsi_close)(xsiHandle);
typedef void (*t_fp_xsi_run)(xsiHandle, XSI_INT64);
typedef void (*t_fp_xsi_restart)(xsiHandle);
typedef void (*t_fp_xsi_trace_all)(xsiHandle);
typedef int (*t_fp_xsi_get_status)(xsiHandle);
typedef const char *(*t_fp_xsi_get_error_info)(xsiHandle);
typedef int (*t_fp_xsi_get_int)(xsiHandle, int);
typedef int (*t_fp_xsi_get_port_number)(xsiHandle, const char *);
typedef int (*t_fp_xsi_get_int_port)(xsiHandle, int, int);
typedef const char *(*t_fp_xsi_get_str_port)(xsiHandle, int, int);
typedef void (*t_fp_xsi_get_value)(xsiHandle, int, void *);
typedef void (*t_fp_xsi_put_value)(xsiHandle, int, void *);
"""


def write_base(out: Path) -> None:
    """Write a base image's root file system as a tar file, whole or not at all, if it is not there as it would be.

    Beside it lies the hash of what it was made of and of the file, which is written last.
    """
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", f"--include={_PACKAGES}"]
    command += [f"--customize-hook={_AS_THE_REAL_ONE}", SUITE]
    seal, partial = out.with_suffix(".seal"), out.with_suffix(".partial")
    fresh = out.is_file() and seal.is_file() and time.time() - out.stat().st_mtime < BASE_S
    if fresh and seal.read_text() == _seal(command, out):
        return
    partial.unlink(missing_ok=True)
    subprocess.run([*command, str(partial), MIRROR], check=True)
    seal.unlink(missing_ok=True)
    partial.replace(out)
    seal.write_text(_seal(command, out))


def _seal(command: list[str], file: Path) -> str:
    return hashlib.sha256(repr((command, MIRROR, hash_file(file))).encode()).hexdigest()


def write_sources(listed: Path, out: Path) -> None:
    """Write what docker/fetch.sh would leave for a list, a file in every folder."""
    for line in listed.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            folder = out / "opt" / "finn_deps" / line.split()[0]
            folder.mkdir(parents=True)
            (folder / "stand-in.txt").write_text(f"in place of {line}\n")


def write_xilinx(root: Path) -> None:
    """Write empty installations whose programs say that they were called, and fail."""
    shutil.rmtree(root, ignore_errors=True)
    for tool, variable, program in (("Vivado", "XILINX_VIVADO", "vivado"), ("Vitis_HLS", "XILINX_HLS", "vitis_hls")):
        folder = root / tool / "2022.2"
        (folder / "bin").mkdir(parents=True)
        # As the vendor's: it names its own folder, and ends in an error for a product that is not installed.
        (folder / "settings64.sh").write_text(
            f'export {variable}={folder}\nexport PATH="{folder}/bin:$PATH"\nsource {root}/DocNav/settings64.sh\n'
        )
        said = f"ERROR: [Stand-in 1-1] {program} $* was called in $(pwd) by $(id -u)"
        (folder / "bin" / program).write_text(f'#!/bin/sh\necho "{said}" | tee {program}.log >&2\nexit 1\n')
        (folder / "bin" / program).chmod(0o755)
    include = root / "Vivado" / "2022.2" / "data" / "xsim" / "include"
    include.mkdir(parents=True)
    (include / "xsi.h").write_text(_XSI_H)
