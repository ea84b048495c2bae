"""Run a test with one piece of a module's source replaced, in a process of its own; see test_mutations.py.

Reads a JSON list of [module, old, new, test] from stdin and prints a JSON list: for each the exit code of pytest. What
is not ours is imported once, and each mutation runs in a fork.
"""

import gc
import importlib.util
import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType
from typing import Any

import brevitas.export
import hypothesis.extra.numpy
import lightning.pytorch
import numpy
import onnx.reference.ops
import PIL.Image
import playwright.sync_api
import pydantic
import pytest
import qonnx.core.modelwrapper
import qonnx.util.cleanup
import rich.progress
import scipy.optimize
import sklearn.linear_model
import sklearn.metrics
import sklearn.model_selection
import sklearn.neural_network
import torchmetrics.functional.classification
import yaml
from hypothesis import Phase, settings

# What the tests, their conftest.py and our modules import, before the forks: each fork would import it again.
HEAVY = (
    brevitas.export, hypothesis.extra.numpy, lightning.pytorch, numpy, onnx.reference.ops, PIL.Image,
    playwright.sync_api, pydantic.BaseModel, qonnx.core.modelwrapper, qonnx.util.cleanup, rich.progress,
    scipy.optimize, sklearn.linear_model, sklearn.metrics, sklearn.model_selection, sklearn.neural_network,
    torchmetrics.functional.classification, yaml,
)  # fmt: skip
# Any input on which a test fails will do: the search for a smaller one takes most of the time.
settings.register_profile("any", settings.default, phases=[Phase.explicit, Phase.generate])
settings.load_profile("any")


class Mutated(SourceFileLoader):
    """Loads a module with `old` replaced by `new`, which must be there once."""

    old = new = ""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the changed source; no cached bytecode is read or written."""
        path = self.get_filename(fullname)
        text = self.get_data(path).decode()
        assert text.count(self.old) == 1, f"{path}: {text.count(self.old)} times {self.old!r}"
        code: CodeType = compile(text.replace(self.old, self.new), path, "exec", dont_inherit=True)
        return code


class Finder(MetaPathFinder):
    """Finds one module of ours, to be mutated."""

    def __init__(self, module: str, old: str, new: str) -> None:
        self.module, self.old, self.new = module, old, new

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Return the mutated module, or None: another one."""
        if fullname != self.module:
            return None
        found = PathFinder.find_spec(fullname, path)
        assert found is not None and found.origin is not None
        loader = Mutated(fullname, found.origin)
        loader.old, loader.new = self.old, self.new
        return importlib.util.spec_from_file_location(fullname, found.origin, loader=loader)


def exit_code(module: str, old: str, new: str, test: str) -> int:
    """Return pytest's exit code: 0 passed, 1 failed."""
    child = os.fork()
    if not child:
        os.dup2(2, 1)  # what pytest says is no answer
        assert module not in sys.modules
        sys.meta_path.insert(0, Finder(module, old, new))
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is needed, and each is imported in every fork
        os._exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--assert=plain", "--tb=no", test]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    gc.collect()
    gc.freeze()  # a collection in a fork would write to, and so copy, most of what the forks share
    codes = [exit_code(*mutation) for mutation in json.load(sys.stdin)]
    print(json.dumps(codes))
