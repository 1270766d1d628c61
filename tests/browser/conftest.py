"""A desk for a person to annotate at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from annotate_desk import Desk
    from goldeye.annotate.work import GroupPictures


@pytest.fixture(scope="session")
def groups(tmp_path_factory: pytest.TempPathFactory) -> list[GroupPictures]:
    """Four groups of an original, four versions and an LR input, all noise."""
    from annotate_desk import noise_groups

    return noise_groups(tmp_path_factory.mktemp("pictures"), 4, lr=True)


@pytest.fixture
def sit(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes a desk with groups of one's own; keywords as for create_app, and `page` for the browser."""
    from annotate_desk import Desk
    from goldeye.annotate.store import Store

    desks: list[Desk] = []

    def make(
        groups: list[GroupPictures], store: Store | None = None, page: dict[str, Any] | None = None, **settings: Any
    ) -> Desk:
        desks.append(Desk(browser, store or Store(tmp_path / "a.sqlite"), groups, settings, **(page or {})))
        return desks[-1]

    yield make
    for desk in desks:
        desk.close()


@pytest.fixture
def desk(sit: Callable[..., Desk], groups: list[GroupPictures]) -> Desk:
    """A desk with the four groups."""
    return sit(groups)
