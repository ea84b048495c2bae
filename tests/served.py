"""A running server for tests, and a client that sends exactly what it is told to."""

import contextlib
import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrflow.serve.decoders import COMMAND
from cxrflow.serve.devices import Fleet
from cxrflow.serve.limits import Limits
from cxrflow.serve.start import make_server

BOUNDARY = "a-boundary"


@dataclass(frozen=True)
class File:
    """One part of a form."""

    content: bytes
    name: str = "xray.png"
    kind: str = "application/octet-stream"
    field: str = "files"


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)

    def assert_refused(self, status: int, code: str, *words: str) -> None:
        """A sentence with all `words`, its own status and code, and the note."""
        assert self.status == status, self.content[:500]
        body = self.json()
        assert (body["status"], body["code"]) == (status, code)
        assert body["error"][0].isupper() and body["error"].endswith((".", "!"))
        for word in words:
            assert word in body["error"], body["error"]
        assert "not a medical device" in body["note"]


def form(*files: File) -> bytes:
    """A multipart body."""
    body = b""
    for file in files:
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{file.field}"; filename="'.encode()
        body += file.name.encode() + f'"\r\nContent-Type: {file.kind}\r\n\r\n'.encode() + file.content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Served:
    """A server on a port of this machine."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def post(self, path: str, *files: File, **headers: str) -> Reply:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.ask("POST", path, form(*files), **{"Content_Type": kind, **headers})


@contextlib.contextmanager
def serving(
    *folders: Path,
    limits: Limits | None = None,
    token: str | None = None,
    devices: tuple[str, ...] = (),
    decoder: Sequence[str] = COMMAND,
) -> Iterator[Served]:
    """Serve deploy folders in a thread."""
    fleet = Fleet(folders, devices)
    server = make_server(fleet, limits or Limits(), loopback=True, token=token, decoder=decoder)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started:
                thread.join(0.01)
                assert thread.is_alive(), "the server did not start"
            yield Served(bound.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(30)
    fleet.close()


def png(pixels: NDArray[Any], kind: str = "PNG") -> bytes:
    """An image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def noise(side: int = 28, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
