"""Files that are there whole or not at all, and the hash that a file's content is known by."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 20  # read at a time [byte]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hand out a path beside `path` to write to. It takes `path`'s place if the block ends without an exception."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
