"""A deploy folder, checked before anything in it is used."""

from dataclasses import dataclass
from pathlib import Path

from contract.errors import ArtifactError
from contract.files import hash_file
from contract.manifest import Manifest, load_manifest
from contract.preprocess import PREPROCESS_VERSION


@dataclass(frozen=True)
class Package:
    """A deploy folder whose every file is the one that its manifest names."""

    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path | None:
        """Return the path of a file that the manifest vouches for, or None if it names no such file."""
        return self.folder / name if name in self.manifest.sha256 else None


def open_package(folder: Path) -> Package:
    """Read accelerator.json in `folder` and verify the sha256 of every file it names.

    Raises:
        ArtifactError: the manifest is damaged, or a file is missing or another one.
    """
    manifest = load_manifest(folder / "accelerator.json")
    for name, expected in manifest.sha256.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ArtifactError(f"{folder / 'accelerator.json'} names the file {name!r}, outside its own folder.")
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
    return Package(folder, manifest)
