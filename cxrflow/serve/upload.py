"""From a request to gray pixels, in memory from end to end, trusting nothing.

The multipart body is parsed here because the framework's own parser writes larger uploads to temporary files. File
names are looked at only to refuse those that hold a path; they are not kept, logged or answered.
"""

import io
import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import anyio
import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from PIL import Image
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from contract.errors import ImageError, ImageTooLargeError
from contract.preprocess import load_gray
from cxrflow.serve.limits import MEBI, Budget, Limits, Refusal
from datasets import dicom

logging.getLogger("python_multipart.multipart").disabled = True  # it quotes what it cannot parse

FIELD = "files"  # of the form
NAME = "the image"  # what decoders call it in their messages
ANY_TYPE = ("", "application/octet-stream")  # what browsers say about a file that they do not know
TYPES = {
    "JPEG": ("image/jpeg", "image/jpg", "image/pjpeg"),
    "PNG": ("image/png",),
    "DICOM": ("application/dicom", "application/dicom+octet-stream"),
}
_KNOWN_TYPES = {name for names in TYPES.values() for name in names} | set(ANY_TYPE)


@dataclass
class Part:
    """One part of a form."""

    header: dict[bytes, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    def require_file(self) -> None:
        """Stop unless this is a file that its sender calls an X-ray. Raises Refusal."""
        _, options = parse_options_header(self.header.get(b"content-disposition", b""))
        name = options.get(b"filename")
        if name is None or options.get(b"name", b"").decode("latin-1") != FIELD:
            raise Refusal(400, "bad-form", f"The form may hold files only, in the field '{FIELD}'.")
        if any(byte < 32 or byte == 127 for byte in name) or b"/" in name or b"\\" in name or name in (b".", b".."):
            raise Refusal(400, "file-name", "A file name holds a path or control characters. Send the plain name.")
        if self.declared not in _KNOWN_TYPES:
            raise Refusal(415, "wrong-type", "A file is not declared as JPEG, PNG or DICOM. Send an X-ray of these.")

    @property
    def declared(self) -> str:
        """The type that the sender gave."""
        return self.header.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")


class _Form:
    """Collects the parts of one multipart body."""

    def __init__(self, boundary: bytes, limits: Limits, most: int) -> None:
        self.parts: list[Part] = []
        self._limits, self._most = limits, most
        self._name, self._value = bytearray(), bytearray()
        self._ended = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": lambda: self.parts[-1].require_file(),
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
        content = self.parts[-1].content
        if len(content) + end - start > self._limits.file_bytes:
            raise _too_large("A file", self._limits.file_bytes)
        content += memoryview(data)[start:end]

    def _end(self) -> None:
        self._ended = True


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


async def receive(request: Request, limits: Limits, budget: Budget, *, most: int) -> Uploads:
    """Read up to `most` files of a request into memory; `close` what is returned.

    Raises:
        Refusal: the request is too large, too slow, or not a form of files.
    """
    boundary = _boundary(request)
    form = _Form(boundary, limits, most)
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


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise Refusal(415, "wrong-type", "The request is not multipart/form-data. Send the X-rays as files of a form.")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 200:
        raise _bad_form()
    return boundary


def decode(part: Part, limits: Limits, *, height: int, width: int) -> NDArray[np.uint8]:
    """Return the gray pixels of an upload in its own size, (h, w), at least (height, width).

    Raises:
        Refusal: it is no usable X-ray.
    """
    content = bytes(part.content)
    kind = _kind(content)
    if part.declared not in (*ANY_TYPE, *TYPES[kind]):
        raise Refusal(415, "type-mismatch", f"The file holds {kind}, but was declared as something else.")
    try:
        if kind == "DICOM":
            shape = dicom.describe(content, name=NAME)
            _require_pixels(shape.width * shape.height, limits)
            gray, _ = dicom.read(content, name=NAME, secret=secrets.token_bytes(32))
        else:
            _require_pixels(_header_pixels(content, kind), limits)
            if kind == "JPEG":
                dicom.require_scans(content, name=NAME)
            gray = load_gray(content, height=height, width=width, name=NAME)
    except ImageTooLargeError:
        raise _too_many_pixels(limits) from None
    except ImageError as err:
        raise Refusal(422, "unusable", f"The image {str(err).removeprefix(f'{NAME}: ')}") from None
    if gray.shape[0] < height or gray.shape[1] < width:
        found = f"{gray.shape[1]} x {gray.shape[0]}"
        raise Refusal(422, "too-small", f"The image has {found} pixels; {width} x {height} are needed at least.")
    return gray


def _kind(content: bytes) -> str:
    """Return what a file is by its first bytes. Raises Refusal."""
    if not content:
        raise Refusal(400, "empty-file", "The file is empty (0 bytes). Send the X-ray again.")
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if dicom.is_dicom(content):
        return "DICOM"
    if content.startswith(b"PK"):
        found = "a ZIP archive, whatever its name says: unpack it, and send"
    elif b"<svg" in content[:4096].lower():
        found = "an SVG drawing, which is a program: send"
    else:
        found = "no JPEG, PNG or DICOM: send"
    raise Refusal(415, "not-an-image", f"The file is {found} the X-rays themselves.")


def _header_pixels(content: bytes, kind: str) -> int:
    """Return the pixels that a JPEG or PNG claims to have, 0 where its header is damaged: decoding will say so."""
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as image:
            return image.width * image.height
    except Image.DecompressionBombError as err:
        raise ImageTooLargeError(str(err)) from None
    except Exception:  # Pillow raises nearly everything on hostile input
        return 0


def _require_pixels(count: int, limits: Limits) -> None:
    if count > limits.pixels:
        raise _too_many_pixels(limits)


def _too_many_pixels(limits: Limits) -> Refusal:
    most = limits.pixels / 1e6
    return Refusal(413, "too-many-pixels", f"The image has more than {most:g} megapixels. Shrink it and send it again.")


def _too_large(what: str, limit: int) -> Refusal:
    return Refusal(413, "too-large", f"{what} is larger than {limit / MEBI:g} MiB. Send a smaller one.")


def _bad_form() -> Refusal:
    return Refusal(400, "bad-form", "The body is not the form that its header announces. Send the files again.")
