"""Run folders: every stage's results whole or not there, and nothing done twice.

A stage works in a folder of another name beside its place, which is renamed when it is whole. Its inputs' hash is kept
in `stage.json`; a stage whose inputs have the same hash is not run again.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from contract.errors import ArtifactError, ConfigError, MismatchError

REPOSITORY = Path(__file__).resolve().parent.parent
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a read-only or full disk into one sentence."""
    try:
        yield
    except OSError as err:
        if err.errno in _NO_SPACE:
            raise ConfigError(
                f"the disk that holds {folder} is full. Free some space and run the command again."
            ) from err
        if err.errno in _NO_ACCESS:
            raise ConfigError(
                f"{err.filename or folder} cannot be written ({os.strerror(err.errno)}). "
                "Give a folder that you may write to with --runs."
            ) from err
        raise


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder, created if missing, for this process alone."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another cxrflow is working in {folder}. Wait for it, or give this run another name."
            ) from None
        yield


def run_stage(folder: Path, inputs: dict[str, Any], work: Callable[[Path], None]) -> bool:
    """Make `folder` by calling `work` on a temporary one, unless it is there already for the same inputs.

    Returns:
        Whether `work` was called.
    """
    key = fingerprint(inputs)
    if stage_key(folder) == key:
        return False
    partial = folder.with_name(f".{folder.name}.partial")
    with writing(folder):
        _remove(partial)
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            work(partial)
            (partial / "stage.json").write_text(
                json.dumps({"key": key, "inputs": inputs}, indent=2, default=str) + "\n", encoding="utf-8"
            )
        except MismatchError as err:
            failed = folder.with_name(f"{folder.name}.failed")
            _remove(failed)
            partial.rename(failed)
            raise MismatchError(str(err).replace(str(partial), str(failed))) from err
        except BaseException:
            _remove(partial)
            raise
        _replace(partial, folder)
    return True


def stage_key(folder: Path) -> str | None:
    """Return the hash of the inputs that `folder` was made from, or None if it is not a finished stage."""
    try:
        return str(json.loads((folder / "stage.json").read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def require_stage(folder: Path, command: str) -> None:
    """Stop unless `folder` is a finished stage. Raises ArtifactError."""
    if stage_key(folder) is None:
        raise ArtifactError(f"{folder} is not there or not finished. Run `cxrflow {command}` first.")


def fingerprint(inputs: dict[str, Any]) -> str:
    """Return the sha256 of JSON-able `inputs`."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_sources(*packages: str) -> str:
    """Return the sha256 of our own code in the top-level folders `packages`: new code makes old results stale."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((REPOSITORY / package).rglob("*")):
            if path.suffix in (".py", ".sv", ".cpp"):
                digest.update(f"{path.relative_to(REPOSITORY)} {hash_file(path)}\n".encode())
    return digest.hexdigest()


def _replace(new: Path, old: Path) -> None:
    """Put `new` in the place of `old`, which may exist."""
    aside = old.with_name(f".{old.name}.old")
    _remove(aside)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    _remove(aside)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
