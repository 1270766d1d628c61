"""What the `annotate` commands do with a dataset on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from goldeye.annotate.assign import GroupPictures
from goldeye.annotate.server import LOOPBACK, person_link, serve
from goldeye.annotate.store import Store
from goldeye.dataset.groups import Dataset
from goldeye.errors import InvalidInput

if TYPE_CHECKING:
    from fastapi import FastAPI


UNENCRYPTED = "Links and answers travel unencrypted; put a TLS proxy in front outside a trusted network."


def dataset_app(
    dataset: Dataset, store: Store, *, votes_per_group: int, host: str = LOOPBACK, secure: bool = False
) -> FastAPI:
    """The web application for all groups of a dataset, answering under loopback names and the public name `host`."""
    from goldeye.annotate.app import create_app

    groups = [GroupPictures(group.id, group.original, dict(group.candidates)) for group in dataset.groups]
    hosts = {LOOPBACK, "localhost", host}
    return create_app(groups, store, votes_per_group=votes_per_group, allowed_hosts=hosts, secure=secure)


def serve_dataset(
    path: Path,
    *,
    host: str = LOOPBACK,
    port: int = 8600,
    base_url: str | None = None,
    votes_per_group: int = 3,
    ready: Callable[[dict[str, Any]], None],
) -> None:
    """Serve the application until Ctrl-C; once it is open, `ready` gets what the owner should know.

    `host` is the address to listen on, `base_url` the one that people type (a server name, a proxy's address); it must
    be given when `host` is not loopback, because the application answers under known names only.
    """
    public = urlsplit(base_url).hostname if base_url else None
    if base_url and public is None:
        raise InvalidInput(f"--base-url takes an address such as https://labels.example.org, not '{base_url}'.")
    if host not in (LOOPBACK, "localhost", "::1") and public is None:
        raise InvalidInput(
            f"Listening on {host} needs --base-url, the address under which people reach this machine.",
            hint="For example: --host 0.0.0.0 --base-url http://192.168.1.20:8600",
        )
    dataset = Dataset.open(path)
    store = Store(dataset.votes_url)
    try:
        encrypted = urlsplit(base_url or "").scheme == "https"
        app = dataset_app(dataset, store, votes_per_group=votes_per_group, host=public or host, secure=encrypted)
        names = [person.name for person in store.people() if not person.revoked]

        def opened(own_url: str) -> None:
            address = base_url or own_url
            ready(
                {
                    "address": address,
                    "groups": len(dataset.groups),
                    "people": names,
                    "votes": sum(store.progress().by_group.values()),
                    "invite": f"goldeye annotate invite {path} NAME --base-url {address}",
                    "warning": None if public is None or encrypted else UNENCRYPTED,
                }
            )

        serve(app, host, port, opened)
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
