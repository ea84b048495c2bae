"""From a project to checked results: run Vivado where it is, take what it left elsewhere, or say what to run there."""

import contextlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import CxrflowError, ToolError, VendorToolError
from finn_build.flows.vivado.collect import belongs, collect_bitstream, collect_synthesis
from finn_build.flows.vivado.run import NEWEST, OLDEST, Say, command_line, find_vivado, run_vivado


@dataclass(frozen=True)
class _Job:
    """One script of a project."""

    name: str  # of the script and its log
    results: str  # the folder that it leaves
    collect: Callable[[Path, Path, Path], dict[str, Any]]
    command: str  # of ours, that runs it


_BITSTREAM = _Job("build", "results", collect_bitstream, "bitstream")
_SYNTHESIS = _Job("synth", "synth_results", collect_synthesis, "synth --tool vivado")


def build_bitstream(build_dir: Path, project: Path, out: Path, *, say: Say, idle_minutes: float) -> dict[str, Any]:
    """Build the bitstream of `project`, or go on with it; write it, its figures and reports into the new folder `out`.

    Raises:
        VendorToolError: Vivado is not here; names the command to run where it is.
        ToolError: Vivado failed, or what it made is not good. No bitstream is left.
    """
    return _run(_BITSTREAM, build_dir, project, out, say=say, idle_minutes=idle_minutes)


def synthesize(build_dir: Path, project: Path, out: Path, *, say: Say, idle_minutes: float) -> dict[str, Any]:
    """Synthesize and route the accelerator alone; write `synth.json` and reports into the new folder `out`.

    Raises as `build_bitstream` does.
    """
    return _run(_SYNTHESIS, build_dir, project, out, say=say, idle_minutes=idle_minutes)


def _run(job: _Job, build_dir: Path, project: Path, out: Path, *, say: Say, idle_minutes: float) -> dict[str, Any]:
    results = project / job.results
    if belongs(results, project):
        say(f"{results} is there: taken as it is")
    else:
        vivado = find_vivado()
        if vivado is None:
            raise _no_vivado(job, project)
        say(f"running Vivado; its log is {project / job.name}.log")
        try:
            run_vivado(vivado, project, f"{job.name}.tcl", log=f"{job.name}.log", say=say, idle_minutes=idle_minutes)
        finally:
            (project / f"{job.results}.partial" / "unchecked.bit").unlink(missing_ok=True)
        if not belongs(results, project):
            raise ToolError(f"Vivado ended well but left no {results}. Look into {project / job.name}.log.")
    try:
        return job.collect(build_dir, project, out)
    except CxrflowError:
        _disown(results)
        raise


def _disown(results: Path) -> None:
    """Leave of results that are not good only what one needs to see why."""
    for name in ("accelerator.bit", "facts.txt"):
        with contextlib.suppress(OSError):
            (results / name).unlink()


def _no_vivado(job: _Job, project: Path) -> VendorToolError:
    command = shlex.join(command_line(f"{job.name}.tcl", f"{job.name}.log"))
    return VendorToolError(
        f"Vivado is not on PATH; everything up to it is done. Where Vivado {_year(OLDEST)} to {_year(NEWEST)} is, run "
        f"`cd {shlex.quote(str(project))} && {command}` on this folder or a copy of it. With the folder "
        f"{job.results}/ that it writes put back here, `cxrflow {job.command}` takes it from there."
    )


def _year(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
