"""What the `annotate` commands do with a dataset on disk."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from goldeye.annotate.guideline import Guideline, read_guideline
from goldeye.annotate.server import LOOPBACK, person_link, serve
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store
from goldeye.annotate.tasks import LABEL
from goldeye.annotate.work import GroupPictures
from goldeye.config import validate
from goldeye.dataset.groups import Dataset, DatasetSettings
from goldeye.errors import InvalidInput
from goldeye.files import atomic_path
from goldeye.images import find_images

if TYPE_CHECKING:
    from fastapi import FastAPI

    from goldeye.annotate.figures import Results
    from goldeye.annotate.votes import CountedVote


UNENCRYPTED = "Links and answers travel unencrypted; put a TLS proxy in front outside a trusted network."
LOOPBACKS = (LOOPBACK, "localhost", "::1")


@dataclass(frozen=True)
class Address:
    """Where a server listens, and how people reach it.

    `host` is the address to listen on, `base_url` the one that people type (a server name, a proxy's address); it must
    be given when `host` is not loopback, because the application answers under known names only.
    """

    host: str = LOOPBACK
    port: int = 8600
    base_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parts = self._parts
        if self.base_url and (parts is None or parts.path.strip("/") or parts.query or parts.fragment):
            raise InvalidInput(
                f"--base-url takes an address such as https://labels.example.org and no path, not '{self.base_url}'."
            )
        if self.host not in LOOPBACKS and parts is None:
            raise InvalidInput(
                f"Listening on {self.host} needs --base-url, the address under which people reach this machine.",
                hint="For example: --host 0.0.0.0 --base-url http://192.168.1.20:8600",
            )

    @property
    def _parts(self) -> SplitResult | None:
        """The parts of a base URL that can be used."""
        try:
            parts = urlsplit(self.base_url or "")
            known = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            return None
        return parts if known else None

    @property
    def encrypted(self) -> bool:
        parts = self._parts
        return parts is not None and parts.scheme == "https"

    @property
    def warning(self) -> str | None:
        """What the owner should know of the way answers travel."""
        parts = self._parts
        return None if parts is None or parts.hostname in LOOPBACKS or self.encrypted else UNENCRYPTED

    @property
    def hosts(self) -> set[str]:
        """The names under which the application answers."""
        public = self._parts.hostname if self._parts else None
        return {*LOOPBACKS, *([public] if public else [])}


# Serving ------------------------------------------------------------------------------------------------------------


def serve_store(
    app: FastAPI,
    store: Store,
    address: Address,
    *,
    invite: Sequence[str],
    renew: bool,
    counts: Callable[[], dict[str, Any]],
    ready: Callable[[dict[str, Any]], None],
) -> None:
    """Serve an application until Ctrl-C; once it is open, `ready` gets what the owner should know.

    The first time, an owner is made and their link told; later again with `renew`. `invite` are the words of the
    command that invites people, `counts` what there is to do.
    """

    def opened(own_url: str) -> None:
        base = (address.base_url or own_url).rstrip("/")
        people = store.people()
        owners = [one for one in people if one.role == "owner" and one.state != "forgotten"]
        link = None
        if renew or not owners:
            taken = {one.name for one in people}
            name = next(
                name for name in ("owner", *(f"owner {n}" for n in range(2, len(taken) + 3))) if name not in taken
            )
            token = store.invite(owners[0].name if owners else name, "owner", renew=bool(owners))
            link = person_link(base, token, "owner")
        store.remember("address", base)
        ready(
            {
                "address": base,
                "owner_page": f"{base}/owner",
                "owner_link": link,
                "people": [one.name for one in people if one.state == "active" and one.role != "owner"],
                **counts(),
                "invite": f"{shlex.join(invite)} --base-url {base}",
                "warning": address.warning,
            }
        )

    serve(app, address.host, address.port, opened, address.trusted_proxies)


def changed_settings(store: Store, changes: Mapping[str, Any]) -> AnnotationSettings:
    """The settings of the last time with those that were given now (not None) in their place; "none" unsets one."""
    before = store.settings() or AnnotationSettings()
    given = {key: None if value == "none" else value for key, value in changes.items() if value is not None}
    return validate(AnnotationSettings, before.model_dump() | given, where="the annotation")


def serve_dataset(
    path: Path,
    *,
    address: Address,
    changes: Mapping[str, Any],
    database: str | None = None,
    renew: bool = False,
    ready: Callable[[dict[str, Any]], None],
) -> None:
    """Serve the annotation of a dataset as `serve_store` does; `changes` are settings, None where they stay."""
    with open_store(path, database, make=True) as (dataset, store):
        settings = changed_settings(store, changes)
        text = read_guideline(Path(settings.guideline)) if settings.guideline else None
        inputs = Path(settings.lr) if settings.lr else None
        app = dataset_app(dataset, store, settings=settings, address=address, guideline=text, lr=inputs)

        def counts() -> dict[str, Any]:
            return {
                "groups": len(dataset.groups),
                "votes": sum(store.progress().by_group.values()),
                "settings": settings.model_dump(mode="json"),
            }

        words = ["goldeye", "annotate", "invite", str(path), "NAME", *(["--database", store.name] if database else [])]
        serve_store(app, store, address, invite=words, renew=renew, counts=counts, ready=ready)


@contextmanager
def open_store(path: Path, database: str | None = None, *, make: bool = False) -> Iterator[tuple[Dataset, Store]]:
    """A dataset and the store of its votes: `database`, else what dataset.yaml names.

    InvalidInput for a SQLite file that is not there, unless it is to be made.
    """
    dataset = Dataset.open(path)
    place = database or dataset.votes_url
    if not make:
        _existing_file(place)
    store = Store(place)
    try:
        yield dataset, store
    finally:
        store.close()


def _existing_file(place: str) -> Path | None:
    """The SQLite file of a path or URL; None for a server's. InvalidInput when it is not there."""
    file = place.removeprefix("sqlite:///")
    if "://" in file:
        return None
    if not Path(file).is_file():
        raise InvalidInput(f"There is no annotation database '{file}'.")
    return Path(file)


def backup(path: Path, database: str | None, target: Path) -> int:
    """Copy the SQLite store of a dataset while it is in use, whole, to the new file `target`; how many answers it has.

    Nothing is brought up to date, so that a store can be copied before a newer version touches it.
    """
    source = _existing_file(database or Dataset.open(path).votes_url)
    if source is None:
        raise InvalidInput("Only a SQLite store is copied this way.", hint="PostgreSQL's own tool is pg_dump.")
    if target.exists():
        raise InvalidInput(f"'{target}' is there already.", hint="Choose another name for the copy.")
    try:
        with (
            atomic_path(target) as temporary,
            closing(sqlite3.connect(source, timeout=30)) as original,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            original.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
            answers: int = copy.execute("SELECT count(*) FROM vote").fetchone()[0]
    except sqlite3.Error as error:
        raise InvalidInput(f"'{source}' cannot be copied: {error}.") from error
    return answers


# The application ----------------------------------------------------------------------------------------------------


def dataset_app(
    dataset: Dataset,
    store: Store,
    *,
    settings: AnnotationSettings | None = None,
    address: Address | None = None,
    guideline: Guideline | None = None,
    lr: Path | None = None,
    title: str | None = None,
) -> FastAPI:
    """The web application for all groups of a dataset; `lr` is a folder of LR inputs that annotators may look at.

    Raises InvalidInput when the store holds another dataset's groups, or an LR input is missing.
    """
    from goldeye.annotate.app import create_app
    from goldeye.annotate.figures import Figures

    address = address or Address()
    inputs = _lr_inputs(lr, dataset)
    groups = [
        GroupPictures(group.id, group.original, dict(group.candidates), inputs.get(group.id))
        for group in dataset.groups
    ]
    made = json.dumps(dataset.enhancer_names)
    known = {given.group for given in store.assignments()}
    if store.remembered("dataset") not in (None, made) or (known and not known & {group.id for group in groups}):
        raise InvalidInput(
            f"The annotation database '{store.name}' belongs to another dataset.",
            hint="Give each dataset a database of its own.",
        )
    store.remember("dataset", made)
    usual = DatasetSettings().labels
    told = {key.capitalize(): word for key, word in dataset.settings.labels.items() if usual.get(key) != word}

    def export(folder: Path, form: str, names: bool) -> None:
        from goldeye.dataset.exchange import FOLDERS, export_labels

        endings = {"preferences": "jsonl"}
        target = folder if form in FOLDERS else folder / f"labels.{endings.get(form, form)}"
        target.parent.mkdir(parents=True, exist_ok=True)
        export_labels(dataset.path, target, form, database=store.place, names=names)

    return create_app(
        groups,
        store,
        settings=settings,
        task=LABEL.with_words(told),
        title=title or dataset.path.resolve().name,
        guideline=guideline,
        figures=Figures(store, results=_label_figures(dataset, store), names=dataset.enhancer_names),
        export=export,
        allowed_hosts=address.hosts,
        base_url=address.base_url,
        secure=address.encrypted,
    )


def _label_figures(dataset: Dataset, store: Store) -> Results:
    from goldeye.dataset.agreement import label_agreement
    from goldeye.dataset.labels import NoVotes, label_stats, read_votes, stored_votes

    def figures(counted: list[CountedVote]) -> dict[str, Any]:
        try:
            votes = read_votes(dataset, stored=stored_votes(dataset, store, counted))
        except NoVotes:
            return {}
        agreement = label_agreement(dataset, votes, bootstrap=200, worst=0)
        del agreement["worst_groups"]
        return {"labels": label_stats(dataset, votes), "agreement": agreement}

    return figures


def _lr_inputs(folder: Path | None, dataset: Dataset) -> dict[str, Path]:
    """{group id: LR input} from a folder whose pictures are named as the groups."""
    if folder is None:
        return {}
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in find_images(folder)}
    lacking = [group.id for group in dataset.groups if group.id not in found and group.name not in found]
    if lacking:
        raise InvalidInput(f"'{folder}' has no LR input for {len(lacking)} groups, such as '{lacking[0]}'.")
    return {group.id: found.get(group.id) or found[group.name] for group in dataset.groups}


# Gold items, candidates made elsewhere ------------------------------------------------------------------------------


def set_gold_items(path: Path, table: Path, kind: str | None, database: str | None = None) -> tuple[int, list[str]]:
    """Make the groups of a csv (group, candidate, label, and if wanted note) gold or qualification items.

    Without a kind they are made normal again (the other columns are not needed then). All or none; returns how many,
    and what the owner should know.
    Raises InvalidInput naming the line that does not fit.
    """
    from goldeye.dataset.csv_files import csv_lines, csv_value

    def refuse(problem: str) -> None:
        raise InvalidInput(f"'{table}', {problem}.")

    lines = csv_lines(table, refuse)
    _, header = next(lines, (0, []))
    needed = {"group"} if kind is None else {"group", "candidate", "label"}
    if not needed <= set(header) or not set(header) <= {"group", "candidate", "label", "note"}:
        raise InvalidInput(f"'{table}' must have the columns group, candidate, label, and may have note.")
    expected: dict[str, dict[str, str]] = {}
    notes: dict[str, list[str]] = {}
    with open_store(path, database, make=database is None) as (dataset, store):
        candidates = {group.id: group.candidates for group in dataset.groups}
        for line, cells in lines:
            if not cells:
                continue
            if len(cells) != len(header):
                refuse(f"line {line}: {len(cells)} cells for {len(header)} columns")
            row = dict(zip(header, map(csv_value, cells), strict=True))
            try:
                LABEL.check_expected(row["group"], {} if kind is None else {row["candidate"]: row["label"]}, candidates)
            except InvalidInput as error:
                raise InvalidInput(f"'{table}', line {line}: {error.message}", hint=error.hint) from error
            labels = expected.setdefault(row["group"], {})
            if kind is not None and labels.setdefault(row["candidate"], row["label"]) != row["label"]:
                refuse(f"line {line}: candidate {row['candidate']} of group '{row['group']}' has two labels")
            if row.get("note"):
                notes.setdefault(row["group"], []).append(row["note"])
        texts = {group: " ".join(dict.fromkeys(lines)) for group, lines in notes.items()}
        store.set_golds(kind, {group: (labels, texts.get(group)) for group, labels in expected.items()})
        voted = store.progress().by_group.keys() & expected.keys()
        begun = {one.person for one in store.assignments() if one.kind == "normal"}
    remarks = []
    if kind is not None and voted:
        remarks.append(f"{len(voted)} of them have votes already, which stay and count.")
    if kind == "qualification" and begun:
        remarks.append(f"{len(begun)} people have begun; they are asked these first when they go on.")
    return len(expected), remarks


def dataset_from_folders(path: Path, photos: Path, folders: Sequence[str]) -> Dataset:
    """A dataset of whole pictures: those in `photos`, and for each `NAME=DIR` the same-named pictures in DIR.

    One that is there already is opened, if it was made of the same folders. Raises InvalidInput where they do not fit.
    """
    from goldeye.curate.candidates import NAME
    from goldeye.dataset.groups import DatasetWriter, Enhancer
    from goldeye.files import sha256
    from goldeye.images import read_image
    from goldeye.images.match import check_sizes, match_pictures

    named: dict[str, Path] = {}
    for text in folders:
        name, equals, folder = text.partition("=")
        if not equals or not NAME.fullmatch(name) or name in named:
            raise InvalidInput(f"--from takes NAME=DIR, each name once, not '{text}'.")
        named[name] = Path(folder)
    slots = {f"{number:02}": name for number, name in enumerate(named, 1)}
    enhancers = tuple(
        Enhancer(name=name, slot=slot, kind="folder", source=str(named[name])) for slot, name in slots.items()
    )
    if (path / "dataset.yaml").exists():
        known = Dataset.open(path)
        if known.settings.enhancers != enhancers:
            raise InvalidInput(
                f"'{path}' is there already, and was not made of these folders.", hint="Choose another folder."
            )
        return known
    original = f"{photos}/"  # no enhancer's name has a slash
    pictures = match_pictures({original: photos}, named)
    check_sizes(pictures, None)
    writer = DatasetWriter(path, DatasetSettings(enhancers=enhancers))
    for stem, found in pictures.items():
        writer.add(
            stem.replace("/", "__"),
            read_image(found[original]),
            {slot: read_image(found[name]) for slot, name in slots.items()},
            source=stem,
            source_sha256=sha256(found[original]),
            y=0,
            x=0,
            scores={},
        )
    return writer.finish(dict.fromkeys(pictures, "train"))
