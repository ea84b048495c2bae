"""From a request to its files, in memory from end to end, trusting nothing.

The multipart body is parsed here because the framework's own parser writes larger uploads to temporary files. File
names are looked at only to refuse those that hold a path; they are not kept, logged or answered.
"""

import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import anyio
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from cxrflow.serve.decode import ANY_TYPE, TYPES
from cxrflow.serve.limits import MEBI, Budget, Limits, Refusal

logging.getLogger("python_multipart.multipart").disabled = True  # it quotes what it cannot parse

FIELD = "files"  # of the form
_KNOWN_TYPES = {name for names in TYPES.values() for name in names} | set(ANY_TYPE)


@dataclass
class Part:
    """One part of a form."""

    header: dict[bytes, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    def require_file(self, *, pictures: bool) -> None:
        """Stop unless this is a file, and one that its sender calls an X-ray, of `pictures`. Raises Refusal."""
        # The parser cuts the folders off a Windows path, which is a path all the same; a slash it leaves as it is.
        disposition = re.sub(rb'\\(?!")', b"/", self.header.get(b"content-disposition", b""))
        _, options = parse_options_header(disposition)
        name = options.get(b"filename")
        if name is None or options.get(b"name", b"").decode("latin-1") != FIELD:
            raise Refusal(400, "bad-form", f"The form may hold files only, in the field '{FIELD}'.")
        if any(byte < 32 or byte == 127 for byte in name) or b"/" in name or b"\\" in name or name in (b".", b".."):
            raise Refusal(400, "file-name", "A file name holds a path or control characters. Send the plain name.")
        if pictures and self.declared not in _KNOWN_TYPES:
            raise Refusal(415, "wrong-type", "A file is not declared as JPEG, PNG or DICOM. Send an X-ray of these.")

    def take(self, data: bytes | memoryview, limits: Limits) -> None:
        """Take the next bytes of the file. Raises Refusal."""
        if len(self.content) + len(data) > limits.file_bytes:
            raise _too_large("A file", limits.file_bytes)
        self.content += data

    @property
    def declared(self) -> str:
        """The type that the sender gave."""
        return self.header.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")


class _Form:
    """Collects the parts of one multipart body."""

    def __init__(self, boundary: bytes, limits: Limits, most: int, *, pictures: bool) -> None:
        self.parts: list[Part] = []
        self._limits, self._most = limits, most
        self._name, self._value = bytearray(), bytearray()
        self._ended = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": lambda: self.parts[-1].require_file(pictures=pictures),
            "on_part_data": self._data,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type] # it bounds the headers itself

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises Refusal."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _bad_form() from None

    def finish(self) -> list[Part]:
        """Return the parts. Raises Refusal if the body ended early or held none."""
        if not self._ended:
            raise Refusal(400, "bad-form", "The upload ended early. Send it again.")
        if not self.parts:
            raise Refusal(400, "bad-form", f"The form holds no file. Send at least one in the field '{FIELD}'.")
        return self.parts

    def _begin(self) -> None:
        if len(self.parts) == self._most:
            found = "one file" if self._most == 1 else f"{self._most} files"
            raise Refusal(413, "too-many-files", f"More than {found} came in one request. Send fewer at a time.")
        self.parts.append(Part())

    def _header_end(self) -> None:
        self.parts[-1].header[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].take(memoryview(data)[start:end], self._limits)

    def _end(self) -> None:
        self._ended = True


class _Whole:
    """A body that is one file of values itself: what a program sends that has no form."""

    def __init__(self, limits: Limits) -> None:
        self.parts, self._limits = [Part()], limits

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises Refusal."""
        self.parts[0].take(chunk, self._limits)

    def finish(self) -> list[Part]:
        """Return the one part."""
        return self.parts


@dataclass
class Uploads:
    """The files of one request, and the budget they were taken from."""

    parts: list[Part]
    size: int
    budget: Budget

    def close(self) -> None:
        """Forget the files."""
        self.parts.clear()
        self.budget.give(self.size)
        self.size = 0


async def receive(request: Request, limits: Limits, budget: Budget, *, most: int, pictures: bool) -> Uploads:
    """Read up to `most` files of a request into memory; `close` what is returned.

    Of `pictures` it is a form; of values it may be, or the body is the one file.

    Raises:
        Refusal: the request is too large, too slow, or not a form of files.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    form: _Form | _Whole
    if kind == b"multipart/form-data":
        form = _Form(_boundary(options), limits, most, pictures=pictures)
    elif pictures:
        raise Refusal(415, "wrong-type", "The request is not multipart/form-data. Send the X-rays as files of a form.")
    else:
        form = _Whole(limits)
    held, refusal = 0, None
    try:
        async with aclosing(_chunks(request, limits)) as chunks:
            async for chunk in chunks:
                if refusal is not None:
                    continue  # a client that is still sending would never read the answer
                try:
                    if held + len(chunk) > limits.request_bytes:
                        raise _too_large("The request", limits.request_bytes)
                    budget.take(len(chunk))
                    held += len(chunk)
                    form.write(chunk)
                except Refusal as err:
                    refusal = err
                    form.parts.clear()
                    budget.give(held)
                    held = 0
        if refusal is not None:
            raise refusal
        return Uploads(form.finish(), held, budget)
    except TimeoutError:
        budget.give(held)
        raise Refusal(408, "too-slow", "The upload took too long. Send it again over a faster connection.") from None
    except ClientDisconnect:
        budget.give(held)
        raise Refusal(400, "bad-form", "The upload ended early. Send it again.") from None
    except BaseException:
        budget.give(held)
        raise


async def _chunks(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Yield the body; a silence, or the end of all patience, raises TimeoutError."""
    stream = request.stream().__aiter__()
    end = anyio.current_time() + limits.upload_s
    while True:
        try:
            with anyio.fail_after(min(limits.idle_s, max(0.0, end - anyio.current_time()))):
                chunk = await stream.__anext__()
        except StopAsyncIteration:
            return
        yield chunk


def _boundary(options: dict[bytes, bytes]) -> bytes:
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 200:
        raise _bad_form()
    return boundary


def _too_large(what: str, limit: int) -> Refusal:
    return Refusal(413, "too-large", f"{what} is larger than {limit / MEBI:g} MiB. Send a smaller one.")


def _bad_form() -> Refusal:
    return Refusal(400, "bad-form", "The body is not the form that its header announces. Send the files again.")
