"""Fixtures for every test: where the golden data lies, and which browser there is."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The same examples every time: what is green stays green. How long one takes depends on what else the machine does.
settings.register_profile("goldeye", deadline=None, derandomize=True)
settings.load_profile("goldeye")

_DATABASES = itertools.count()
REPOSITORY = Path(__file__).resolve().parents[1]


def _required() -> bool:
    """In CI a missing tool or data folder is a failure, not a reason to skip."""
    return os.environ.get("GOLDEYE_REQUIRE_ALL") == "1"


def missing(reason: str) -> None:
    """Skip the test with a reason; fail where nothing may be missing."""
    if _required():
        pytest.fail(f"{reason} (GOLDEYE_REQUIRE_ALL=1 forbids skipping)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of reference numbers made with the official implementations."""
    folder = Path(os.environ.get("GOLDEYE_GOLDEN", REPOSITORY.parent / "shared" / "golden"))
    if not (folder / "index.json").is_file():
        missing(f"no golden data in {folder}; set GOLDEYE_GOLDEN")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium to drive with Playwright."""
    import shutil

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing("no Chromium found; install the package 'chromium'")
    assert path is not None
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium, headless."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL server's URL, to which `/NAME` of a database is added."""
    from postgresql import postgresql_folder, running_postgresql

    binaries = postgresql_folder()
    if binaries is None:
        missing("no PostgreSQL found; install the package 'postgresql'")
    assert binaries is not None
    with running_postgresql(binaries) as url:
        yield url


@pytest.fixture
def postgresql_database(postgresql: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    import sqlalchemy as sa

    name = f"test{next(_DATABASES)}"
    server = sa.create_engine(f"{postgresql}/postgres", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield f"{postgresql}/{name}"
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()
