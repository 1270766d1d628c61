"""What the `annotate` commands do with a dataset on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from goldeye.annotate.assign import GroupPictures
from goldeye.annotate.server import person_link, serve
from goldeye.annotate.store import Store
from goldeye.dataset.groups import Dataset

if TYPE_CHECKING:
    from fastapi import FastAPI


def dataset_app(dataset: Dataset, store: Store, *, votes_per_group: int, host: str = "127.0.0.1") -> FastAPI:
    """The web application for all groups of a dataset, answering under loopback names and `host`."""
    from goldeye.annotate.app import create_app

    groups = [GroupPictures(group.id, group.original, dict(group.candidates)) for group in dataset.groups]
    return create_app(groups, store, votes_per_group=votes_per_group, allowed_hosts={"127.0.0.1", "localhost", host})


def serve_dataset(path: Path, *, host: str, port: int, votes_per_group: int, say: Callable[[str], None]) -> None:
    """Serve the application until Ctrl-C; `say` gets what the owner should know."""
    dataset = Dataset.open(path)
    store = Store(dataset.votes_url)
    try:
        app = dataset_app(dataset, store, votes_per_group=votes_per_group, host=host)
        names = [person.name for person in store.people() if not person.revoked]

        def ready(base_url: str) -> None:
            done = sum(store.progress().by_group.values())
            say(f"Serving {len(dataset.groups)} groups at {base_url} (Ctrl-C stops; every answer is saved when given).")
            say(f"People invited: {', '.join(names) or 'nobody yet'}; votes complete: {done}.")
            say(f"Invite with: goldeye annotate invite {path} NAME --base-url {base_url}")

        serve(app, host, port, ready)
    finally:
        store.close()


def invite(path: Path, name: str, *, base_url: str, renew: bool = False) -> str:
    """A new person's link; an earlier link of the same name is replaced only with `renew`."""
    dataset = Dataset.open(path)
    store = Store(dataset.votes_url)
    try:
        return person_link(base_url, store.invite(name, renew=renew))
    finally:
        store.close()
