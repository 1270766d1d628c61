"""What owners alone may ask and do: figures, people, groups, gold items, exports, the log."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from pydantic import Field
from starlette.background import BackgroundTask

from goldeye.annotate import figures
from goldeye.annotate.app import Body, CurrentPerson, CurrentSite, PlainText, Site
from goldeye.annotate.guard import OwnerOnly
from goldeye.annotate.server import person_link
from goldeye.annotate.store import Person
from goldeye.annotate.work import UnknownAssignment
from goldeye.errors import InvalidInput

router = APIRouter()


def _owner(person: CurrentPerson) -> Person:
    if person.role != "owner":
        raise OwnerOnly("Only owners of this annotation may see that.")
    return person


CurrentOwner = Annotated[Person, Depends(_owner)]
Quota = Annotated[int | None, Field(ge=1, le=1_000_000)]


class Invitation(Body):
    """A person to be added."""

    name: PlainText = Field(max_length=100)
    role: Literal["annotator", "owner"] = "annotator"
    quota: Quota = None


class Change(Body):
    """Something to be done with a person; `quota` goes with the action of that name."""

    action: Literal["pause", "resume", "revoke", "renew", "forget", "requalify", "pass", "quota"]
    quota: Quota = None


class Gold(Body):
    """A group whose right labels are known; no kind makes it a normal group again."""

    group: str = Field(max_length=1000)
    kind: Literal["gold", "qualification"] | None
    expected: dict[str, str] = Field(default={}, max_length=100)
    note: PlainText | None = Field(default=None, max_length=1000)


# Figures ------------------------------------------------------------------------------------------------------------


@router.get("/api/openapi.json")
def description(owner: CurrentOwner, request: Request) -> dict[str, Any]:
    """The description of this interface (OpenAPI)."""
    document: dict[str, Any] = request.app.openapi()
    for methods in document["paths"].values():
        for operation in methods.values():  # our sentence instead of the function's name
            operation["summary"] = operation.pop("description", operation["summary"])
    return document


@router.get("/api/owner/overview")
def overview(owner: CurrentOwner, site: CurrentSite) -> dict[str, Any]:
    """Progress, pace, labels, agreement and people, as the owner's page shows them."""
    settings = site.assigner.settings
    head = {
        "title": site.title,
        "task": site.task.kind,
        "settings": settings.model_dump(mode="json"),
        "names": site.figures.names,
    }
    return head | site.figures.overview(settings)


@router.get("/api/owner/log")
def changes(
    owner: CurrentOwner, site: CurrentSite, before: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None
) -> dict[str, Any]:
    """The log of changes, newest first, 100 at a time."""
    entries = site.store.log(before)
    return {"entries": [entry._asdict() | {"time": entry.time.isoformat()} for entry in entries]}


# People -------------------------------------------------------------------------------------------------------------


@router.post("/api/owner/people")
def invite(body: Invitation, owner: CurrentOwner, site: CurrentSite, request: Request) -> dict[str, Any]:
    """Add a person; their link is told once."""
    token = site.store.invite(body.name, body.role, quota=body.quota, actor=owner.name)
    person = next(one for one in site.store.people() if one.name == body.name.strip())
    return {
        "person": {"id": person.id, "name": person.name, "role": person.role},
        "link": person_link(site.link_base(request), token, person.role),
    }


@router.post("/api/owner/people/{number}")
def change_person(
    number: Annotated[int, PathParameter(ge=0, le=2**31 - 1)],
    body: Change,
    owner: CurrentOwner,
    site: CurrentSite,
    request: Request,
) -> dict[str, Any]:
    """Pause, resume, revoke, renew the link of, forget, or let a person qualify; or set their quota."""
    person = next((one for one in site.store.people() if one.id == number and not one.forgotten), None)
    if person is None:
        raise UnknownAssignment("There is no such person.")
    if person.id == owner.id and body.action in ("revoke", "forget"):
        raise InvalidInput("You cannot shut yourself out: another owner can, or the command line.")
    store, name, actor = site.store, person.name, owner.name
    link = None
    if body.action in ("pause", "resume"):
        store.pause(name, body.action == "pause", actor=actor)
    elif body.action == "revoke":
        store.revoke(name, actor=actor)
    elif body.action == "renew":
        token = store.invite(name, renew=True, actor=actor)
        link = person_link(site.link_base(request), token, person.role)
    elif body.action == "forget":
        store.forget(name, actor=actor)
    elif body.action == "quota":
        store.set_quota(name, body.quota, actor=actor)
    else:
        store.qualify(name, passed=body.action == "pass", actor=actor)
    return {"link": link}


# Groups -------------------------------------------------------------------------------------------------------------


@router.get("/api/owner/groups")
def groups(
    owner: CurrentOwner,
    site: CurrentSite,
    sort: Literal["disagreement", "votes", "id"] = "disagreement",
    only: Literal["all", "finished", "begun", "gold", "skipped"] = "all",
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
) -> dict[str, Any]:
    """A page of the groups, with their counts of labels."""
    return figures.group_rows(site.store, sort=sort, only=only, page=page)


@router.get("/api/owner/group")
def group(id: Annotated[str, Query(max_length=1000)], owner: CurrentOwner, site: CurrentSite) -> dict[str, Any]:
    """One group: its pictures, who answered what, and what is expected of it."""
    found = _known_group(id, site)
    height, width = site.sizes[id]

    def address(slot: str) -> str:
        return f"/api/owner/picture?{urlencode({'group': id, 'slot': slot})}"

    return {
        "id": id,
        "width": width,
        "height": height,
        "original": None if found.original is None else address("original"),
        "lr": None if found.lr is None else address("lr"),
        "candidates": {slot: address(slot) for slot in sorted(found.candidates)},
        "names": {slot: site.figures.names.get(slot, slot) for slot in sorted(found.candidates)},
        "gold": figures.gold_of(site.store, id),
        "answers": figures.group_answers(site.store, id),
    }


def _known_group(id: str, site: Site) -> Any:
    if id not in site.assigner.groups:
        raise UnknownAssignment("There is no such group.")
    return site.assigner.groups[id]


@router.get("/api/owner/picture")
def group_picture(
    group: Annotated[str, Query(max_length=1000)],
    slot: Annotated[str, Query(max_length=100)],
    owner: CurrentOwner,
    site: CurrentSite,
) -> Response:
    """A picture of any group: original, lr, or a candidate by its key."""
    found = _known_group(group, site)
    path = {"original": found.original, "lr": found.lr, **found.candidates}.get(slot)
    if path is None:
        raise UnknownAssignment("There is no such picture.")
    return Response(site.png(path), media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.post("/api/owner/gold")
def set_gold(body: Gold, owner: CurrentOwner, site: CurrentSite) -> dict[str, Any]:
    """Make a group a gold or qualification item, or a normal one again."""
    _known_group(body.group, site)
    if body.kind is not None:
        site.assigner.check_expected(body.group, body.expected)
    site.store.set_gold(body.group, body.kind, body.expected, body.note, actor=owner.name)
    site.figures.outdate()
    return {"gold": figures.gold_of(site.store, body.group)}


# Export -------------------------------------------------------------------------------------------------------------


@router.get("/api/owner/export")
def export(
    owner: CurrentOwner,
    site: CurrentSite,
    format: Literal["official", "csv", "parquet", "positives", "preferences", "huggingface"],
    names: bool = False,
) -> FileResponse:
    """What `goldeye labels export` writes, as a zip. `names` puts people's names for their pseudonyms."""
    if site.export is None:
        raise InvalidInput("There are no labels to export here.", hint="`goldeye study results` writes a study's.")
    work = Path(tempfile.mkdtemp(prefix="goldeye-export-"))
    try:
        site.export(work / "export", format, names)
        packed = shutil.make_archive(str(work / "labels"), "zip", work / "export")
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    site.store.note(owner.name, "exported", format + (" with names" if names else ""))
    return FileResponse(
        packed,
        media_type="application/zip",
        filename=f"labels-{format}.zip",
        background=BackgroundTask(shutil.rmtree, work, ignore_errors=True),
    )
