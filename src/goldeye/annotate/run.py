"""What the `annotate` commands do with a dataset on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from goldeye.annotate.guideline import Guideline, read_guideline
from goldeye.annotate.server import LOOPBACK, person_link, serve
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store
from goldeye.annotate.tasks import LABEL
from goldeye.annotate.work import GroupPictures
from goldeye.config import validate
from goldeye.dataset.groups import Dataset, DatasetSettings
from goldeye.errors import InvalidInput
from goldeye.images import find_images

if TYPE_CHECKING:
    from fastapi import FastAPI

    from goldeye.annotate.figures import Results


UNENCRYPTED = "Links and answers travel unencrypted; put a TLS proxy in front outside a trusted network."


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
        if self.base_url and self.public is None:
            raise InvalidInput(
                f"--base-url takes an address such as https://labels.example.org, not '{self.base_url}'."
            )
        if self.host not in (LOOPBACK, "localhost", "::1") and self.public is None:
            raise InvalidInput(
                f"Listening on {self.host} needs --base-url, the address under which people reach this machine.",
                hint="For example: --host 0.0.0.0 --base-url http://192.168.1.20:8600",
            )

    @property
    def public(self) -> str | None:
        """The name that people type, without port."""
        parts = urlsplit(self.base_url or "")
        return parts.hostname if parts.scheme in ("http", "https") else None

    @property
    def encrypted(self) -> bool:
        return urlsplit(self.base_url or "").scheme == "https"

    @property
    def warning(self) -> str | None:
        """What the owner should know of the way answers travel."""
        return None if self.public in (None, LOOPBACK, "localhost") or self.encrypted else UNENCRYPTED

    @property
    def hosts(self) -> set[str]:
        """The names under which the application answers."""
        return {LOOPBACK, "localhost", "::1", *([self.public] if self.public else [])}


def changed_settings(store: Store, changes: Mapping[str, Any]) -> AnnotationSettings:
    """The settings of the last time with those that were given now (not None) in their place."""
    before = store.settings() or AnnotationSettings()
    given = {key: value for key, value in changes.items() if value is not None}
    return validate(AnnotationSettings, before.model_dump() | given, where="the annotation")


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
    known = {given.group for given in store.assignments()}
    if known and not known & {group.id for group in groups}:
        raise InvalidInput(
            f"The annotation database '{store.name}' belongs to another dataset: it knows none of these groups.",
            hint="Give each dataset a database of its own.",
        )
    usual = DatasetSettings().labels
    told = {key.capitalize(): word for key, word in dataset.settings.labels.items() if usual.get(key) != word}
    url = store.url.render_as_string(hide_password=False)

    def export(folder: Path, form: str, names: bool) -> None:
        from goldeye.dataset.exchange import FOLDERS, export_labels

        endings = {"preferences": "jsonl"}
        target = folder if form in FOLDERS else folder / f"labels.{endings.get(form, form)}"
        target.parent.mkdir(parents=True, exist_ok=True)
        export_labels(dataset.path, target, form, database=url, names=names)

    return create_app(
        groups,
        store,
        settings=settings,
        task=LABEL.with_words(told),
        title=title or dataset.path.resolve().name,
        guideline=guideline,
        figures=Figures(store, results=_label_figures(dataset, url), names=dataset.enhancer_names),
        export=export,
        allowed_hosts=address.hosts,
        base_url=address.base_url,
        secure=address.encrypted,
    )


def _label_figures(dataset: Dataset, url: str) -> Results:
    from goldeye.dataset.agreement import label_agreement
    from goldeye.dataset.labels import label_stats, read_votes

    def figures() -> dict[str, Any]:
        try:
            votes = read_votes(dataset, database=url)
        except InvalidInput:  # none yet
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


def serve_dataset(
    path: Path,
    *,
    address: Address,
    changes: Mapping[str, Any],
    database: str | None = None,
    guideline: Path | None = None,
    lr: Path | None = None,
    renew: bool = False,
    ready: Callable[[dict[str, Any]], None],
) -> None:
    """Serve the application until Ctrl-C; once it is open, `ready` gets what the owner should know.

    `changes` are settings to be changed (None: as they were). The first time, an owner is made and their link told;
    later again with `renew`.
    """
    text = read_guideline(guideline) if guideline else None
    with open_store(path, database) as (dataset, store):
        settings = changed_settings(store, changes)
        app = dataset_app(dataset, store, settings=settings, address=address, guideline=text, lr=lr)
        owners = [person for person in store.people() if person.role == "owner" and person.state != "forgotten"]

        def opened(own_url: str) -> None:
            base = address.base_url or own_url
            link = None
            if renew or not owners:
                name = owners[0].name if owners else "owner"
                link = person_link(base, store.invite(name, "owner", renew=bool(owners)), "owner")
            option = f" --database {store.name}" if database else ""
            ready(
                {
                    "address": base,
                    "owner_link": link,
                    "groups": len(dataset.groups),
                    "people": [one.name for one in store.people() if one.state == "active" and one.role != "owner"],
                    "votes": sum(store.progress().by_group.values()),
                    "settings": settings.model_dump(mode="json"),
                    "invite": f"goldeye annotate invite {path} NAME{option} --base-url {base}",
                    "warning": address.warning,
                }
            )

        serve(app, address.host, address.port, opened, address.trusted_proxies)


@contextmanager
def open_store(path: Path, database: str | None = None) -> Iterator[tuple[Dataset, Store]]:
    """A dataset and the store of its votes: `database`, else what dataset.yaml names."""
    dataset = Dataset.open(path)
    store = Store(database or dataset.votes_url)
    try:
        yield dataset, store
    finally:
        store.close()


def set_gold_items(path: Path, table: Path, kind: str | None, database: str | None = None) -> int:
    """Make the groups of a csv (group, candidate, label, and if wanted note) gold or qualification items.

    Without a kind they are made normal again (the other columns are not needed then). All or none; returns how many.
    Raises InvalidInput naming the line that does not fit.
    """
    from goldeye.annotate.assign import Assigner
    from goldeye.dataset.csv_files import csv_lines, csv_value

    def refuse(problem: str) -> None:
        raise InvalidInput(f"'{table}', {problem}.")

    lines = csv_lines(table, refuse)
    _, header = next(lines, (0, []))
    needed = {"group"} if kind is None else {"group", "candidate", "label"}
    if not needed <= set(header) or not set(header) <= {"group", "candidate", "label", "note"}:
        raise InvalidInput(f"'{table}' must have the columns group, candidate, label, and may have note.")
    expected: dict[str, dict[str, str]] = {}
    notes: dict[str, str] = {}
    with open_store(path, database) as (dataset, store):
        pictures = [GroupPictures(one.id, one.original, dict(one.candidates)) for one in dataset.groups]
        assigner = Assigner(store, pictures)
        for line, cells in lines:
            if not cells:
                continue
            if len(cells) != len(header):
                refuse(f"line {line}: {len(cells)} cells for {len(header)} columns")
            row = dict(zip(header, map(csv_value, cells), strict=True))
            try:
                assigner.check_expected(row["group"], {} if kind is None else {row["candidate"]: row["label"]})
            except InvalidInput as error:
                raise InvalidInput(f"'{table}', line {line}: {error.message}", hint=error.hint) from error
            labels = expected.setdefault(row["group"], {})
            if kind is not None and labels.setdefault(row["candidate"], row["label"]) != row["label"]:
                refuse(f"line {line}: candidate {row['candidate']} of group '{row['group']}' has two labels")
            if row.get("note"):
                notes[row["group"]] = row["note"]
        for group, labels in expected.items():
            store.set_gold(group, kind, labels, notes.get(group))
    return len(expected)


def dataset_from_folders(path: Path, photos: Path, folders: Sequence[str]) -> Dataset:
    """A dataset of whole pictures: those in `photos`, and for each `NAME=DIR` the same-named pictures in DIR.

    Raises InvalidInput when `path` holds a dataset already, a picture is missing, or sizes differ.
    """
    from goldeye.curate.candidates import NAME
    from goldeye.dataset.groups import DatasetWriter, Enhancer
    from goldeye.files import sha256
    from goldeye.images import read_image

    named: dict[str, Path] = {}
    for text in folders:
        name, equals, folder = text.partition("=")
        if not equals or not NAME.fullmatch(name) or name in named:
            raise InvalidInput(f"--from takes NAME=DIR, each name once, not '{text}'.")
        named[name] = Path(folder)
    originals = _by_stem(photos)
    others = {name: _by_stem(folder) for name, folder in named.items()}
    for name, found in others.items():
        lacking = sorted(originals.keys() - found.keys())
        if lacking:
            raise InvalidInput(f"'{named[name]}' lacks {len(lacking)} of the pictures in '{photos}': {lacking[0]}, …")
    slots = {f"{number:02}": name for number, name in enumerate(named, 1)}
    enhancers = tuple(
        Enhancer(name=name, slot=slot, kind="folder", source=str(named[name])) for slot, name in slots.items()
    )
    writer = DatasetWriter(path, DatasetSettings(enhancers=enhancers))
    for stem, original in originals.items():
        picture = read_image(original)
        versions = {slot: read_image(others[name][stem]) for slot, name in slots.items()}
        for slot, version in versions.items():
            if version.shape[:2] != picture.shape[:2]:
                height, width = version.shape[:2]
                raise InvalidInput(
                    f"'{others[slots[slot]][stem]}' has {width}x{height} pixels, but '{original}' has "
                    f"{picture.shape[1]}x{picture.shape[0]}."
                )
        writer.add(
            stem.replace("/", "__"),
            picture,
            versions,
            source=stem,
            source_sha256=sha256(original),
            y=0,
            x=0,
            scores={},
        )
    return writer.finish(dict.fromkeys(originals, "train"))


def _by_stem(folder: Path) -> dict[str, Path]:
    """{relative path without ending: picture} of a folder, in order; InvalidInput for two pictures of one name."""
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder '{folder}'.")
    found: dict[str, Path] = {}
    for path in find_images(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise InvalidInput(f"'{found[stem]}' and '{path}' have the same name.")
        found[stem] = path
    return found
