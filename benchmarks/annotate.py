"""The annotation server under load: 60 people at once at five times the paper's pace, on SQLite and on PostgreSQL.

The server is a process of its own, run by Goldeye's own code over generated groups of five 512x512 pictures; this
process is the load. Everybody has a session of their own and works as the page does: the next group and its pictures
are fetched while the one on the screen is answered, four votes a group, a group per 22.79 / 5 seconds with random
pauses between the votes. One vote in fifty is sent twice at once, as after a lost receipt. Then everybody works without
any pause. At the end the store is compared with the receipts.

    python benchmarks/annotate.py [--seconds 60] [--saturate 15] [--people 60] [--database URL] [--markdown FILE]
    python benchmarks/annotate.py --groups 20000

Without --database it is SQLite in a temporary folder, then a PostgreSQL server of its own where one is installed; a
database that is named must be empty. With --groups: the time of a claim in a half-finished store of that many groups.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import itertools
import platform
import random
import runpy
import ssl
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
import numpy as np
import psutil
import sqlalchemy as sa

from goldeye.annotate.assign import Assigner
from goldeye.annotate.schema import assignment, item, vote
from goldeye.annotate.store import Store, utc_now
from goldeye.annotate.work import GroupPictures
from goldeye.images import write_image
from goldeye.runtime import available_cores

PAPER_SECONDS = 22.79  # a group, by the paper
LABELS = ("Positive", "Similar", "Negative")
KEYS = ("original", "01", "02", "03", "04")
KINDS = ("vote", "next", "picture")
TWICE = 0.02  # share of votes that are sent twice at once
GOLD = 50  # one group in so many is a gold item
COMING = 15.0  # seconds in which people come, before anything is measured
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the system's certificates for each client takes long


# The server ---------------------------------------------------------------------------------------------------------


def make_pictures(folder: Path) -> None:
    """Five pictures with detail at all scales, about as large as crops of photos."""
    rng = np.random.default_rng(0)
    picture = np.full((512, 512, 3), 128.0)
    for size in (4, 16, 64, 256, 512):
        noise = rng.normal(0, 6, (size, size, 3))
        picture += np.repeat(np.repeat(noise, 512 // size, 0), 512 // size, 1)
    for key in KEYS:
        other = picture + rng.normal(0, 2, picture.shape)
        write_image(folder / f"{key}.png", np.clip(other, 0, 255).astype(np.uint8))


def make_groups(folder: Path, count: int) -> list[GroupPictures]:
    """Groups whose pictures are links to five files: each has to be encoded anew, and the disk stays empty."""
    make_pictures(folder)
    groups = []
    for number in range(count):
        paths = {key: folder / f"{number:05}-{key}.png" for key in KEYS}
        for key, path in paths.items():
            path.hardlink_to(folder / f"{key}.png")
        groups.append(GroupPictures(f"{number:05}", paths.pop("original"), paths))
    return groups


def run_server(folder: Path, url: str, count: int) -> None:
    """What the server's process does: print the address, serve until it is told to stop."""
    from goldeye.annotate.app import create_app
    from goldeye.annotate.server import serve

    def ready(base_url: str) -> None:
        print(base_url, flush=True)  # noqa: T201

    with TemporaryDirectory(dir=folder) as pictures:
        serve(create_app(make_groups(Path(pictures), count), Store(url)), "127.0.0.1", 0, ready)


class Server(NamedTuple):
    """A running server: its address, its process, and the file with all that it had to say."""

    base_url: str
    process: psutil.Process
    log: Path


@contextmanager
def serving(folder: Path, url: str, count: int) -> Iterator[Server]:
    """A server over `count` groups in a process of its own."""
    log = folder / "server.log"
    command = [sys.executable, __file__, "--serve", str(folder), "--database", url, "--items", str(count)]
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip()
            if not base_url:
                raise SystemExit(f"The server did not start: {log.read_text(encoding='utf-8')}")
            yield Server(base_url, psutil.Process(process.pid), log)
        finally:
            process.terminate()
            process.wait(30)


def invite(url: str, people: int, groups: int) -> dict[str, str]:
    """Add people (name → token) and make some groups gold items."""
    store = Store(url)
    try:
        for number in range(0, groups, GOLD):
            store.set_gold(f"{number:05}", "gold", {"01": "Positive", "02": "Negative"})
        return {name: store.invite(name) for name in (f"person {number}" for number in range(1, people + 1))}
    finally:
        store.close()


@contextmanager
def own_postgresql() -> Iterator[str | None]:
    """The URL of an empty database of a temporary PostgreSQL server; None where it is not installed."""
    code = runpy.run_path(str(Path(__file__).resolve().parents[1] / "tests" / "postgresql.py"))
    binaries = code["postgresql_folder"]()
    if binaries is None:
        yield None
        return
    with code["running_postgresql"](binaries) as url:
        yield f"{url}/postgres"


# The load -----------------------------------------------------------------------------------------------------------


class Receipt(NamedTuple):
    """A vote that the server said it had saved."""

    client_id: str
    person: str
    assignment: str
    position: int
    label: str


@dataclass
class Record:
    """What happened: seconds of each request by kind, receipts, errors, and how much of the cores was used."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    receipts: list[Receipt] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    measured: bool = False  # from when everybody has begun, until the first one stops
    groups: int = 0
    wall: float = 0.0
    server_cores: float = 0.0
    load_cores: float = 0.0

    def percentile(self, kind: str, share: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.seconds[kind], share)) * 1000


class Voter:
    """A person at work through the HTTP interface."""

    def __init__(self, http: httpx.AsyncClient, name: str, record: Record, pictures: bool) -> None:
        self.http, self.name, self.record, self.pictures = http, name, record, pictures
        self.chance = random.Random()

    async def work(self, begin: float, end: float, pause: float) -> None:
        """Come some time before `begin`, and answer groups until `end`, one answer in `pause` seconds on the average.

        Answers are due at times that do not depend on the server: a slow one gets no less to do.
        """
        await asyncio.sleep(self.chance.uniform(0, max(begin - time.monotonic() - 1, 0)))
        on_screen = await self.next(None)
        due = time.monotonic()
        while on_screen is not None and time.monotonic() < end:
            ahead = asyncio.create_task(self.next(on_screen["assignment"]))
            for position in self.chance.sample(range(len(on_screen["candidates"])), len(on_screen["candidates"])):
                due += self.chance.expovariate(1 / pause) if pause else 0.0
                await asyncio.sleep(max(due - time.monotonic(), 0))
                copies = 2 if self.chance.random() < TWICE else 1
                client_id = f"{self.chance.getrandbits(96):024x}"
                label = self.chance.choice(LABELS)
                await asyncio.gather(*[self.vote(on_screen, position, label, client_id) for _ in range(copies)])
            self.record.groups += self.record.measured
            on_screen = await ahead

    async def next(self, after: str | None) -> dict[str, Any] | None:
        """The next group with its pictures; None when there is none (which is an error here)."""
        answer = await self.request("next", "POST", "/api/next", {"after": after})
        if answer is None:
            return None
        group: dict[str, Any] = answer.json()
        if group["finished"]:
            self.record.errors.append(f"no group left for {self.name}: {group['reason']}")
            return None
        if self.pictures:
            addresses = (group["original"], *group["candidates"])
            await asyncio.gather(*[self.request("picture", "GET", address) for address in addresses])
        return group

    async def vote(self, group: dict[str, Any], position: int, label: str, client_id: str) -> None:
        body = {
            "client_id": client_id,
            "assignment": group["assignment"],
            "position": position,
            "label": label,
            "active_ms": 1000,
        }
        answer = await self.request("vote", "POST", "/api/vote", body)
        if answer is None:
            return
        said = answer.json()
        if said["saved"] != client_id or said["answers"][position] != label:
            self.record.errors.append(f"a receipt for something else: {said}")
        self.record.receipts.append(Receipt(client_id, self.name, group["assignment"], position, label))

    async def request(self, kind: str, method: str, address: str, body: Any = None) -> httpx.Response | None:
        """Send and measure; None and an error in the record unless the answer is good."""
        begin = time.perf_counter()
        try:
            answer = await self.http.request(method, address, json=body)
        except httpx.HTTPError as error:
            self.record.errors.append(f"{kind}: {error!r}")
            return None
        if self.record.measured:
            self.record.seconds[kind].append(time.perf_counter() - begin)
        if answer.status_code != 200 or not answer.content:
            self.record.errors.append(f"{kind}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer


async def _sign_in(base_url: str, token: str) -> httpx.AsyncClient:
    # As a browser: six connections to one host, which stay open.
    limits = httpx.Limits(max_connections=6, keepalive_expiry=60)
    http = httpx.AsyncClient(
        base_url=base_url, headers={"X-Goldeye": "1"}, verify=NO_TLS, limits=limits, timeout=30, trust_env=False
    )
    (await http.post("/api/session", json={"token": token})).raise_for_status()
    return http


async def _load(
    server: Server, tokens: dict[str, str], seconds: float, pause: float, pictures: bool, coming: float
) -> Record:
    clients = [await _sign_in(server.base_url, token) for token in tokens.values()]
    record = Record()
    begin = time.monotonic() + coming + 1
    voters = [Voter(http, name, record, pictures) for http, name in zip(clients, tokens, strict=True)]
    work = asyncio.gather(*[voter.work(begin, begin + seconds, pause) for voter in voters])
    await asyncio.sleep(begin - time.monotonic())
    processes, start = (server.process, psutil.Process()), time.monotonic()
    before = [sum(process.cpu_times()[:2]) for process in processes]
    record.measured = True
    await asyncio.sleep(seconds)
    record.measured = False
    record.wall = time.monotonic() - start
    used = [sum(process.cpu_times()[:2]) - cpu for process, cpu in zip(processes, before, strict=True)]
    record.server_cores, record.load_cores = (cpu / record.wall for cpu in used)
    await work
    for http in clients:
        await http.aclose()
    return record


def load(
    server: Server,
    tokens: dict[str, str],
    seconds: float,
    *,
    pause: float = 0.0,
    pictures: bool = True,
    coming: float = 0.0,
) -> Record:
    """Let people (name → token) work, `pause` seconds between two answers on the average; `seconds` are measured.

    Before that they come one after the other, within `coming` seconds.
    """
    return asyncio.run(_load(server, tokens, seconds, pause, pictures, coming))


def faults(url: str, records: Sequence[Record], log: Path | None = None) -> list[str]:
    """What is wrong with a store after some load: one sentence each, none when all is well."""
    found = [error for record in records for error in record.errors]
    store = Store(url)
    try:
        columns = (vote.c.client_id, vote.c.assignment, vote.c.candidate, vote.c.label)
        with store.read() as connection:
            stored = Counter(tuple(row) for row in connection.execute(sa.select(*columns)))
        given = {row.id: row for row in store.assignments()}
        counted = Counter((each.group, each.candidate) for each in store.counted_votes())
        settings = store.settings()
    finally:
        store.close()
    receipts = {receipt for record in records for receipt in record.receipts}  # one that was sent twice has two
    expected = Counter(
        (receipt.client_id, receipt.assignment, given[receipt.assignment].order[receipt.position], receipt.label)
        for receipt in receipts
        if given[receipt.assignment].person == receipt.person
    )
    if expected.total() != len(receipts):
        found.append(f"{len(receipts) - expected.total()} receipts for another's group")
    if lost := expected - stored:
        found.append(f"{lost.total()} votes lost, such as {next(iter(lost))}")
    if extra := stored - expected:
        found.append(f"{extra.total()} votes doubled or without receipt, such as {next(iter(extra))}")
    assert settings is not None
    if over := [key for key, count in counted.items() if count > settings.most_votes]:
        found.append(f"{len(over)} candidates with more than {settings.most_votes} counted votes, such as {over[0]}")
    if log is not None and (said := log.read_text(encoding="utf-8").strip()):
        found.append(f"the server said: {said[-500:]}")
    return found


# The time of a claim ------------------------------------------------------------------------------------------------


def half_done_store(path: Path, count: int, people: int) -> Assigner:
    """A store of `count` groups of which half have their three votes, by `people` people in turn."""
    store = Store(path)
    for number in range(1, people + 1):
        store.invite(f"person {number}")
    paths = {key: Path(f"{key}.png") for key in KEYS[1:]}
    assigner = Assigner(store, [GroupPictures(f"{number:05}", Path("original.png"), paths) for number in range(count)])
    now, turns, given = utc_now(), itertools.cycle(range(1, people + 1)), Counter[int]()
    assignments, votes = [], []
    with store.write() as connection:
        ranked = connection.execute(sa.select(item.c.id).order_by(item.c.rank).limit(count // 2)).scalars().all()
        for group, _ in itertools.product(ranked, range(3)):
            person = next(turns)
            given[person] += 1
            row = {"id": f"{group}-{person}", "group": group, "person": person, "number": given[person]}
            row |= {"kind": "normal", "order": list(paths), "created": now, "leased_until": now, "status": "complete"}
            assignments.append(row)
            for key in paths:
                sent = {"client_id": f"{group}-{person}-{key}", "assignment": row["id"], "candidate": key}
                votes.append(sent | {"label": "Similar", "active_ms": 5000, "server_time": now})
        connection.execute(sa.insert(assignment), assignments)
        connection.execute(sa.insert(vote), votes)
        done = sa.update(item).where(item.c.id == sa.bindparam("done")).values(taken=3, complete=3)
        connection.execute(done, [{"done": group} for group in ranked])
    return assigner


def time_claims(assigner: Assigner, people: int, claims: int) -> list[float]:
    """Seconds of each claim of a new group, people taking turns; their answers are given but not measured."""
    seconds = []
    ids = itertools.count()
    for turn in range(claims):
        person = turn % people + 1
        begin = time.perf_counter()
        work, _ = assigner.claim(person)
        seconds.append(time.perf_counter() - begin)
        assert work is not None
        for position in range(len(work.order)):
            assigner.answer(person, work.id, position, "Similar", client_id=f"claimed-{next(ids):06}", active_ms=1000)
    return seconds


# Output -------------------------------------------------------------------------------------------------------------


def table(record: Record, kinds: Sequence[str]) -> list[str]:
    """Requests by kind, in milliseconds."""
    lines = ["| | requests | a second | p50 | p95 | p99 | max |", "|---|---|---|---|---|---|---|"]
    for kind in kinds:
        times = record.seconds[kind]
        cells = [f"{record.percentile(kind, share):.1f}" for share in (50, 95, 99, 100)]
        if kind == "vote":
            cells[1] = f"**{cells[1]}**"
        lines.append(f"| {kind} | {len(times)} | {len(times) / record.wall:.1f} | {' | '.join(cells)} |")
    return lines


def machine() -> str:
    """What it ran on, and how busy that was before."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    busy = psutil.cpu_percent(interval=3)
    return (
        f"{model}, {available_cores()} cores ({busy:.0f} % busy before the run); "
        f"Python {platform.python_version()}, SQLAlchemy {sa.__version__}"
    )


def measure(name: str, url: str, folder: Path, options: argparse.Namespace, say: Callable[..., None]) -> None:
    """The whole load on one database."""
    tokens = invite(url, options.people, options.items)
    pause = PAPER_SECONDS / options.pace / 4
    with serving(folder, url, options.items) as server:
        paced = load(server, tokens, options.seconds, pause=pause, coming=COMING)
        say(
            f"\n## {name}\n",
            f"{options.people} people at {options.pace:g} times the paper's pace for {paced.wall:.0f} s: "
            f"{paced.groups / paced.wall:.1f} groups a second. The server used {paced.server_cores:.2f} cores, "
            f"the load {paced.load_cores:.2f}. Milliseconds:\n",
            *table(paced, KINDS),
        )
        records = [paced]
        for pictures in (True, False) if options.saturate else ():
            full = load(server, tokens, options.saturate, pictures=pictures)
            records.append(full)
            say(
                f"\nWithout any pause, {'with' if pictures else 'without'} pictures, for {full.wall:.0f} s: "
                f"**{len(full.seconds['vote']) / full.wall:.0f} saves a second**, "
                f"vote p50 {full.percentile('vote', 50):.0f} ms, p95 {full.percentile('vote', 95):.0f} ms; "
                f"server {full.server_cores:.2f} cores, load {full.load_cores:.2f}."
            )
    wrong = faults(url, records, server.log)
    say(
        f"\n{sum(len(record.receipts) for record in records)} receipts compared with the store: "
        f"{'nothing lost, nothing doubled, no error.' if not wrong else ''}",
        *(f"- WRONG: {fault}" for fault in wrong[:20]),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60, help="of the load at a pace")
    parser.add_argument("--saturate", type=float, default=15, help="seconds of each load without pauses; 0: none")
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--pace", type=float, default=5, help="times the paper's")
    parser.add_argument("--items", type=int, default=2000, help="groups that the server has")
    parser.add_argument("--database", metavar="URL", help="an empty database, instead of both kinds in turn")
    parser.add_argument("--groups", type=int, metavar="N", help="only time claims in a half-finished store of N groups")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write what is printed here")
    parser.add_argument("--serve", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        run_server(options.serve, options.database, options.items)
        return
    written: list[str] = []

    def say(*lines: str) -> None:
        written.extend(lines)
        print("\n".join(lines), flush=True)  # noqa: T201

    command = " ".join(["python", *sys.argv])
    say(f"`{command}`, {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, {machine()}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="goldeye-load-")))
        if options.groups:
            assigner = half_done_store(folder / "half.sqlite", options.groups, options.people)
            times = [1000 * value for value in time_claims(assigner, options.people, 300)]
            say(
                f"\nA claim in a store of {options.groups} groups, half of them done by {options.people} people, "
                f"SQLite: median **{statistics.median(times):.1f} ms**, p95 {np.percentile(times, 95):.1f} ms, "
                f"of {len(times)}."
            )
        elif options.database:
            measure(sa.make_url(options.database).get_backend_name(), options.database, folder, options, say)
        else:
            measure("SQLite", f"sqlite:///{folder / 'load.sqlite'}", folder, options, say)
            url = stack.enter_context(own_postgresql())
            if url is None:
                say("\n## PostgreSQL\n", "Not measured: it is not installed here.")
            else:
                measure("PostgreSQL", url, folder, options, say)
    if options.markdown:
        options.markdown.write_text("\n".join(written) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
