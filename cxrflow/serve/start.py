"""From the command line to a running server."""

import contextlib
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from contract.errors import ConfigError
from cxrflow.serve.app import create_app
from cxrflow.serve.decoders import COMMAND
from cxrflow.serve.devices import Fleet, find_deploys
from cxrflow.serve.guard import is_loopback, patient_protocol
from cxrflow.serve.limits import Limits

SHORTEST_TOKEN = 16  # characters
# What the Bearer scheme can carry (RFC 6750): all of it is itself in an address, too, and a % there is an escape.
TOKEN = re.compile(rf"(?=.{{{SHORTEST_TOKEN}}})[A-Za-z0-9._~+/-]+=*")
STOP_S = 5  # what requests under way may still take when the server is told to end [s]


def serve(
    paths: Sequence[Path],
    runs: Path,
    *,
    devices: Sequence[str],
    host: str,
    port: int,
    token: str | None,
    say: Callable[[str], None],
    limits: Limits | None = None,
    left_out: Callable[[str], None] | None = None,
) -> None:
    """Serve until Ctrl-C.

    Args:
        paths: runs or deploy folders; all of `runs` where empty.
        runs: folder of the run folders.
        devices: those to offer; all that this machine has where empty.
        host: address to bind to.
        port: 0 for any that is free.
        token: that the API asks for.
        say: told the address.
        limits: of requests; the usual ones where not given.
        left_out: told which of all runs the page cannot show; where not given, that is an error.

    Raises:
        ConfigError: the host needs a token, the port is taken, or there is nothing to serve.
        ArtifactError, MismatchError, DeviceError: a folder or device cannot be trusted.
    """
    _check_access(host, token)
    limits = limits or Limits()
    fleet = Fleet(find_deploys(paths, runs), devices, left_out=None if paths else left_out)
    try:
        first = next(iter(fleet.runs.values()))
        fleet.prepare(first, first.devices[0])  # so that a broken device is known before the first X-ray
        with _bind(host, port) as bound:
            shown = f"[{host}]" if ":" in host else host
            say(f"http://{shown}:{bound.getsockname()[1]}/{f'#{token}' if token else ''}")
            server = make_server(fleet, limits, loopback=is_loopback(host), token=token)
            with contextlib.suppress(KeyboardInterrupt):  # before or after uvicorn heeds signals
                server.run(sockets=[bound])
    finally:
        fleet.close()


def _check_access(host: str, token: str | None) -> None:
    if token is not None and not TOKEN.fullmatch(token):
        wrong = re.search(r"[^A-Za-z0-9._~+/=-]|=(?!=*$)", token)
        found = f"holds {wrong[0]!r}" if wrong else f"has {len(token)} characters"
        raise ConfigError(
            f"--token {found}, expected {SHORTEST_TOKEN} or more, of letters, digits and -._~+/, "
            "with = at its end only. Take one from `openssl rand -hex 16`."
        )
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host} lets other machines ask, so --token is needed. Take one from `openssl rand -hex 16`, or "
            "leave --host out to serve this machine only."
        )


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ConfigError."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as err:
        reason = getattr(err, "strerror", None) or str(err)
        raise ConfigError(f"{host}:{port} cannot be used ({reason}). Choose another --port or --host.") from err


def make_server(
    fleet: Fleet, limits: Limits, *, loopback: bool, token: str | None = None, decoder: Sequence[str] = COMMAND
) -> uvicorn.Server:
    """Return a server that is not running yet: `run(sockets=[...])` serves, `should_exit` ends it."""
    config = uvicorn.Config(
        create_app(fleet, limits=limits, loopback=loopback, token=token, decoder=decoder),
        ws="none",
        http=patient_protocol(limits),
        access_log=False,  # nothing of a request is written anywhere
        log_config=None,  # uvicorn's own one would enable again the loggers that decoders quote headers in
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End as after one signal, whose time is bounded: a second one would leave tasks, with a traceback of each."""
        self.should_exit = True
