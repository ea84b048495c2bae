"""Random numbers of test modules that do not depend on which tests ran before."""

from typing import Any

import numpy as np

_GENERATORS: list[tuple[np.random.Generator, Any]] = []  # each with its first state


def generator(seed: int) -> np.random.Generator:
    """Return a generator for a module; every test finds it as it is now."""
    made = np.random.default_rng(seed)
    _GENERATORS.append((made, made.bit_generator.state))
    return made


def restart() -> None:
    """Put all generators back to their first numbers."""
    for made, state in _GENERATORS:
        made.bit_generator.state = state
