"""The annotation application's HTTP interface and pages; what owners alone may do is in `owner`.

Nothing that leaves the server for an annotator tells which enhancer made a candidate: addresses are random per
assignment, pictures are encoded anew from their pixels, and no text from outside is ever joined to a path.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from goldeye import __version__
from goldeye.annotate import guard
from goldeye.annotate.assign import Assigner
from goldeye.annotate.figures import Figures
from goldeye.annotate.guard import (
    FAILED_SIGN_INS_AT_ONCE,
    FAILED_SIGN_INS_PER_SECOND,
    NoSession,
    OtherPerson,
    Pace,
    TooMany,
)
from goldeye.annotate.guideline import Guideline, default_guideline
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import SESSION_LIFE, Person, Store
from goldeye.annotate.tasks import LABEL, Task
from goldeye.annotate.work import Assignment, GroupPictures, Share, UnknownAssignment
from goldeye.errors import ImageError, InvalidInput
from goldeye.images import encode_png, image_size, read_image
from goldeye.runtime import available_cores

WEB = Path(str(files("goldeye.annotate") / "web"))
CACHE_BYTES = 128 << 20
Export = Callable[[Path, str, bool], None]  # writes a folder in a format, with people's names or pseudonyms
IMMUTABLE = {"Cache-Control": "private, max-age=86400, immutable"}  # an address never shows another picture


class Site:
    """What the routes share: who gets what, the pictures, the texts, and how people reach the server."""

    def __init__(
        self,
        assigner: Assigner,
        *,
        title: str,
        guideline: Guideline,
        figures: Figures,
        export: Export | None,
        base_url: str | None,
        secure: bool,
    ) -> None:
        self.assigner, self.store, self.task = assigner, assigner.store, assigner.task
        self.title, self.guideline, self.figures, self.export = title, guideline, figures, export
        self.base_url, self.secure = base_url, secure
        self.cookie = f"goldeye-{self.store.instance}"  # cookies do not know ports: two servers need two names
        self.sizes = {group.id: _common_size(group) for group in assigner.groups.values()}
        self.has_lr = any(group.lr for group in assigner.groups.values())
        self.has_reference = any(group.original for group in assigner.groups.values())
        self.failures = Pace(FAILED_SIGN_INS_PER_SECOND, FAILED_SIGN_INS_AT_ONCE)
        self.sessions = guard.Sessions()
        self._encoded: OrderedDict[tuple[Path, int, int], bytes] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()
        self.picture_threads = CapacityLimiter(max(available_cores() - 1, 1))

    def png(self, path: Path) -> bytes:
        """A picture as PNG, made from its pixels alone; the last ones are kept, since several people see each."""
        if (data := self.kept(path)) is not None:
            return data
        key = _version(path)
        data = encode_png(read_image(path))
        with self._lock:
            if key not in self._encoded:
                self._encoded[key] = data
                self._bytes += len(data)
            while self._bytes > CACHE_BYTES and len(self._encoded) > 1:
                self._bytes -= len(self._encoded.popitem(last=False)[1])
        return data

    def kept(self, path: Path) -> bytes | None:
        """The PNG if it was made before and is still here."""
        key = _version(path)
        with self._lock:
            if key in self._encoded:
                self._encoded.move_to_end(key)
            return self._encoded.get(key)

    def link_base(self, request: Request) -> str:
        """The address that people type: as the owner gave it, else the one of this request (a known host)."""
        return self.base_url or f"{request.url.scheme}://{request.headers['host']}"


def _version(path: Path) -> tuple[Path, int, int]:
    """A file as it is now."""
    try:
        stat = path.stat()
    except OSError as error:
        raise ImageError(f"'{path}' cannot be read: {error.strerror}.") from error
    return path, stat.st_mtime_ns, stat.st_size


def _printable(text: str) -> str:
    if not all(letter.isprintable() or letter == "\n" for letter in text):
        raise ValueError("holds a character that is none")
    return text


PlainText = Annotated[str, AfterValidator(_printable)]
AssignmentId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Body(BaseModel):
    """What a request sends: nothing beyond what is asked."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SignIn(Body):
    """The token from a personal link."""

    token: PlainText = Field(max_length=200)


class After(Body):
    """The group that is on the screen, when the one to come behind it is asked for."""

    after: AssignmentId | None = None


class Before(Body):
    """The group before which one is asked for; none: the newest."""

    before: AssignmentId | None = None


class Given(Body):
    """Something given to an assignment: `client_id` is the sender's own and makes sending twice harmless."""

    client_id: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    assignment: AssignmentId
    active_ms: int = Field(ge=0, le=24 * 3600 * 1000)


class Answer(Given):
    """One answer. `position` counts the candidates as shown, from 0; no label takes the answer back."""

    position: int = Field(ge=0, le=1000)
    label: Literal["Positive", "Similar", "Negative", "Preferred", "0", "1", "2", "3", "4", "5"] | None


class Skip(Given):
    """A group that is given back unanswered, and why."""

    reason: PlainText = Field(min_length=1, max_length=200)


class Practice(Body):
    """An answered practice group."""

    assignment: AssignmentId


router = APIRouter()


async def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


CurrentSite = Annotated[Site, Depends(_site)]


def current_person(request: Request, site: CurrentSite) -> Person:
    """Who the session of a request belongs to. Raises NoSession."""
    session = request.cookies.get(site.cookie)
    person = site.store.session_person(session) if session else None
    if session is None or person is None:
        raise NoSession("Please open your personal link again.")
    site.sessions.add(session)
    # One browser has one session: a page that was opened before must not go on in another person's name.
    if request.headers.get("x-goldeye-person", str(person.id)) != str(person.id):
        raise OtherPerson("This browser is signed in as somebody else now.")
    return person


# The routes that people use all day call the function themselves, and have no response model: each would be one more
# change of threads, which is what a request costs most.
CurrentPerson = Annotated[Person, Depends(current_person)]


# Sessions -----------------------------------------------------------------------------------------------------------


def _who(person: Person, site: Site) -> dict[str, Any]:
    task = {"kind": site.task.kind, "labels": list(site.task.labels), "words": dict(site.task.words)}
    return {
        "id": person.id,
        "name": person.name,
        "role": person.role,
        "instance": site.store.instance,
        "title": site.title,
        "task": task,
        "lr": site.has_lr,
        "reference": site.has_reference,
    }


@router.post("/api/session")
def sign_in(body: SignIn, request: Request, response: Response, site: CurrentSite) -> dict[str, Any]:
    """Exchange a link's token for a session cookie."""
    started = site.store.start_session(body.token)
    if started is None:  # a link that works is never refused: many people may share an address
        if not site.failures.allows(guard.client_address(request.scope)):
            raise TooMany("Too many links that do not work came from here; please wait a minute.")
        raise NoSession("This link is not valid (any more): please ask for a new one.")
    session, person = started
    response.set_cookie(
        site.cookie,
        session,
        max_age=int(SESSION_LIFE.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=site.secure,
    )
    return _who(person, site)


@router.get("/api/session")
def who_am_i(person: CurrentPerson, site: CurrentSite) -> dict[str, Any]:
    """Who the session belongs to, and what is asked of them."""
    return _who(person, site)


@router.post("/api/sign-out")
def sign_out(request: Request, response: Response, person: CurrentPerson, site: CurrentSite) -> dict[str, bool]:
    """End the session."""
    site.store.end_session(request.cookies[site.cookie])
    response.delete_cookie(site.cookie, httponly=True, samesite="strict", secure=site.secure)
    return {"signed_out": True}


@router.get("/api/guideline")
def guideline(person: CurrentPerson, site: CurrentSite) -> dict[str, Any]:
    """The guideline as sanitised HTML, and whether it is the owner's own."""
    return {"html": site.guideline.html, "own": site.guideline.own}


@router.get("/api/guideline/{number}")
def guideline_picture(
    number: Annotated[int, PathParameter(ge=0, le=1000)], person: CurrentPerson, site: CurrentSite
) -> Response:
    """A picture of the guideline."""
    if number >= len(site.guideline.pictures):
        raise UnknownAssignment("There is no such picture.")
    return Response(site.guideline.pictures[number], media_type="image/png")


# Work ---------------------------------------------------------------------------------------------------------------


def _progress(share: Share) -> dict[str, int]:
    return {"done": share.done, "total": share.total}


def _work(work: Assignment, share: Share, site: Site) -> dict[str, Any]:
    group = site.assigner.groups[work.group]
    height, width = site.sizes[work.group]
    practice = share.practice if work.kind == "qualification" else None
    return {
        "finished": False,
        "assignment": work.id,
        # Gold items and repeated groups must not be told from the others.
        "kind": "qualification" if work.kind == "qualification" else "normal",
        "original": None if group.original is None else f"/api/picture/{work.id}/0",
        "lr": None if group.lr is None else f"/api/picture/{work.id}/lr",
        "candidates": [f"/api/picture/{work.id}/{n}" for n in range(1, len(work.order) + 1)],
        "answers": work.answers,
        "complete": site.task.answered(work.answers),
        "skipped": work.skipped,
        "width": width,
        "height": height,
        "progress": _progress(share),
        "practice": None if practice is None else {"number": practice[0], "of": practice[1]},
    }


@router.post("/api/next", response_model=None)
def next_group(request: Request, site: CurrentSite, body: After | None = None) -> dict[str, Any]:
    """The person's open group or a new one; with `after`, the one to load early; or `finished` and why."""
    person = current_person(request, site)
    work, share = site.assigner.claim(person.id, body.after if body else None)
    if work is None:
        return {"finished": True, "reason": share.reason, "progress": _progress(share)}
    return _work(work, share, site)


@router.post("/api/previous")
def previous_group(body: Before, person: CurrentPerson, site: CurrentSite) -> dict[str, Any]:
    """The group given to the person before another one."""
    work, share = site.assigner.previous(person.id, body.before)
    return {"first": True} if work is None else _work(work, share, site)


@router.get("/api/work/{assignment}")
def work_again(
    assignment: Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_-]{1,64}$")],
    person: CurrentPerson,
    site: CurrentSite,
) -> dict[str, Any]:
    """A group of the person's own, as it stands: another window may have answered it."""
    work, share = site.assigner.again(person.id, assignment)
    return _work(work, share, site)


def _saved(body: Given, work: Assignment, site: Site) -> dict[str, Any]:
    complete = site.task.answered(work.answers) and not work.skipped
    return {"saved": body.client_id, "answers": work.answers, "complete": complete}


@router.post("/api/vote", response_model=None)
def vote(body: Answer, request: Request, site: CurrentSite) -> dict[str, Any]:
    """Store one answer and return all answers to the group as they now stand."""
    person = current_person(request, site)
    work = site.assigner.answer(
        person.id, body.assignment, body.position, body.label, client_id=body.client_id, active_ms=body.active_ms
    )
    return _saved(body, work, site)


@router.post("/api/skip")
def skip(body: Skip, person: CurrentPerson, site: CurrentSite) -> dict[str, Any]:
    """Give a group back unanswered."""
    work = site.assigner.skip(
        person.id, body.assignment, body.reason, client_id=body.client_id, active_ms=body.active_ms
    )
    return _saved(body, work, site)


@router.post("/api/feedback")
def feedback(body: Practice, person: CurrentPerson, site: CurrentSite) -> dict[str, Any]:
    """Close an answered practice group, tell what was expected, and after the last one whether all was enough."""
    found = site.assigner.feedback(person.id, body.assignment)
    result = None
    if found.passed is not None:
        result = {
            "passed": found.passed,
            "right": found.right_in_all,
            "total": found.total_in_all,
            "needed": site.assigner.settings.pass_mark,
        }
    return {
        "answers": found.answers,
        "expected": found.expected,
        "right": found.right,
        "total": found.total,
        "note": found.note,
        "result": result,
    }


@router.get("/api/picture/{assignment}/{number}")
async def picture(
    assignment: Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_-]{1,64}$")],
    number: Annotated[str, PathParameter(pattern=r"^(lr|[0-9]{1,4})$")],
    request: Request,
    site: CurrentSite,
) -> Response:
    """A picture of the person's own assignment: 0 is the original, 1… the candidates as shown, lr the LR input."""
    path, data = await to_thread.run_sync(_picture, assignment, number, request, site)
    if data is None:
        # Fetched ahead, so that it can wait: these threads leave a core, and all other threads, to the answers.
        data = await to_thread.run_sync(site.png, path, limiter=site.picture_threads)
    return Response(data, media_type="image/png", headers=IMMUTABLE)


def _picture(assignment: str, number: str, request: Request, site: Site) -> tuple[Path, bytes | None]:
    """A picture's file, and its PNG if that is kept."""
    person = current_person(request, site)
    work = site.assigner.get(assignment, person.id)
    group = site.assigner.groups.get(work.group)
    path: Path | None = None
    if group is not None and number == "lr":
        path = group.lr
    elif group is not None and int(number) == 0:
        path = group.original
    elif group is not None and int(number) <= len(work.order):
        path = group.candidates[work.order[int(number) - 1]]
    if path is None:
        raise UnknownAssignment("There is no such picture.")
    return path, site.kept(path)


# Pages --------------------------------------------------------------------------------------------------------------


def _page(name: str) -> str:
    return (WEB / f"{name}.html").read_text(encoding="utf-8")


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
def page() -> str:
    """The annotator's page; it asks for everything else through the interface above."""
    return _page("index")


@router.get("/owner", response_class=HTMLResponse, include_in_schema=False)
def owner_page() -> str:
    """The owner's page; it holds nothing before an owner has signed in."""
    return _page("owner")


@router.get("/api-docs", response_class=HTMLResponse, include_in_schema=False)
def api_page() -> str:
    """The description of this interface, for owners; the page itself is empty."""
    return _page("api-docs")


def create_app(
    groups: Collection[GroupPictures],
    store: Store,
    *,
    settings: AnnotationSettings | None = None,
    task: Task = LABEL,
    title: str = "Goldeye annotation",
    guideline: Guideline | None = None,
    figures: Figures | None = None,
    export: Export | None = None,
    allowed_hosts: Collection[str] = ("127.0.0.1", "localhost"),
    base_url: str | None = None,
    secure: bool = False,
) -> FastAPI:
    """The application that lets people annotate `groups` into `store`.

    `settings` as Assigner takes them; `figures` computes what the owner's page shows of the answers, `export` writes
    them for downloads. `allowed_hosts` are the names under which the application answers
    (without port): a page of another name that was pointed at this machine (DNS rebinding) gets nothing. `base_url` is
    what links begin with. `secure` restricts cookies to https, for a server behind TLS.
    Raises InvalidInput or ImageError, naming the group or file, unless all pictures of a group can be read and have one
    size.
    """
    from goldeye.annotate import owner

    assigner = Assigner(store, groups, settings, task=task)
    site = Site(
        assigner,
        title=title,
        guideline=guideline or default_guideline(task.kind),
        figures=figures or Figures(store, task=task),
        export=export,
        base_url=base_url,
        secure=secure,
    )
    app = FastAPI(title="Goldeye annotation", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    app.include_router(router)
    app.include_router(owner.router)
    app.mount("/static", StaticFiles(directory=WEB), name="static")
    hosts = frozenset(host.lower() for host in allowed_hosts)
    app.add_middleware(guard.Guard, allowed_hosts=hosts, cookie=site.cookie, sessions=site.sessions)
    guard.handle_errors(app, _admit)
    return app


def _admit(request: Request) -> None:
    """Raise unless the request has a session, or is the one that begins it."""
    if request.scope["endpoint"] is not sign_in:
        current_person(request, request.app.state.site)


def _common_size(group: GroupPictures) -> tuple[int, int]:
    """(height, width) of the original and the candidates of a group."""
    first, *others = [path for path in (group.original, *group.candidates.values()) if path is not None]
    size = image_size(first)
    for path in others:
        if (other := image_size(path)) != size:
            raise InvalidInput(
                f"'{path}' has {other[1]}x{other[0]} pixels, but its original '{first}' has {size[1]}x{size[0]}."
            )
    if group.lr is not None:
        small = image_size(group.lr)
        if small[0] >= size[0] or small[1] >= size[1]:
            raise InvalidInput(
                f"The LR input '{group.lr}' has {small[1]}x{small[0]} pixels, and must be smaller than group "
                f"'{group.id}' with {size[1]}x{size[0]}."
            )
    return size
