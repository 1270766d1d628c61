"""A person at the annotator's page, in a browser before a real server."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from goldeye.annotate.app import create_app
from goldeye.annotate.schema import assignment, person, vote
from goldeye.annotate.server import person_link, running_server
from goldeye.annotate.store import Store
from goldeye.annotate.work import GroupPictures

SIZE = 128
SLOTS = ("01", "02", "03", "04")
WORD = {"p": "Positive", "s": "Similar", "n": "Negative"}


def noise_groups(
    folder: Path, count: int, slots: Collection[str] = SLOTS, *, original: bool = True, lr: bool = False
) -> list[GroupPictures]:
    """Groups of noise, each picture its own, so that any pixel tells which picture it is of."""
    rng = np.random.default_rng(0)

    def save(name: str, side: int) -> Path:
        path = folder / f"{name}.png"
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(path)
        return path

    return [
        GroupPictures(
            f"g{n}",
            save(f"original-{n}", SIZE) if original else None,
            {slot: save(f"{slot}-{n}", SIZE) for slot in slots},
            save(f"lr-{n}", SIZE // 4) if lr else None,
        )
        for n in range(count)
    ]


class Desk:
    """A page on which a person sits, before a server that can be stopped and started."""

    def __init__(
        self, browser: Browser, store: Store, groups: list[GroupPictures], settings: dict[str, Any], **page: Any
    ) -> None:
        self.page: Page = browser.new_page(**({"viewport": {"width": 1200, "height": 800}} | page))
        self.page.set_default_timeout(10_000)
        self.store, self.total = store, len(groups)
        self.app = create_app(groups, store, **settings)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.server = running_server(self.app)
        self.base = self.server.__enter__()

    def close(self) -> None:
        self.page.close()
        self.stop()

    def stop(self) -> None:
        self.server.__exit__(None, None, None)

    def start_again(self) -> None:
        self.server = running_server(self.app, port=int(self.base.rsplit(":", 1)[1]))
        self.server.__enter__()

    def sign_in(self, name: str) -> None:
        """From the link to the guideline."""
        self.page.goto(person_link(self.base, self.store.invite(name)))
        self.page.get_by_role("button", name="Start").click()
        expect(self.page.locator("#reading")).to_be_visible()

    def sit_down(self, name: str, progress: str | None = None) -> None:
        """From the link to the first group."""
        self.sign_in(name)
        self.page.get_by_role("button", name="Begin").click()
        self.wait_for(progress or f"0 of {self.total}")

    def wait_for(self, progress: str) -> None:
        expect(self.page.locator("#progress-text")).to_have_text(progress)
        expect(self.page.locator("#desk")).to_be_visible()

    def saved(self) -> None:
        expect(self.page.locator("#saved")).to_have_text("All saved")

    def ahead(self) -> None:
        """Wait until the next group's pictures are here, too."""
        self.page.wait_for_load_state("networkidle")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def labels(self) -> list[str]:
        return [card.get_attribute("data-label") or "" for card in self.page.locator("#candidates .card-pane").all()]

    def chosen(self) -> int:
        classes = [card.get_attribute("class") or "" for card in self.page.locator("#candidates .card-pane").all()]
        (found,) = [n for n, text in enumerate(classes, 1) if re.search(r"\bchosen\b", text)]
        return found

    def shown(self) -> list[str | None]:
        """The addresses of the pictures in front, of the original first."""
        return [image.get_attribute("src") for image in self.page.locator(".view img:not([hidden])").all()]

    def stored(self, name: str) -> dict[str, list[str | None]]:
        """What the store counts for a person: group → labels in the order that was shown."""
        query = sa.select(assignment.c.group, assignment.c.order).join(person, person.c.id == assignment.c.person)
        with self.store.read() as connection:
            orders = dict(connection.execute(query.where(person.c.name == name)).all())
        votes = {(v.group, v.candidate): v.label for v in self.store.counted_votes() if v.person == name}
        return {group: [votes.get((group, key)) for key in order] for group, order in orders.items()}

    def counted(self, name: str) -> list[list[str | None]]:
        """The labels of a person's finished groups, in any order."""
        return sorted((labels for labels in self.stored(name).values() if any(labels)), key=str)

    def rows(self) -> list[str | None]:
        """Every answer ever stored, in the order of its coming."""
        with self.store.read() as connection:
            return list(connection.execute(sa.select(vote.c.label).order_by(vote.c.id)).scalars())
