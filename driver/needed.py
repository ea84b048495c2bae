"""The packages that a deploy folder needs, asked for before anything else is imported: a sentence, and no traceback.

For the folder's own commands alone: a program that imports the driver gets Python's ImportError.
"""

import importlib
import sys

PACKAGES = {"numpy": ("numpy", "1.21"), "PIL": ("Pillow", "9.0")}  # module -> its package, and the oldest that will do


def require_packages() -> None:
    """End the program with code 2 where a package is missing, or cannot be loaded."""
    for module, (package, oldest) in PACKAGES.items():
        try:
            importlib.import_module(module)
        except ImportError as err:
            why = "is missing" if err.name == module else f"cannot be loaded ({' '.join(str(err).split())[:200]})"
            print(
                f"error: {package} {why}, expected {oldest} or newer for {sys.executable}. Run "
                f"`{sys.executable} -m pip install {package}`.",
                file=sys.stderr,
            )
            sys.exit(2)
