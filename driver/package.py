"""A deploy folder, checked before anything in it is used."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contract.errors import ArtifactError
from contract.files import hash_file
from contract.manifest import Manifest, load_manifest
from contract.preprocess import PREPROCESS_VERSION


@dataclass(frozen=True)
class Package:
    """A deploy folder whose every file was the one that its manifest names when it was opened."""

    folder: Path  # absolute
    manifest: Manifest

    def path(self, name: str) -> Path | None:
        """Return the path of a file that the manifest vouches for, or None if it names no such file."""
        return self.folder / name if name in self.manifest.sha256 else None

    def read(self, name: str) -> bytes:
        """Return the content of a file that the manifest vouches for. Raises ArtifactError as `prove` does."""
        with self._reading(name):
            content = (self.folder / name).read_bytes()
        self._require(name, hashlib.sha256(content).hexdigest())
        return content

    def prove(self, *names: str) -> None:
        """Raise ArtifactError unless these files still are what they were when the folder was opened."""
        for name in names:
            with self._reading(name):
                found = hash_file(self.folder / name)
            self._require(name, found)

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise ArtifactError(f"{self.folder / name} cannot be read ({err.strerror}). {_REPLACED}") from err

    def _require(self, name: str, found: str) -> None:
        if found != self.manifest.sha256[name]:
            raise ArtifactError(f"{self.folder / name} is another file than when it was opened. {_REPLACED}")


_REPLACED = "The folder was replaced while it was in use: close the accelerator and open it again."


def open_package(folder: Path) -> Package:
    """Read accelerator.json in `folder` and verify the sha256 of every file it names.

    Raises:
        ArtifactError: the manifest is damaged, or a file is missing or another one.
    """
    manifest = load_manifest(folder / "accelerator.json")
    for name, expected in manifest.sha256.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is not there, but accelerator.json names it. Copy the whole folder again.")
        found = hash_file(path)
        if found != expected:
            raise ArtifactError(
                f"{path} has sha256 {found[:12]}..., accelerator.json says {str(expected)[:12]}...: damaged, or of "
                "another build. Copy the whole folder again."
            )
    if manifest.preprocessing.get("version") != PREPROCESS_VERSION:
        raise ArtifactError(
            f"{folder} was made with preprocessing version {manifest.preprocessing.get('version')!r}, expected "
            f"{PREPROCESS_VERSION}. Package the run again with this version of cxrflow."
        )
    for needed in ("reference.npz", "golden.npz"):
        if needed not in manifest.sha256:
            raise ArtifactError(f"{folder / 'accelerator.json'} does not name {needed}. Package the run again.")
    return Package(folder.absolute(), manifest)
