"""From one upload to gray pixels, or to values, trusting nothing: the process that may die of it.

The server starts this module as a process, gives it one upload after another on standard input and ends it where one
takes too long; `decoders.py` is the other side. Decoders are native code and thousands of lines of parsing: whatever
an upload does to them, to the memory or to the time, it does here. The process may allocate so much and no more, use
one processor for so long, and write no file.

A message is a JSON object and bytes, each announced by its length. The other side reads no more of an answer than it
expects, and nothing of it is executed.
"""

import contextlib
import importlib
import io
import json
import os
import resource
import secrets
import signal
import struct
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.errors import CxrflowError, DataError, ImageError, ImageTooLargeError
from contract.inputs import FORMATS, Fed, read_inputs
from contract.preprocess import area_average, load_gray
from contract.values import PIXELS
from cxrflow.serve.limits import Refusal
from datasets import dicom

NAME = "the image"  # what decoders call it in their messages
ANY_TYPE = ("", "application/octet-stream")  # what browsers say about a file that they do not know
TYPES = {
    "JPEG": ("image/jpeg", "image/jpg", "image/pjpeg"),
    "PNG": ("image/png",),
    "DICOM": ("application/dicom", "application/dicom+octet-stream"),
}
PREVIEW_SIDE = 640  # longest side of the picture that is sent back [pixel]
OUT_OF_MEMORY = "too-much-memory"
READY = b"ready\n"  # the first bytes of the process
_LENGTHS = struct.Struct("<II")
_SPARE_S = 2  # beyond the server's own patience: ends a process whose server has been killed


@dataclass(frozen=True)
class Job:
    """What is wanted of an upload, beside its bytes."""

    declared: str  # the type that the sender gave
    height: int  # of the network [pixel]
    width: int
    preview: bool
    pixels: int  # most that are accepted
    seconds: float  # of one processor
    memory: int  # that decoding may take [byte]
    reads: str = ""  # of Fed, as `shape`: what a file holds that is no image
    shape: tuple[int, ...] = ()
    inputs: int = 1  # most that are accepted of one file

    @property
    def noun(self) -> str:
        """What refusals call the upload."""
        return "The file" if self.reads else "The image"

    @property
    def fed(self) -> Fed:
        """What the upload is to become."""
        return Fed(self.reads, tuple(self.shape)) if self.reads else Fed(PIXELS.name, (self.height, self.width))


def write_message(stream: BinaryIO, header: dict[str, Any], *parts: bytes | bytearray | memoryview) -> None:
    """Write one message and flush."""
    text = json.dumps(header).encode()
    stream.write(_LENGTHS.pack(len(text), sum(map(len, parts))) + text)
    for part in parts:
        stream.write(part)
    stream.flush()


def read_message(stream: BinaryIO, *, most: int) -> tuple[dict[str, Any], bytes] | None:
    """Read one message of up to `most` bytes; None at the end of the stream, and for what is no message."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size or sum(_LENGTHS.unpack(lengths)) > most:
        return None
    text, size = _LENGTHS.unpack(lengths)
    header, content = stream.read(text), stream.read(size)
    if len(header) < text or len(content) < size:
        return None
    try:
        message = json.loads(header)
    except (ValueError, RecursionError):
        return None
    return (message, content) if isinstance(message, dict) else None


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends this process when it has ended itself
    with os.fdopen(os.dup(1), "wb") as answers, os.fdopen(os.dup(0), "rb") as jobs:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # codecs print, and what they print may quote the image
            os.dup2(nowhere, descriptor)
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory ends, this process goes and not the server
        with contextlib.suppress(ImportError):  # now, so that it takes neither an image's time nor its memory
            importlib.import_module("pydicom.pixels")
        Image.init()
        _limit(resource.RLIMIT_CORE, 0)  # nothing of an X-ray is written to disk, come what may
        _limit(resource.RLIMIT_FSIZE, 0)
        base = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        answers.write(READY)
        answers.flush()
        while message := read_message(jobs, most=1 << 32):
            _answer(answers, Job(**message[0]), message[1], base)
            del message


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _answer(answers: BinaryIO, job: Job, content: bytes, base: int) -> None:
    _limit(resource.RLIMIT_AS, base + len(content) + job.memory)
    _limit(resource.RLIMIT_CPU, int(time.process_time() + job.seconds + _SPARE_S))
    try:
        start = time.perf_counter()
        if job.reads:
            inputs, header, preview = read_values(content, job), {}, b""
        else:
            gray = decode(content, job)
            inputs = area_average(gray, height=job.height, width=job.width)[None]
            header = {"width": gray.shape[1], "height": gray.shape[0]}
            preview = _preview(gray) if job.preview else b""
        header |= {"count": len(inputs), "seconds": time.perf_counter() - start}
    except Refusal as refusal:
        write_message(answers, {"status": refusal.status, "code": refusal.code, "sentence": refusal.sentence})
    except MemoryError:
        remedy = "Send fewer inputs at a time" if job.reads else "Shrink it and send it again"
        sentence = f"{job.noun} takes more than {job.memory >> 20} MiB to decode. {remedy}."
        write_message(answers, {"status": 413, "code": OUT_OF_MEMORY, "sentence": sentence})
    except Exception as err:
        # The place and the kind only: a message or a local variable can quote an image's header.
        where = traceback.extract_tb(err.__traceback__)[-1]
        write_message(answers, {"bug": f"{type(err).__name__} at {where.filename}:{where.lineno}"})
    else:
        write_message(answers, header, inputs.tobytes(), preview)


def read_values(content: bytes, job: Job) -> NDArray[Any]:
    """Return the inputs of an upload that is no image, (N, *shape) of `job.fed.dtype`.

    Raises:
        Refusal: it holds something else.
        MemoryError: there is not enough.
    """
    if not content:
        raise _empty("values")
    try:
        inputs = read_inputs(content, job.fed, name=job.noun)
    except DataError as err:
        raise Refusal(422, "unusable", str(err)) from None
    except CxrflowError as err:  # which quotes what is in an archive
        if _for_memory(err):
            raise MemoryError from None
        found = "is damaged, or unpacks to more than is accepted"
        raise Refusal(422, "unusable", f"{job.noun} {found}; expected {FORMATS}.") from None
    if len(inputs) > job.inputs:
        raise Refusal(
            413,
            "too-many-inputs",
            f"{job.noun} holds {len(inputs):,} inputs, expected {job.inputs:,} at most. Send "
            "fewer at a time, or use `cxrflow infer`, which takes any number.",
        )
    return inputs


def decode(content: bytes, job: Job) -> NDArray[np.uint8]:
    """Return the gray pixels of an upload in its own size, (h, w), at least (height, width).

    Raises:
        Refusal: it is no usable X-ray.
        MemoryError: there is not enough.
    """
    kind = _kind(content)
    if job.declared not in (*ANY_TYPE, *TYPES[kind]):
        raise Refusal(415, "type-mismatch", f"The file holds {kind}, but was declared as something else.")
    try:
        if kind == "DICOM":
            shape = dicom.describe(content, name=NAME)
            _require_pixels(shape.width * shape.height, job.pixels)
            gray, _ = dicom.read(content, name=NAME, secret=secrets.token_bytes(32))
        else:
            _require_pixels(_header_pixels(content, kind), job.pixels)
            gray = load_gray(content, height=job.height, width=job.width, name=NAME)
    except ImageTooLargeError:
        raise _too_many_pixels(job.pixels) from None
    except ImageError as err:
        if _for_memory(err):
            raise MemoryError from None
        raise Refusal(422, "unusable", f"The image {str(err).removeprefix(f'{NAME}: ')}") from None
    if gray.shape[0] < job.height or gray.shape[1] < job.width:
        found = f"{gray.shape[1]} x {gray.shape[0]}"
        raise Refusal(
            422, "too-small", f"The image has {found} pixels; {job.width} x {job.height} are needed at least."
        )
    return gray


def _for_memory(err: BaseException | None) -> bool:
    """Return whether an error comes from an allocation that failed: then the image need not be damaged."""
    while err is not None:
        if isinstance(err, MemoryError):
            return True
        err = err.__cause__ or err.__context__
    return False


def _kind(content: bytes) -> str:
    """Return what a file is by its first bytes. Raises Refusal."""
    if not content:
        raise _empty("X-ray")
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


def _empty(what: str) -> Refusal:
    return Refusal(400, "empty-file", f"The file is empty (0 bytes). Send the {what} again.")


def _header_pixels(content: bytes, kind: str) -> int:
    """Return the pixels that a JPEG or PNG claims to have, 0 where its header is damaged: decoding will say so."""
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as image:
            return image.width * image.height
    except Image.DecompressionBombError as err:
        raise ImageTooLargeError(str(err)) from None
    except Exception:  # Pillow raises nearly everything on hostile input
        return 0


def _preview(gray: NDArray[np.uint8]) -> bytes:
    """Return a small picture of (h, w) pixels, upright as they were read; the browser cannot show DICOM."""
    image = Image.fromarray(gray)
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), reducing_gap=2.0)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _require_pixels(count: int, most: int) -> None:
    if count > most:
        raise _too_many_pixels(most)


def _too_many_pixels(most: int) -> Refusal:
    return Refusal(
        413, "too-many-pixels", f"The image has more than {most / 1e6:g} megapixels. Shrink it and send it again."
    )


if __name__ == "__main__":
    main()
