"""Fetch public data sets: resumed when the line drops, used only when the checksum is right.

urllib3, because pooch, the usual library for this, cannot resume, and these files have up to 1.2 GB. What has arrived
lies in NAME.part; the same command goes on there. A file that is not what was published is kept as NAME.rejected.
"""

import contextlib
import hashlib
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urljoin, urlsplit

from filelock import lock_descriptor
from urllib3 import BaseHTTPResponse, PoolManager, Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError, MaxRetryError

from contract.errors import ConfigError, DataError

Progress = Callable[[int, int], None]  # bytes done, bytes in all
ATTEMPTS = 5  # in a row that bring nothing
TIMEOUT_S = 30.0
LONGEST_PAUSE_S = 120  # between attempts, whatever a server asks for
MAX_REDIRECTS = 10
MAX_BYTES = 8 << 30  # of a file whose size was not published
_BLOCK = 1 << 18
_RETRY = (408, 425, 429, 500, 502, 503, 504)  # HTTP: later may be better


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes."""

    name: str
    url: str
    size: int | None  # [byte], None: not published
    md5: str | None  # [hex], None: not published
    citation: str
    licence: str = "CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/): use, share and adapt it, with credit."


_KERMANY = (
    "Kermany, Zhang, Goldbaum: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification, "
    "Mendeley Data V2, 2018, doi:10.17632/rscbjbr9sj.2. Kermany et al.: Identifying Medical Diagnoses and Treatable "
    "Diseases by Image-Based Deep Learning, Cell 172(5), 2018, doi:10.1016/j.cell.2018.02.010."
)
_MEDMNIST = (
    "Yang et al.: MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image classification, "
    "Scientific Data 10:41, 2023, doi:10.1038/s41597-022-01721-8; files: doi:10.5281/zenodo.10519652. Made from: "
)


def _medmnist(size: int, length: int, md5: str) -> Published:
    name = "pneumoniamnist.npz" if size == 28 else f"pneumoniamnist_{size}.npz"
    url = f"https://zenodo.org/records/10519652/files/{name}?download=1"
    return Published(name, url, length, md5, _MEDMNIST + _KERMANY)


PNEUMONIAMNIST = {
    28: _medmnist(28, 4_170_669, "28209eda62fecd6e6a2d98b1501bb15f"),
    64: _medmnist(64, 20_606_998, "8f4eceb4ccffa70c672198ea285246c6"),
    128: _medmnist(128, 75_506_212, "05b46931834c231683c68f40c47b2971"),
    224: _medmnist(224, 214_384_716, "d6a3c71de1b945ea11211b03746c1fe1"),
}
KERMANY = Published(
    "ChestXRay2017.zip",
    "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/f12eaf6d-6023-432f-acc9-80c9d7393433/"
    "file_downloaded",
    None,
    None,
    _KERMANY,
)


class _DroppedError(Exception):
    """A connection that failed in a way that another one may not."""

    def __init__(self, why: str, response: BaseHTTPResponse | None = None) -> None:
        super().__init__(why)
        self.response = response  # may say when to come again


class _CarefulRedirect(Retry):
    """Follows redirects, but never from https to anything less; everything else is no reason to ask twice."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """See the base class."""
        location = response.get_redirect_location() if response is not None else None
        if url is not None and location:
            target = urljoin(url, location)
            if urlsplit(target).scheme not in ("https", urlsplit(url).scheme):
                raise DataError(
                    f"{url} redirects to {_plain(target)}, expected https; do not trust this network, try another."
                )
        return super().increment(method, url, response, error, _pool, _stacktrace)


_REDIRECTS = _CarefulRedirect(
    total=None, connect=0, read=0, status=0, other=0, redirect=MAX_REDIRECTS, raise_on_redirect=False
)


def fetch(
    published: Published, folder: Path, *, progress: Progress, say: Callable[[str], None], pause_s: float = 1.0
) -> Path:
    """Return the published file in `folder`, fetching what is missing of it.

    Args:
        published: what to fetch.
        folder: where to; made if need be. Licence, citation and sha256 are written beside the file, as NAME.txt.
        progress: called with bytes done and bytes in all.
        say: told what is being done.
        pause_s: before the second attempt; doubled for every further one.

    Raises:
        DataError: the server refuses, sends something else, or cannot be reached.
        ConfigError: the folder cannot be written or is full, or something else is called NAME.txt.
    """
    path, part = folder / published.name, folder / f"{published.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _check_existing(path, published)
            say(f"{path} is already there and whole")
            return path
        _require_own_record(path, published)
        with part.open("ab") as stream:
            _lock(stream, part)
            _download(published, part, stream, progress, say, pause_s)
        _check(part, published)
        _write_about(path, published, _digest(part, "sha256"))
        part.replace(path)
        _etag_path(part).unlink(missing_ok=True)
        return path
    except (DataError, ConfigError):
        raise
    except OSError as err:
        raise ConfigError(
            f"{folder} cannot be written ({err.strerror or err}), expected a folder with free space; choose another "
            "with --to, the same command then goes on."
        ) from err


def about(published: Published) -> str:
    """Return licence and citation."""
    return f"{published.name}\nLicence: {published.licence}\nCite: {published.citation}\n"


def _lock(stream: IO[bytes], part: Path) -> None:
    if not lock_descriptor(stream.fileno(), blocking=False):
        raise ConfigError(f"another cxrflow is fetching {part}; wait for it, or choose another folder.")


def _download(
    published: Published,
    part: Path,
    stream: IO[bytes],
    progress: Progress,
    say: Callable[[str], None],
    pause_s: float,
) -> None:
    """Connect until everything has arrived in `stream`, which is open for appending."""
    patience = Retry(ATTEMPTS - 1, backoff_factor=pause_s, backoff_max=LONGEST_PAUSE_S, retry_after_max=LONGEST_PAUSE_S)
    left = patience
    while True:
        before = stream.tell()
        try:
            _receive(published, part, stream, progress)
            return
        except _DroppedError as err:
            if stream.tell() > before:
                left = patience
            try:
                left = left.increment("GET", published.url, error=err)
            except MaxRetryError:
                raise DataError(
                    f"{published.url} cannot be fetched: {err} ({ATTEMPTS} attempts in a row); {stream.tell():,} bytes "
                    f"are kept in {part}, so check the network and run the same command again."
                ) from err
            say(f"{err}; going on at byte {stream.tell():,}")
            left.sleep(err.response)


def _receive(published: Published, part: Path, stream: IO[bytes], progress: Progress) -> None:
    """Receive what one connection brings. Returns when the file is complete; raises _DroppedError when it is not."""
    have = stream.tell()
    if published.size is not None and have >= published.size:
        return  # complete, or too long: the checksum decides
    etag = _etag_path(part).read_text() if _etag_path(part).exists() else ""
    headers = {"User-Agent": "cxrflow", "Accept-Encoding": "identity"}
    if have and (etag or published.md5):  # without either, a file that changed meanwhile would go unnoticed
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": etag} if etag else {})
    with _open(published.url, headers, stream) as response:
        total = _start(response, part, stream)
        have = stream.tell()
        if published.size is not None and total not in (None, published.size):
            raise DataError(
                f"{published.url}: the server offers {total:,} bytes, expected {published.size:,}; it is not the "
                "published file, so try again later or fetch it by hand."
            )
        limit = total or published.size or MAX_BYTES
        _require_space(part, limit - have if total or published.size else 0)
        while block := response.read(min(_BLOCK, limit - have + 1)):
            stream.write(block)
            have += len(block)
            progress(have, limit)
            if have > limit:
                break  # the checksum will tell
        stream.flush()
    if have < limit and (total or published.size):
        raise _DroppedError(f"the connection ended after {have:,} of {limit:,} bytes")


@contextlib.contextmanager
def _open(url: str, headers: dict[str, str], stream: IO[bytes]) -> Iterator[BaseHTTPResponse]:
    """Open a connection; network trouble, now or while reading, becomes _DroppedError."""
    with PoolManager(timeout=TIMEOUT_S) as pool:
        try:
            # An end that comes early is noticed here, where what has come before it is kept.
            response = pool.request(
                "GET", url, headers=headers, retries=_REDIRECTS, preload_content=False, enforce_content_length=False
            )
            code, says = response.status, f"the server answered {response.status} {_plain(response.reason or '')}"
            if code == 416:  # the server's file is not longer than our part: not the same file
                _restart(stream)
                raise _DroppedError("the server's file is shorter than what is here")
            if code in _RETRY:
                raise _DroppedError(says, response)
            if code >= 300:
                raise DataError(f"{url}: {says}, expected the file; check whether it has moved, or fetch it by hand.")
            yield response
        except MaxRetryError as err:
            raise _DroppedError(f"the connection failed ({_plain(err.reason)})") from err
        except (HTTPError, ConnectionError, TimeoutError) as err:
            raise _DroppedError(f"the connection failed ({_plain(err) or type(err).__name__})") from err


def _plain(text: object) -> str:
    """Return what somebody else wrote as one short line without control characters."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))[:150].rstrip(".")


def _start(response: Any, part: Path, stream: IO[bytes]) -> int | None:
    """Bring `stream` to where this response begins; return the size of the whole file, None if the server is silent."""
    have, length = stream.tell(), response.headers.get("Content-Length", "")
    if response.status == 206:
        begin, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if begin.partition("-")[0] != str(have):
            _restart(stream)
            raise _DroppedError("the server resumed in another place")
        return int(total) if total.isdecimal() else None
    _restart(stream)  # everything comes again: no ranges here, or the file has changed
    etag = response.headers.get("ETag", "")
    _etag_path(part).write_text(etag if etag.startswith('"') and etag.isprintable() else "")  # weak ones prove nothing
    return int(length) if length.isdecimal() else None


def _restart(stream: IO[bytes]) -> None:
    stream.truncate(0)
    stream.seek(0)


def _etag_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _require_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise ConfigError(
            f"the disk that holds {part.parent} has {free:,} bytes free, {needed:,} more are needed; free some space "
            "and run the same command again."
        )


def _check(part: Path, published: Published) -> None:
    """Put the file aside unless it is the published one."""
    if published.md5 is not None:
        found, wanted = f"md5 {_digest(part, 'md5')}", f"md5 {published.md5}"
    else:  # no checksum is published: at least it must be a whole zip, and not a page that asks to log in
        found, wanted = "a whole zip" if zipfile.is_zipfile(part) else "no whole zip", "a whole zip"
    if found != wanted:
        rejected = part.with_name(f"{published.name}.rejected")
        part.replace(rejected)
        _etag_path(part).unlink(missing_ok=True)
        raise DataError(
            f"{published.name}: what arrived has or is {found}, expected {wanted}; it was put aside as {rejected} and "
            "is not used. Run the same command again, or fetch the file over another network."
        )


def _check_existing(path: Path, published: Published) -> None:
    """Stop if a file of this name is not what was published, or not what was fetched."""
    record = _record_path(path)
    if published.md5 is not None:
        kind, wanted = "md5", published.md5
    else:
        lines = record.read_text(encoding="utf-8", errors="replace").splitlines() if record.is_file() else []
        kind = "sha256"
        wanted = next((line.partition(": ")[2] for line in lines if line.startswith("sha256: ")), "unknown")
    found = _digest(path, kind)
    if found != wanted:
        raise DataError(f"{path} is there with {kind} {found}, expected {wanted}; move it away and run this again.")


def _require_own_record(path: Path, published: Published) -> None:
    """Stop where something else has the name of the file that licence and checksum are written to."""
    record = _record_path(path)
    if not record.exists() and not record.is_symlink():
        return
    if not record.is_file() or not record.read_bytes().startswith(about(published).partition("\n")[0].encode()):
        raise ConfigError(
            f"{record} is there and is not what this command writes, expected nothing or the record of an earlier "
            f"{published.name}; move it away, or choose another folder with --to."
        )


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.txt")


def _write_about(path: Path, published: Published, sha256: str) -> None:
    checked = f"md5 {published.md5}, as published" if published.md5 else "against nothing: no checksum is known"
    text = f"{about(published)}From: {published.url}\nChecked: {checked}\nsha256: {sha256}\n"
    _record_path(path).write_text(text, encoding="utf-8")


def _digest(path: Path, algorithm: str) -> str:
    """Return a checksum [hex]; MD5 only because that is what was published."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
