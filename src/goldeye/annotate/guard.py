"""What stands before every request: known hosts, the own page only, small bodies, a measured pace; and error answers.

Errors are `{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from goldeye.annotate.work import ClientIdUsed, Closed, DatasetChanged, UnknownAssignment
from goldeye.errors import GoldeyeError, ImageError, InvalidInput

log = logging.getLogger("goldeye.annotate")
BODY_LIMIT = 16 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A person at five times the paper's pace makes about 3 requests a second; a page that loads makes 20 at once.
REQUESTS_PER_SECOND, REQUESTS_AT_ONCE = 50.0, 300.0
FAILED_SIGN_INS_PER_SECOND, FAILED_SIGN_INS_AT_ONCE = 0.2, 20.0
_KNOWN_CALLERS = 10_000
# A name or IPv4 address, or an IPv6 address in brackets; and a port. Anything else some parser could read otherwise.
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class NoSession(GoldeyeError):
    """The request needs a session and has none that is valid."""

    code = "no_session"


class OtherPerson(GoldeyeError):
    """The page that sends the request was opened by somebody else than the session is of now."""

    code = "other_person"


class OwnerOnly(GoldeyeError):
    """The request is for owners."""

    code = "owner_only"


class TooMany(GoldeyeError):
    """The caller asks faster than anybody works."""

    code = "too_many"


STATUS = {
    NoSession: 401,
    OwnerOnly: 403,
    UnknownAssignment: 404,
    ClientIdUsed: 409,
    OtherPerson: 409,
    Closed: 409,
    InvalidInput: 422,
    TooMany: 429,
    DatasetChanged: 503,
    ImageError: 500,
}


class Pace:
    """A token bucket for each caller: `burst` requests at once, `rate` a second in the long run."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._left: dict[str, tuple[float, float]] = {}  # caller → (tokens, when)
        self._lock = threading.Lock()

    def allows(self, caller: str, cost: float = 1.0) -> bool:
        """Take `cost` tokens of a caller's if they are there; with a cost of 0: whether there is one at all."""
        now = self.clock()
        with self._lock:
            tokens, then = self._left.get(caller, (self.burst, now))
            tokens = min(tokens + (now - then) * self.rate, self.burst)
            allowed = tokens >= max(cost, 1.0)
            if caller not in self._left and len(self._left) >= _KNOWN_CALLERS:
                self._left.clear()  # a flood of callers: all start anew, and memory stays bounded
            self._left[caller] = (tokens - cost if allowed else tokens, now)
            return allowed


class Sessions:
    """Session ids that were valid when they came, to tell them from those that a caller makes up."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def add(self, session: str) -> None:
        """Remember a valid session id."""
        if len(self._known) >= _KNOWN_CALLERS:
            self._known.clear()
        self._known.add(session)

    def __contains__(self, session: str) -> bool:
        return session in self._known


def error_answer(status: int, code: str, message: str) -> JSONResponse:
    """An error in the form that all have."""
    # What a message quotes from a request may hold half a surrogate pair, which UTF-8 has no bytes for.
    message = message.encode(errors="replace").decode()
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def handle_errors(app: FastAPI, admit: Callable[[Request], None]) -> None:
    """Make the application answer every error in that form.

    `admit` raises for a request without the session it needs: that is answered, whatever else is wrong with it.
    """

    def refused(request: Request, error: Exception) -> JSONResponse:
        try:
            if not isinstance(error, HTTPException) or error.status_code == 400:  # 400: a body that is no text at all
                admit(request)
        except GoldeyeError as refusal:
            return _goldeye_error(request, refusal)
        return (_http_error if isinstance(error, HTTPException) else _invalid_request)(request, error)

    app.add_exception_handler(GoldeyeError, _goldeye_error)
    app.add_exception_handler(RequestValidationError, refused)
    app.add_exception_handler(HTTPException, refused)


def _goldeye_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GoldeyeError)
    if isinstance(error, ImageError):  # its message names a file, and with that the enhancer
        log.error("%s", error.message)
        return error_answer(500, "picture", "A picture of this group cannot be read: please tell the owner.")
    return error_answer(STATUS.get(type(error), 400), error.code, error.message)


def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return error_answer(422, "invalid_request", f"{where}: {first['msg']}.")


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed"}
    return error_answer(error.status_code, codes.get(error.status_code, "refused"), f"{error.detail}.")


class Guard:
    """Every request passes here first: known host, own page only for POST, small bodies; and the safety headers."""

    def __init__(self, app: ASGIApp, allowed_hosts: frozenset[str], cookie: str, sessions: Sessions) -> None:
        self.app, self.allowed_hosts, self.cookie, self.sessions = app, allowed_hosts, cookie, sessions
        self.pace = Pace(REQUESTS_PER_SECOND, REQUESTS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                # Pages and scripts may be kept and asked for anew; what the interface says is nobody else's.
                headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith("/api/") else "no-cache")
            await send(message)

        refused = self._refusal(scope, Headers(scope=scope))
        try:
            await (refused or self.app)(scope, receive, send_guarded)
        except Exception:
            # Answered here, because what Starlette answers on its own lacks the headers; raised on for the log.
            if not started:
                sentence = "Something went wrong on the server; your answer will be sent again."
                await error_answer(500, "server", sentence)(scope, receive, send_guarded)
            raise

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if _hostname(host) not in self.allowed_hosts:
            return error_answer(400, "host", "This server does not answer under that name.")
        if scope["method"] not in ("GET", "HEAD"):
            # A foreign page can neither add this header nor send JSON here without asking first (CORS), and we say no.
            if headers.get("x-goldeye") != "1" or headers.get("origin", f"//{host}").partition("//")[2] != host:
                return error_answer(403, "foreign", "Only the page of this server may send that.")
            length = headers.get("content-length", "0")
            if "transfer-encoding" in headers or not length.isdecimal() or int(length) > BODY_LIMIT:
                return error_answer(
                    413, "too_large", f"A request may have {BODY_LIMIT} bytes, announced by Content-Length."
                )
        # By session, so that people behind one address do not share a pace; without a valid one, by address.
        session = HTTPConnection(scope).cookies.get(self.cookie, "")
        if not self.pace.allows(session if session in self.sessions else client_address(scope)):
            return error_answer(429, "too_many", "That is faster than anybody works; please wait a moment.")
        return None


def client_address(scope: Mapping[str, object]) -> str:
    """Who sends the request: the address of the connection, or what a trusted proxy says."""
    client = scope.get("client")
    return str(client[0]) if isinstance(client, tuple | list) and client else ""


def _hostname(host: str) -> str | None:
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower() if found else None
