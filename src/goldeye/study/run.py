"""What the `study` commands do with a study on disk, by annotate's server and store."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from goldeye.annotate.guideline import Guideline, read_guideline
from goldeye.annotate.run import Address, serve_store
from goldeye.annotate.schema import item
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import COMMAND_LINE, Store
from goldeye.dataset.groups import Dataset
from goldeye.errors import InvalidInput
from goldeye.study.report import refuse_others, write_results
from goldeye.study.results import read_study_votes, study_results
from goldeye.study.settings import STORE, Study

if TYPE_CHECKING:
    from fastapi import FastAPI

    from goldeye.annotate.votes import CountedVote


class StudyStore(Store):
    """The store of a study, whoever invites: annotators of an excluded dataset are refused."""

    def __init__(self, study: Study, database: str | None = None, *, read_only: bool = False) -> None:
        self.study = study
        super().__init__(database or study.path / STORE, read_only=read_only)

    def invite(
        self,
        name: str,
        role: str = "annotator",
        *,
        quota: int | None = None,
        renew: bool = False,
        actor: str = COMMAND_LINE,
    ) -> str:
        """As in Store; InvalidInput for somebody who annotated one of the datasets that the study excludes."""
        owners = {person.name for person in self.people() if person.role == "owner"}
        is_owner = role == "owner" or (renew and name in owners)
        dataset = None if is_owner else barred_people(self.study).get(folded(name))
        if dataset is not None:
            raise InvalidInput(
                f"'{name}' annotated '{dataset}' and cannot take part: this study leaves its annotators out."
            )
        return super().invite(name, role, quota=quota, renew=renew, actor=actor)


@contextmanager
def open_study(
    path: Path, database: str | None = None, *, read_only: bool = False
) -> Iterator[tuple[Study, StudyStore]]:
    """A study and its own store, or another database."""
    study = Study.open(path)
    if database is None and not (path / STORE).is_file():
        raise InvalidInput(f"'{path}' has no store: '{STORE}' is missing.")
    store = StudyStore(study, database, read_only=read_only)
    try:
        yield study, store
    finally:
        store.close()


def set_checks(study: Study, store: Store) -> None:
    """Make the attention checks gold items of a store that does not know them yet."""
    with store.read() as connection:
        known = set(connection.execute(sa.select(item.c.id).where(item.c.kind == "gold")).scalars())
    for group, expected in study.expected().items():
        if group not in known:
            store.set_gold(group, "gold", expected, "attention check")


def annotation_settings(study: Study) -> AnnotationSettings:
    """How often items and checks are given: whoever judges all items meets all checks, spread over them."""
    items, checks = len(study.items()), len(study.settings.checks)
    every = max(2, (items + checks) // checks) if checks else 0  # one in so many is a check
    gold_rate = 1 / every if every else 0.0
    return AnnotationSettings(votes=study.settings.votes, order="own", gold_rate=gold_rate, repeat_rate=0.0)


def barred_people(study: Study) -> dict[str, str]:
    """{folded name: dataset} of everybody who gave an answer in a dataset that the study excludes.

    Raises InvalidInput where a dataset or its store cannot be read.
    """
    barred: dict[str, str] = {}
    for folder in study.settings.exclude:
        dataset = Dataset.open(study.path / folder)
        store = Store(dataset.votes_url, read_only=True)
        try:
            names = {name for _, name in store.answered()}
        finally:
            store.close()
        barred |= {folded(name): dataset.path.name for name in names}
    return barred


def folded(name: str) -> str:
    """A name without what people write in two ways: case, spaces, and composed letters."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def study_app(
    study: Study, store: StudyStore, *, address: Address | None = None, guideline: Guideline | None = None
) -> FastAPI:
    """The web application of a study. InvalidInput where a picture is not the one the study was made with."""
    from goldeye.annotate.app import create_app
    from goldeye.annotate.figures import Figures

    study.refuse_changed_pictures()
    set_checks(study, store)
    address = address or Address()

    def results(_: Sequence[CountedVote]) -> dict[str, Any]:
        return {"study": study_results(study, read_study_votes(study, store, names=True), bootstrap=200)}

    return create_app(
        study.groups(),
        store,
        settings=annotation_settings(study),
        task=study.task,
        title=study.settings.title,
        guideline=guideline,
        figures=Figures(store, task=study.task, results=results, names=study.method_names),
        allowed_hosts=address.hosts,
        base_url=address.base_url,
        secure=address.encrypted,
    )


def serve_study(
    path: Path,
    *,
    address: Address,
    database: str | None = None,
    guideline: Path | None = None,
    renew: bool = False,
    ready: Callable[[dict[str, Any]], None],
) -> None:
    """Serve a study until Ctrl-C, as `serve_store` does."""
    text = read_guideline(guideline) if guideline else None
    with open_study(path, database) as (study, store):
        app = study_app(study, store, address=address, guideline=text)

        def counts() -> dict[str, Any]:
            items = len(study.items())
            votes = sum(store.progress().by_group.values())
            return {"items": items, "votes": votes, "votes_wanted": items * study.settings.votes}

        words = ["goldeye", "study", "invite", str(path), "NAME", *(["--database", store.name] if database else [])]
        serve_store(app, store, address, invite=words, renew=renew, counts=counts, ready=ready)


def _barred_here(study: Study, store: Store, *, names: bool) -> dict[str, str]:
    """{person: why they should not have taken part}, for those who annotated an excluded dataset after they came."""
    barred = barred_people(study)
    return {
        person.name if names else person.pseudonym: f"annotated '{barred[folded(person.name)]}'"
        for person in store.people()
        if folded(person.name) in barred
    }


def results_of(
    path: Path,
    *,
    database: str | None = None,
    output: Path | None = None,
    names: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
    exclude_flagged: bool = False,
) -> dict[str, Any]:
    """The results document of a study; with `output` also written there as files, with the votes and a chart.

    Raises InvalidInput, before work starts, where `output` is a file or a folder that holds something else.
    """
    with open_study(path, database, read_only=True) as (study, store):
        if output is not None:
            refuse_others(output, store.instance)
        found = read_study_votes(study, store, names=names)
        barred, notes = {}, []
        try:
            barred = _barred_here(study, store, names=names)
        except InvalidInput as error:
            notes.append(f"Whether somebody annotated an excluded dataset could not be checked: {error.message}")
        document = study_results(
            study, found, bootstrap=bootstrap, seed=seed, exclude_flagged=exclude_flagged, barred=barred
        )
        document |= {"notes": notes, "store": store.instance}
        if output is not None:
            document["files"] = write_results(output, study, document, found.votes)
    return document
