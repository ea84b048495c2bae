"""The chain: every graph on the way to hardware is saved, executed and compared with the golden integers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper

from contract.errors import MismatchError
from contract.golden import Golden
from contract.network import IntegerNetwork
from finn_build import diagnose
from finn_build.graph import execute

Report = Callable[[str], None]  # told what is being done, a line at a time


class Chain:
    """The graphs on the way to hardware, each saved, executed and compared with the golden integers."""

    def __init__(self, network: IntegerNetwork, golden: Golden, out: Path, report: Report) -> None:
        """Compare with `golden`; graphs are saved in the folder `steps` of `out`."""
        self.network, self.golden, self.out, self.report = network, golden, out, report
        self.links: list[dict[str, Any]] = []  # as build.json has them

    def step(self, name: str, make: Callable[[], ModelWrapper], *, images: int | None = None) -> ModelWrapper:
        """Add a graph that must give the golden integers, on all images or as many as given.

        Raises:
            MismatchError: it does not; names the first layer that differs.
        """
        model, got = self._execute(name, make, images)
        if not np.array_equal(got, self.golden.outputs[: len(got)]):
            self._fail(name, model, got)
        self._add(name, got)
        return model

    def witness(self, name: str, make: Callable[[], ModelWrapper]) -> ModelWrapper | None:
        """Add a graph whose differing images are counted. Returns it; None where that cannot be."""
        try:
            model, got = self._execute(name, make, None)
        except Exception as err:  # FINN's and qonnx's transformations raise anything
            self._cannot(name, err)
            return None
        self._add(name, got, witness=True)
        return model

    def opinion(
        self,
        name: str,
        make: Callable[[], ModelWrapper],
        first: Callable[[ModelWrapper], NDArray[np.int64]],
        places: int,
    ) -> ModelWrapper | None:
        """Add a graph that qonnx or FINN makes of a file that others made. Returns it; None where that cannot be.

        Args:
            name: of the stage.
            make: makes the graph.
            first: returns the (N,) first place per input at which it differs from the file: 0 is what the first layer
                reads, i what layer i - 1 gives; -1: nowhere.
            places: their number.
        """
        try:
            model = self._saved(name, make())
            found = first(model)
        except Exception as err:
            self._cannot(name, err)
            return None
        counts = np.bincount(found[found >= 0], minlength=places).tolist()
        where = {f"layer {i - 1}" if i else "input": count for i, count in enumerate(counts) if count}
        link = {
            "stage": name,
            "images": len(found),
            "differing": sum(counts),
            "first_difference": None,
            "places": where,
        }
        self.links.append(link)
        told = "".join(f", {count} first at {place}" for place, count in where.items())
        self.report(f"{name}, a witness: {len(found)} inputs, {sum(counts)} differ from the file{told}")
        return model

    def _cannot(self, name: str, err: Exception) -> None:
        reason = " ".join(str(err).split())[:200] or type(err).__name__
        who = "qonnx" if name == "qonnx_float32" else "FINN"
        self.silent(name, f"{who} cannot treat this network: {reason.rstrip('.')}")

    def silent(self, name: str, note: str) -> None:
        """Add a witness that is not heard, and why."""
        self.links.append({"stage": name, "images": 0, "differing": None, "first_difference": None, "note": note})
        self.report(f"{name}, a witness: {note}")

    def _saved(self, name: str, model: ModelWrapper) -> ModelWrapper:
        model.save(str(self.out / "steps" / f"{len(self.links):02d}_{name}.onnx"))
        return model

    def _execute(
        self, name: str, make: Callable[[], ModelWrapper], images: int | None
    ) -> tuple[ModelWrapper, NDArray[np.float64]]:
        model = self._saved(name, make())
        pixels = self.golden.pixels[:images]
        return model, execute(model, pixels) if len(pixels) else np.empty((0, self.network.output_size))

    def _add(self, name: str, got: NDArray[np.float64], *, witness: bool = False) -> None:
        count, want = len(got), self.golden.outputs[: len(got)]
        differing, first = int((got != want).any(axis=1).sum()), diagnose.first_difference(got, want)
        link = {"stage": name, "images": count, "differing": differing if count else None, "first_difference": first}
        self.links.append(link)  # no times: the same build again is the same file
        found = f"{count} images, {differing} differ" if count else "not executable in Python"
        self.report(f"{name}{', a witness' if witness else ''}: {found}")

    def _fail(self, name: str, model: ModelWrapper, got: NDArray[np.float64]) -> None:
        want = self.golden.outputs[: len(got)]
        image = self.golden.pixels[diagnose.first_wrong_image(got, want)]
        found = diagnose.graph_activations(model, image)
        layer = diagnose.name_first_wrong_layer(found, self.network, image, self.out / "mismatch")
        try:
            diagnose.require_equal(got, want, stage=name)
        except MismatchError as err:
            raise MismatchError(f"{err} {layer}") from None
