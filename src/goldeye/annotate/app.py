"""The annotation application's HTTP interface and page.

POST /api/session {token}   a personal link's token becomes a session cookie
GET  /api/session           who the session belongs to
POST /api/next              the group to work on, its answers so far, and the person's progress
POST /api/vote              one answer; sent again with the same client id it changes nothing
GET  /api/picture/ID/N      picture N of assignment ID: 0 is the original, 1… the candidates in the order shown

Nothing that leaves the server tells which enhancer made a candidate: addresses are random per assignment, pictures are
encoded anew from their pixels, and no text from outside is ever joined to a path. Errors are
`{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from goldeye.annotate.assign import LEASE, Assigner, ClientIdUsed, GroupPictures, UnknownAssignment
from goldeye.annotate.store import SESSION_LIFE, Person, Store
from goldeye.errors import GoldeyeError, ImageError, InvalidInput
from goldeye.images import encode_png, image_size, read_image

log = logging.getLogger("goldeye.annotate")
WEB = Path(str(files("goldeye.annotate") / "web"))
BODY_LIMIT = 16 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
STATUS = {UnknownAssignment: 404, ClientIdUsed: 409, InvalidInput: 422, ImageError: 500}


class SignIn(BaseModel):
    """The token from a personal link."""

    model_config = ConfigDict(extra="forbid")
    token: str = Field(max_length=200)


class Answer(BaseModel):
    """One answer. `position` counts the candidates as shown, from 0; no label takes the answer back."""

    model_config = ConfigDict(extra="forbid", strict=True)
    client_id: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    assignment: str = Field(max_length=64)
    position: int = Field(ge=0, le=1000)
    label: Literal["Positive", "Similar", "Negative"] | None
    active_ms: int = Field(ge=0, le=24 * 3600 * 1000)


class NoSession(GoldeyeError):
    """The request needs a session and has none that is valid."""

    code = "no_session"


router = APIRouter()


def _assigner(request: Request) -> Assigner:
    assigner: Assigner = request.app.state.assigner
    return assigner


def _cookie(store: Store) -> str:
    return f"goldeye-{store.instance}"  # cookies do not know ports: two servers on one host need two names


def _person(request: Request) -> Person:
    store = _assigner(request).store
    session = request.cookies.get(_cookie(store))
    person = store.session_person(session) if session else None
    if person is None:
        raise NoSession("Please open your personal link again.")
    return person


CurrentAssigner = Annotated[Assigner, Depends(_assigner)]
CurrentPerson = Annotated[Person, Depends(_person)]


def _who(person: Person, store: Store) -> dict[str, str]:
    return {"name": person.name, "role": person.role, "instance": store.instance}


@router.post("/api/session")
def sign_in(body: SignIn, request: Request, response: Response, assigner: CurrentAssigner) -> dict[str, str]:
    """Exchange a token for a session cookie."""
    started = assigner.store.start_session(body.token)
    if started is None:
        raise NoSession("This link is not valid (any more): please ask for a new one.")
    session, person = started
    response.set_cookie(
        _cookie(assigner.store),
        session,
        max_age=int(SESSION_LIFE.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.app.state.secure,
    )
    return _who(person, assigner.store)


@router.get("/api/session")
def who_am_i(person: CurrentPerson, assigner: CurrentAssigner) -> dict[str, str]:
    """Who the session belongs to."""
    return _who(person, assigner.store)


@router.post("/api/next")
def next_group(person: CurrentPerson, assigner: CurrentAssigner, request: Request) -> dict[str, Any]:
    """The person's open group, or a new one, or `{"finished": true}`."""
    work, share = assigner.claim(person.id)
    progress = {"done": share.done, "total": share.total}
    if work is None:
        return {"finished": True, "progress": progress}
    height, width = request.app.state.sizes[work.group]
    return {
        "finished": False,
        "assignment": work.id,
        "original": f"/api/picture/{work.id}/0",
        "candidates": [f"/api/picture/{work.id}/{n}" for n in range(1, len(work.order) + 1)],
        "answers": work.answers,
        "width": width,
        "height": height,
        "progress": progress,
    }


@router.post("/api/vote")
def vote(body: Answer, person: CurrentPerson, assigner: CurrentAssigner) -> dict[str, Any]:
    """Store one answer and return all answers to the group as they now stand."""
    work = assigner.answer(
        person.id, body.assignment, body.position, body.label, client_id=body.client_id, active_ms=body.active_ms
    )
    return {"saved": body.client_id, "answers": work.answers, "complete": None not in work.answers}


@router.get("/api/picture/{assignment}/{number}")
def picture(assignment: str, number: int, person: CurrentPerson, assigner: CurrentAssigner) -> Response:
    """A picture of the person's own assignment as PNG, made from the pixels alone."""
    work = assigner.get(assignment, person.id)
    group = assigner.groups.get(work.group)
    if group is None or not 0 <= number <= len(work.order):
        raise UnknownAssignment("There is no such picture.")
    path = group.original if number == 0 else group.candidates[work.order[number - 1]]
    headers = {"Cache-Control": "private, max-age=86400, immutable"}  # an address never shows another picture
    return Response(encode_png(read_image(path)), media_type="image/png", headers=headers)


@router.get("/", response_class=HTMLResponse)
def page() -> str:
    """The page itself; it asks for everything else through the interface above."""
    return (WEB / "index.html").read_text(encoding="utf-8")


def create_app(
    groups: Collection[GroupPictures],
    store: Store,
    *,
    votes_per_group: int = 3,
    allowed_hosts: Collection[str] = ("127.0.0.1", "localhost"),
    lease: timedelta = LEASE,
    secure: bool = False,
) -> FastAPI:
    """The application that lets people annotate `groups` into `store`.

    `allowed_hosts` are the names under which it answers (without port): a page of another name that was pointed at
    this machine (DNS rebinding) gets nothing. `secure` restricts cookies to https, for a server behind TLS.
    Raises InvalidInput or ImageError, naming the group or file, unless all pictures of a group can be read and have one
    size.
    """
    app = FastAPI(title="Goldeye annotation", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.assigner = Assigner(store, groups, votes_per_group=votes_per_group, lease=lease)
    app.state.secure = secure
    app.state.sizes = {group.id: _common_size(group) for group in groups}
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=WEB), name="static")
    app.add_middleware(Guard, allowed_hosts=frozenset(host.lower() for host in allowed_hosts))
    app.add_exception_handler(GoldeyeError, _goldeye_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _server_error)
    return app


def _common_size(group: GroupPictures) -> tuple[int, int]:
    """(height, width) of all pictures of a group."""
    size = image_size(group.original)
    for path in group.candidates.values():
        if (other := image_size(path)) != size:
            raise InvalidInput(
                f"'{path}' has {other[1]}x{other[0]} pixels, but its original '{group.original}' "
                f"has {size[1]}x{size[0]}."
            )
    return size


# Errors and protection ------------------------------------------------------------------------------------------


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def _goldeye_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GoldeyeError)
    if isinstance(error, ImageError):  # its message names a file, and with that the enhancer
        log.error("%s", error.message)
        return _error(500, "picture", "A picture of this group cannot be read: please tell the owner.")
    status = 401 if isinstance(error, NoSession) else STATUS.get(type(error), 400)
    return _error(status, error.code, error.message)


def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return _error(422, "invalid_request", f"{where}: {first['msg']}.")


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed"}
    return _error(error.status_code, codes.get(error.status_code, "refused"), f"{error.detail}.")


def _server_error(request: Request, error: Exception) -> JSONResponse:
    return _error(500, "server", "Something went wrong on the server; your answer will be sent again.")


class Guard:
    """Every request passes here first: known host, own page only for POST, small bodies; and the safety headers."""

    def __init__(self, app: ASGIApp, allowed_hosts: frozenset[str]) -> None:
        self.app, self.allowed_hosts = app, allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope["method"], Headers(scope=scope))
        await (refused or self.app)(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if _hostname(host) not in self.allowed_hosts:
            return _error(400, "host", "This server does not answer under that name.")
        if method not in ("GET", "HEAD"):
            # A foreign page can neither add this header nor send JSON here without asking first (CORS), and we say no.
            if headers.get("x-goldeye") != "1" or headers.get("origin", f"//{host}").partition("//")[2] != host:
                return _error(403, "foreign", "Only the page of this server may send that.")
            length = headers.get("content-length", "0")
            if "transfer-encoding" in headers or not length.isdecimal() or int(length) > BODY_LIMIT:
                return _error(413, "too_large", f"A request may have {BODY_LIMIT} bytes, announced by Content-Length.")
        return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
