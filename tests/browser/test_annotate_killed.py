"""The server dies with SIGKILL while answers are being given, and is started again: nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, expect

from annotate_desk import WORD, noise_groups
from goldeye.annotate.schema import assignment, vote
from goldeye.annotate.server import person_link
from goldeye.annotate.store import Store

pytestmark = pytest.mark.browser

SERVE = """
import sys
from pathlib import Path
from goldeye.annotate.app import create_app
from goldeye.annotate.server import serve
from goldeye.annotate.store import Store
from goldeye.annotate.work import GroupPictures
folder, port, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
groups = [
    GroupPictures(f"g{n}", folder / f"original-{n}.png", {k: folder / f"{k}-{n}.png" for k in ("01", "02", "03", "04")})
    for n in range(count)
]
serve(create_app(groups, Store(folder / "a.sqlite")), "127.0.0.1", port, lambda base: print(base, flush=True))
"""
GROUPS = 8
KEYS = ["pspn", "nnps", "sspp", "ppnn", "snsn", "npnp", "pppp", "nssn"]


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", SERVE, str(folder), str(port), str(GROUPS)]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline().startswith("http")
    return server


def test_killed_while_answers_are_given(browser: Browser, tmp_path: Path) -> None:
    noise_groups(tmp_path, GROUPS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = Store(tmp_path / "a.sqlite")
    link = person_link(f"http://127.0.0.1:{port}", store.invite("Ada"))
    server = start(tmp_path, port)
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.set_default_timeout(30_000)
    try:
        page.goto(link)
        page.get_by_role("button", name="Start").click()
        page.get_by_role("button", name="Begin").click()
        for number, keys in enumerate(KEYS):
            expect(page.locator("#progress-text")).to_have_text(f"{number} of {GROUPS}")
            for place, key in enumerate(keys):
                page.keyboard.press(key)
                if (number, place) in {
                    (1, 1),
                    (3, 0),
                    (5, 2),
                    (6, 3),
                }:  # in the middle of a group, the answer under way
                    os.kill(server.pid, signal.SIGKILL)
                    server.wait()
                    page.keyboard.press("Backspace")  # and the person goes on at once
                    page.keyboard.press(keys[place])
                    server = start(tmp_path, port)
            page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("All done. Thank you, Ada!")
        expect(page.locator("#saved")).to_have_text("All saved")
    finally:
        server.kill()
        server.wait()
        page.close()
    with store.read() as connection:
        rows = connection.execute(sa.select(vote.c.client_id)).scalars().all()
        given = connection.execute(sa.select(assignment).order_by(assignment.c.number)).all()
    assert len(set(rows)) == len(rows)
    votes = {(each.group, each.candidate): each.label for each in store.counted_votes()}
    assert len(votes) == 4 * GROUPS
    for row, keys in zip(given, KEYS, strict=True):
        assert [votes[row.group, slot] for slot in row.order] == [WORD[key] for key in keys]
    store.close()
