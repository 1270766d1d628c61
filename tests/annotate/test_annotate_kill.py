"""A server that is killed again and again while people answer: what was receipted is there, and all of it once."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from test_annotate_api import client, make_groups

from goldeye.annotate.store import Store

GROUPS, PEOPLE, VOTES, KILLS = 8, 4, 3, 3
LABELS = itertools.cycle(["Positive", "Similar", "Negative", "Similar", "Positive"])
SERVER = """
import sys
from pathlib import Path
from goldeye.annotate.app import create_app
from goldeye.annotate.server import serve
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store
from goldeye.annotate.work import GroupPictures
folder, groups, votes = Path(sys.argv[1]), *map(int, sys.argv[2:])
port = int(sys.stdin.readline())  # everything is imported by then
pictures = [
    GroupPictures(f"g{n:02}", folder / f"secret_name_original_{n}.png",
                  {key: folder / f"secret_name_{key}_{n}.png" for key in ("01", "02", "03", "04")})
    for n in range(groups)
]
store = Store(folder / "annotations.sqlite")
app = create_app(pictures, store, settings=AnnotationSettings(votes=votes, gold_rate=0))
serve(app, "127.0.0.1", port, lambda base: print(base, flush=True))
"""


class KilledServer:
    """A server in a process of its own, on the same port each time; the next process is ready when one is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        self.waiting = self.spawn()
        self.start()

    def spawn(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SERVER, str(self.folder), str(GROUPS), str(VOTES)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self) -> None:
        self.process, self.waiting = self.waiting, self.spawn()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.port}\n")
        self.process.stdin.flush()
        self.base = self.process.stdout.readline().strip()
        assert self.base
        self.port = int(self.base.rsplit(":", 1)[1])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        for process in (self.process, self.waiting):
            process.kill()
            process.communicate()


class Sender(threading.Thread):
    """Somebody's browser: sends answers as fast as it can, and what got no receipt again under the same client id."""

    def __init__(self, number: int, base: str, token: str, progress: threading.Condition) -> None:
        super().__init__(daemon=True)
        self.number, self.progress = number, progress
        self.http = client(base, {"X-Goldeye": "1"})
        assert self.http.post("/api/session", json={"token": token}).status_code == 200
        self.sent: list[dict[str, Any]] = []
        self.receipts: list[str] = []
        self.unsure: set[str] = set()  # sent more than once
        self.stop = threading.Event()
        self.error: BaseException | None = None

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        while not self.stop.is_set():
            try:
                answer = self.http.post(path, json=body)
            except httpx.TransportError:
                self.unsure.add(body.get("client_id", ""))
                self.stop.wait(0.02)
                continue
            if answer.status_code == 429:
                self.stop.wait(0.05)
                continue
            assert answer.status_code == 200, answer.text
            got: dict[str, Any] = answer.json()
            return got
        raise TimeoutError

    def run(self) -> None:
        try:
            while not (work := self.post("/api/next", {}))["finished"]:
                # Each candidate, then the first one once more: taken back, and given anew.
                for position in (0, 1, 2, 3, 0, 0):
                    taken_back = position == 0 and work["answers"][0] is not None
                    label = None if taken_back else next(LABELS)
                    body = {
                        "client_id": f"client-{self.number}-{len(self.sent):05}",
                        "assignment": work["assignment"],
                        "position": position,
                        "label": label,
                        "active_ms": 7,
                    }
                    self.sent.append(body)
                    receipt = self.post("/api/vote", body)
                    if len(self.sent) % 5 == 0:  # as if its receipt had been lost
                        receipt = self.post("/api/vote", body)
                    assert receipt["saved"] == body["client_id"]
                    assert receipt["answers"][position] == label
                    work = work | {"answers": receipt["answers"]}
                    with self.progress:
                        self.receipts.append(receipt["saved"])
                        self.progress.notify_all()
        except BaseException as error:
            self.error = error
        finally:
            with self.progress:
                self.progress.notify_all()


def test_nothing_is_lost_or_doubled_when_the_server_is_killed(tmp_path: Path) -> None:
    make_groups(tmp_path, GROUPS)
    store = Store(tmp_path / "annotations.sqlite")
    tokens = [store.invite(f"p{n}") for n in range(PEOPLE)]
    server = KilledServer(tmp_path)
    progress = threading.Condition()
    senders = [Sender(n, server.base, token, progress) for n, token in enumerate(tokens)]
    wanted = GROUPS * VOTES * 6
    receipted: list[str] = []
    try:
        for sender in senders:
            sender.start()
        for kill in range(1, KILLS + 1):
            enough = wanted * kill // (KILLS + 2)
            with progress:
                while sum(len(one.receipts) for one in senders) < enough and not any(one.error for one in senders):
                    assert progress.wait(timeout=60)
            server.kill()
            with progress:
                receipted = [id for one in senders for id in one.receipts]
            with sqlite3.connect(tmp_path / "annotations.sqlite") as raw:  # before anybody sends anything again
                stored = {row[0] for row in raw.execute("SELECT client_id FROM vote")}
                assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert stored >= set(receipted)
            server.start()
        for sender in senders:
            sender.join(timeout=60)
            assert not sender.is_alive()
            assert sender.error is None, repr(sender.error)
    finally:
        for sender in senders:
            sender.stop.set()
        server.close()
    sent = {body["client_id"]: body for one in senders for body in one.sent}
    assert any(one.unsure - {""} for one in senders)  # answers were on their way as it was killed
    with sqlite3.connect(tmp_path / "annotations.sqlite") as raw:
        rows = raw.execute("SELECT client_id, assignment, candidate, label, active_ms FROM vote ORDER BY id").fetchall()
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    assert Counter(row[0] for row in rows) == Counter(list(sent))
    orders = {row.id: row.order for row in store.assignments()}
    for client_id, assignment, candidate, label, active_ms in rows:
        body = sent[client_id]
        assert (assignment, label, active_ms) == (body["assignment"], body["label"], 7)
        assert candidate == orders[assignment][body["position"]]
    assert {id for one in senders for id in one.receipts} == set(sent)
    assert len(sent) == wanted
    # What counts is what each person said last, and no group has more votes than were asked for.
    said = {(body["assignment"], orders[body["assignment"]][body["position"]]): body["label"] for body in sent.values()}
    given = {(row.group, row.person): row.id for row in store.assignments()}
    counted = store.counted_votes()
    assert len(counted) == GROUPS * VOTES * 4
    assert all(said[given[vote.group, vote.person], vote.candidate] == vote.label for vote in counted)
    assert set(store.progress().by_group.values()) == {VOTES}
    store.close()
