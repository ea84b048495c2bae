"""Around every request: who may ask, what a browser may do with the answer, and no word of the content in any log."""

import asyncio
import hmac
import ipaddress
import logging
import traceback
from collections import Counter
from typing import Any, Literal
from urllib.parse import urlsplit

import h11
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from cxrflow.serve.limits import BUG, Limits, Refusal

LOG = logging.getLogger("cxrflow.serve")
OPEN_PATHS = ("/", "/page.css", "/page.js", "/icon.svg", "/healthz")  # hold nothing that a token protects
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
OF_A_BROWSER = 8  # connections that one may open to a server, with some to spare: today's open six

MALFORMED = Refusal(400, "bad-request", "The request is not HTTP as its standard has it. Send it with an HTTP library.")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware, the outermost one."""

    def __init__(self, app: ASGIApp, *, loopback: bool, token: str | None) -> None:
        """Let through to `app` what passes.

        Args:
            app: the application.
            loopback: bound to this machine only: a request for any other host comes from a rebound name.
            token: that the API asks for, if any.
        """
        self._app, self._loopback, self._token = app, loopback, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers[name] = value
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, guarded)
        except Refusal as refusal:
            await refuse(refusal)(scope, receive, guarded)
        except Exception as err:
            # The place and the kind only: a message or a local variable can quote an image's header.
            where = traceback.extract_tb(err.__traceback__)[-1]
            LOG.error("%s at %s:%s", type(err).__name__, where.filename, where.lineno)
            if not started:
                await refuse(BUG)(scope, receive, guarded)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._loopback and not is_loopback(_host_name(host)):
            raise Refusal(421, "wrong-host", "This server answers for this machine only. Ask for localhost.")
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host.lower():
            raise Refusal(403, "cross-origin", "Another site's page may not use this server. Open its own page.")
        if self._token is not None and scope["path"] not in OPEN_PATHS:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
                raise Refusal(401, "token", "The access token is missing or wrong. Give the one that the server has.")


def refuse(refusal: Refusal) -> JSONResponse:
    """Return the answer that a refusal is."""
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
    headers |= {"Retry-After": "1"} if refusal.code == "busy" else {}
    if refusal.status in (401, 403, 408, 421):  # the body may still be coming, and nobody reads it
        headers["Connection"] = "close"
    return JSONResponse(refusal.body(), refusal.status, headers)


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


class Crowd:
    """The open connections. Where there is no room for one more, those who hold most of them make it.

    Of the peer with the most connections, one that is not asking anything is closed, the oldest first. Where all of
    them are asking something and the peer holds many, it is one whose upload has not ended; else, for another peer's
    sake, the newest one. So whoever opens connections and leaves them open closes their own, and locks nobody out.

    Where that peer holds few, nobody's request is cut off: the oldest connection of anybody that is not asking anything
    is closed, and if there is none, the new one. Few is a third of all while anybody is idle, and what a browser may
    open once nobody is.
    """

    def __init__(self, most: int) -> None:
        """Allow `most` connections."""
        self._most = most
        self._members: dict[Patient, str] = {}  # and their peers, the oldest first

    def enter(self, member: "Patient", peer: str) -> None:
        """Take a connection in, and close another one where that is one too many, or this one."""
        if len(self._members) >= self._most:
            leaving = self._leaving(peer) or member
            self._members.pop(leaving, None)
            leaving.transport.abort()
            if leaving is member:
                return
        self._members[member] = peer

    def _leaving(self, peer: str) -> "Patient | None":
        """Return the connection that makes room for one of `peer`; None if the new one has to go."""
        counts = Counter(self._members.values())
        counts[peer] += 1
        largest = peer if counts[peer] == max(counts.values()) else counts.most_common(1)[0][0]
        states = {one: one.state() for one in self._members}
        idle = [one for one, state in states.items() if state == "idle"]
        theirs = [one for one, its in self._members.items() if its == largest]
        few = self._most // 3 if idle else min(OF_A_BROWSER, self._most // 3)
        if counts[largest] <= few:
            return next((one for one in idle if one in theirs), next(iter(idle), None))
        for state in ("idle", "receiving"):
            if found := next((one for one in theirs if states[one] == state), None):
                return found
        return None if largest == peer else theirs[-1]

    def leave(self, member: "Patient") -> None:
        """Forget a connection."""
        self._members.pop(member, None)


class Patient(H11Protocol):
    """uvicorn's HTTP protocol, which closes a connection that is not used.

    That is one on which a request's header does not end in time, or whose client does not read its answer. (The body's
    time is bounded where it is read, and uvicorn closes what is silent after an answer.)
    """

    crowd: Crowd
    header_s: float  # from opening a connection, or the first byte of a further request, to the end of its header [s]
    answer_s: float  # that a client may take to read what has been sent [s]
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """See asyncio, as the others."""
        super().connection_made(transport)
        self._wait()
        self.crowd.enter(self, _neighbourhood(self.client))

    def data_received(self, data: bytes) -> None:  # noqa: D102
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._timer is None:  # the header of a further request has begun
            self._wait()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the request is answered as any other, and no package that uvicorn would name is missing."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP: the application never sees it."""
        answer = refuse(MALFORMED)
        headers = [*answer.raw_headers, *((name.lower().encode(), value.encode()) for name, value in SECURITY.items())]
        response = h11.Response(status_code=400, headers=[*headers, (b"connection", b"close")], reason=b"Bad Request")
        for event in (response, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def pause_writing(self) -> None:  # noqa: D102
        super().pause_writing()
        if self._unread is None:
            self._unread = asyncio.get_running_loop().call_later(self.answer_s, self.transport.abort)

    def resume_writing(self) -> None:  # noqa: D102
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self.crowd.leave(self)
        self._stop_waiting()
        super().connection_lost(exc)
        self.resume_writing()

    def state(self) -> Literal["idle", "receiving", "working"]:
        """Return what this connection is there for at the moment."""
        if self.cycle is None or self.cycle.response_complete:
            return "idle"
        return "receiving" if self.cycle.more_body else "working"

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.header_s, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def patient_protocol(limits: Limits) -> type[H11Protocol]:
    """Return the protocol for one server."""
    crowd = Crowd(limits.connections)
    return type("Patient", (Patient,), {"crowd": crowd, "header_s": limits.header_s, "answer_s": limits.upload_s})


def _neighbourhood(client: tuple[str, int] | None) -> str:
    """Return who a peer is, as far as its address says: somebody's IPv6 addresses share their first 64 bits."""
    try:
        address = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return ""
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
