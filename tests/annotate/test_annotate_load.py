"""Twenty people at once on a server in a process of its own, by the code of benchmarks/annotate.py: nothing is lost,
nothing doubled, nothing fails. No time is asserted: the benchmark reports those."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa

from goldeye.annotate.schema import vote
from goldeye.annotate.store import Store

PEOPLE, GROUPS, SECONDS = 20, 300, 5.0


def _load_benchmark() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "annotate.py"
    spec = importlib.util.spec_from_file_location("annotate_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["annotate_benchmark"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


bench = _load_benchmark()


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path / 'load.sqlite'}"
    url: str = request.getfixturevalue("postgresql_database")
    return url


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_under_load(database: str, tmp_path: Path) -> None:
    people = bench.invite(database, PEOPLE, GROUPS)
    with bench.serving(tmp_path, database, GROUPS) as server:
        # With pauses and pictures, then as fast as it goes.
        paced = bench.load(server, people, SECONDS, pause=0.5, coming=2.0)
        full = bench.load(server, people, SECONDS, pictures=False)
    assert bench.faults(database, [paced, full], server.log) == []
    assert len(paced.receipts) > 2 * PEOPLE
    assert len(full.receipts) > 2 * PEOPLE
    assert len(paced.seconds["picture"]) > PEOPLE


@pytest.mark.slow
def test_the_check_sees_what_is_wrong(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'load.sqlite'}"
    people = bench.invite(database, 2, 20)
    with bench.serving(tmp_path, database, 20) as server:
        record = bench.load(server, people, 1.0, pause=0.2, coming=1.0, pictures=False)
    assert bench.faults(database, [record]) == []
    stored = record.receipts[0]
    store = Store(database)
    with store.write() as connection:
        connection.execute(sa.update(vote).where(vote.c.client_id == stored.client_id).values(client_id="another-one"))
    store.close()
    lost, extra = bench.faults(database, [record])
    assert lost.startswith("1 votes lost")
    assert stored.client_id in lost
    assert extra.startswith("1 votes doubled or without receipt")
