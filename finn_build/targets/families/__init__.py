"""Device families, one per file: whatever file of this folder has a `FAMILY` is found."""

import importlib
import pkgutil

from finn_build.targets.families.family import FAMILIES, family_of

__all__ = ["FAMILIES", "family_of"]

for _module in pkgutil.iter_modules(__path__):
    _family = getattr(importlib.import_module(f"{__name__}.{_module.name}"), "FAMILY", None)
    if _family is not None:
        FAMILIES[_family.name] = _family
