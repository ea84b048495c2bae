"""Files that are there whole or not at all, their hashes, and texts and JSON files that may come from anywhere."""

import contextlib
import errno
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from contract.errors import ArtifactError, ConfigError

BLOCK = 1 << 20  # read at a time [byte]
MAX_NAME = 1000  # letters of a file's name, its folders included
LONGEST_TEXT = 300  # letters of a text within a file of ours: a name, a hash, a version
MAX_TEXT_BYTES = 4 << 20  # of one file; the stages' own have kilobytes
MAX_JSON_DEPTH = 50  # objects within objects; the stages' own have five
# What a path or its disk can be to blame for; other errors of the system are bugs.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UNUSABLE = (
    *FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP,
    errno.EILSEQ, errno.ENXIO, errno.ENODEV, errno.EIO, errno.ESTALE, errno.ENOTEMPTY, errno.EBUSY,
)  # fmt: skip


def _partial() -> str:
    """Return what the name of a file ends in while this process writes it."""
    return f".{os.getpid()}.partial"


def refuses(err: OSError, *, named: bool = False) -> bool:
    """Return whether an error means that a place cannot be written to, and is no fault of ours.

    Args:
        err: the error.
        named: somebody named the place, so a folder of its path may be missing, or be something else.
    """
    new = err.errno == errno.ENOENT and str(err.filename).endswith(_partial())  # as in /proc, which takes no files
    return new or err.errno in UNUSABLE or (named and err.errno in (errno.ENOENT, errno.EEXIST))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hand out a path beside `path` to write to. It takes `path`'s place if the block ends without an exception."""
    partial = path.with_name(f".{path.name[:40]}{_partial()}")  # no longer than a name may be
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def output(path: Path, *, parents: bool = False, option: str | None = None) -> Iterator[Path]:
    """Hand out a path to write to for a file that somebody asked for by its name; otherwise like `replacing`.

    Args:
        path: a link is followed.
        parents: make the folders that it lies in.
        option: of the command line, that chose the place.

    Raises:
        ConfigError: it is no place for a file, or there is no room.
    """
    advice = f"Choose another with {option}." if option else "Choose another."
    try:
        place = path.resolve()
        if place.exists() and not place.is_file():
            raise ConfigError(f"{path} is no regular file, expected the name of a file to write. {advice}")
        if parents:
            place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as partial:
            yield partial
    except (OSError, RuntimeError) as err:  # RuntimeError: links that lead to each other
        if not (refuses(err, named=True) if isinstance(err, OSError) else "ymlink" in str(err)):
            raise
        why = (isinstance(err, OSError) and err.strerror) or "its links lead to each other"
        raise ConfigError(
            f"{path} cannot be written ({why}), expected a file in a folder that you may write to. {advice}"
        ) from err


def spare(outputs: Iterable[Path], inputs: Iterable[Path], *, option: str) -> None:
    """Stop before an output that somebody asked for by its name would replace what the command reads.

    Args:
        outputs: files or folders; they need not exist.
        inputs: files, and folders with all that is in them, links followed; they need not exist.
        option: of the command line, that chose the outputs.

    Raises:
        ConfigError: an output is one of the inputs, or lies in one.
    """
    places = {Path(os.path.realpath(one)): one for one in inputs}  # which knows no ring of links
    files = {_identity(place): one for place, one in places.items()}  # of a hard link, too
    for path in outputs:
        place = Path(os.path.realpath(path))
        above = next((places[parent] for parent in place.parents if parent in places), None)
        found = above or places.get(place) or (files.get(key) if (key := _identity(place)) else None)
        if found is not None:
            raise ConfigError(
                f"{path} {'lies in' if above else 'is'} {found}, which this command reads, expected a place that "
                f"holds none of its inputs. Choose another with {option}."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what all names of a file have in common; None where nothing is found by this one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


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


def require_size(path: Path, most: int, *, advice: str) -> None:
    """Stop at a file of more than so many bytes, before any of it is read.

    Args:
        path: a regular file that is there.
        most: [byte]
        advice: ends the message: what to do.

    Raises:
        ArtifactError: it is larger, or cannot be looked at.
    """
    try:
        size = path.stat().st_size
    except OSError as err:
        raise ArtifactError(f"{path} cannot be read ({err.strerror}). {advice}") from err
    if size > most:
        raise ArtifactError(f"{path} has {size:,} bytes, expected {most:,} at most. {advice}")


def is_inside(name: object) -> bool:
    """Return whether a text that a file of ours calls a file's name can be one, and stays inside its folder."""
    if not isinstance(name, str) or "\0" in name or len(name) > MAX_NAME:
        return False
    parts = PurePosixPath(name).parts
    return bool(parts) and not any(part in ("/", "..") or len(part.encode(errors="replace")) > 255 for part in parts)


def read_text(path: Path, *, advice: str) -> str:
    """Return a text file, UTF-8, that may come from anywhere.

    Args:
        path: the file.
        advice: ends the messages: what to do about a missing or damaged file.

    Raises:
        ArtifactError: it is missing, is no regular file, or is no text of a sane size.
    """
    if not path.is_file():  # a pipe would be waited for
        raise ArtifactError(f"{path} is {'no regular file' if path.exists() else 'not there'}. {advice}")
    try:
        return bounded_text(path, MAX_TEXT_BYTES)
    except (OSError, ValueError) as err:
        raise damaged(path, err, advice=advice) from err


def bounded_text(path: Path, most: int) -> str:
    """Return a text file, UTF-8, of at most so many bytes. Raises OSError, and ValueError: it is no such text."""
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content.decode("utf-8")


def damaged(path: Path, why: object, *, advice: str) -> ArtifactError:
    """Return the error that says what is wrong with a file, in one sentence, and what to do."""
    text = " ".join(str(why).split())[:200].rstrip(".")
    return ArtifactError(f"{path} is damaged ({text}), expected what its stage wrote. {advice}")


def read_json(path: Path, *, advice: str) -> Any:
    """Return what a JSON file holds, of any type: the caller checks that. Arguments as for `read_text`.

    Raises:
        ArtifactError: it is missing, is no regular file, or is no JSON of a sane size and depth with different names.
    """
    try:
        return parsed_json(read_text(path, advice=advice))
    except (ValueError, RecursionError) as err:
        raise ArtifactError(f"{path} is not JSON of a stage ({err}). {advice}") from err


def parsed_json(text: str) -> Any:
    """Return what a JSON text holds, of any type.

    Raises:
        ValueError, RecursionError: it is no JSON of a sane depth with different names.
    """
    value = json.loads(text, parse_int=_integer, object_pairs_hook=_object)
    _check_depth(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose names are different: of two values of one name, nobody could tell which is meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{name[:60]!r} is there twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > 400:  # a float has no more; thousands of digits take Python long, or make its messages fail
        raise ValueError(f"a number has {len(digits):,} digits")
    return int(digits)


def _check_depth(value: Any) -> None:
    """Raise ValueError where a value is nested so deeply that others' recursion would end at it."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        containers = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [inner for container in containers for inner in container]
        if not level:
            return
    raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} deep")
