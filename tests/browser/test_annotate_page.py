"""The annotator's page in a real browser: keys, mouse, zoom, reload, and a server that comes and goes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect

from goldeye.annotate.app import create_app
from goldeye.annotate.assign import GroupPictures
from goldeye.annotate.server import person_link, running_server
from goldeye.annotate.store import Store, assignment, person, vote

pytestmark = pytest.mark.browser
SIZE = 128
KEYS = ("01", "02", "03", "04")
WORD = {"p": "Positive", "s": "Similar", "n": "Negative"}


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> list[GroupPictures]:
    """Four groups of noise, each picture its own, so that any pixel tells which picture it is of."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    made = []
    for n in range(4):
        paths = {key: folder / f"{key}-{n}.png" for key in ("original", *KEYS)}
        for path in paths.values():
            Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(path)
        made.append(GroupPictures(f"g{n}", paths.pop("original"), paths))
    return made


class Desk:
    """A page on which a person sits, before a server that can be stopped and started."""

    def __init__(self, page: Page, store: Store, groups: list[GroupPictures]) -> None:
        self.page, self.store, self.app = page, store, create_app(groups, store)
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        self.server = running_server(self.app)
        self.base = self.server.__enter__()

    def stop(self) -> None:
        self.server.__exit__(None, None, None)

    def start_again(self) -> None:
        self.server = running_server(self.app, port=int(self.base.rsplit(":", 1)[1]))
        self.server.__enter__()

    def sit_down(self, name: str) -> None:
        self.page.goto(person_link(self.base, self.store.invite(name)))
        self.page.get_by_role("button", name="Start").click()
        self.wait_for("0 of 4")

    def wait_for(self, progress: str) -> None:
        expect(self.page.locator("#progress-text")).to_have_text(progress)
        expect(self.page.locator("#work")).to_be_visible()

    def saved(self) -> None:
        expect(self.page.locator("#saved")).to_have_text("All saved")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def stored(self, name: str) -> dict[str, list[str | None]]:
        """What the store counts for a person: group → labels in the order that was shown."""
        query = sa.select(assignment.c.group, assignment.c.order).join(person, person.c.id == assignment.c.person)
        with self.store.read() as connection:
            orders = dict(connection.execute(query.where(person.c.name == name)).all())
        votes = {(v.group, v.candidate): v.label for v in self.store.counted_votes() if v.person == name}
        return {group: [votes.get((group, key)) for key in order] for group, order in orders.items()}

    def rows(self) -> list[str | None]:
        with self.store.read() as connection:
            return list(connection.execute(sa.select(vote.c.label).order_by(vote.c.id)).scalars())


@pytest.fixture
def desk(browser: Browser, groups: list[GroupPictures], tmp_path: Path) -> Iterator[Desk]:
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.set_default_timeout(10_000)
    desk = Desk(page, Store(tmp_path / "a.sqlite"), groups)
    yield desk
    page.close()
    desk.stop()


def labels(desk: Desk) -> list[str]:
    return [card.get_attribute("data-label") or "" for card in desk.page.locator("#candidates article").all()]


def chosen(desk: Desk) -> int:
    flags = [
        re.search(r"\bchosen\b", c.get_attribute("class") or "") for c in desk.page.locator("#candidates article").all()
    ]
    assert sum(flag is not None for flag in flags) == 1
    return next(n for n, flag in enumerate(flags, 1) if flag)


def test_three_groups_by_keyboard(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    assert page.url == f"{desk.base}/"  # the token left the address
    expect(page.locator("#name")).to_have_text("Ada")
    given: list[list[str]] = []

    def finish(*expected: str) -> None:
        assert labels(desk) == [WORD[key] for key in expected]
        given.append([WORD[key] for key in expected])
        desk.press("Enter")

    desk.press("p", "s", "n")
    assert chosen(desk) == 4
    expect(page.locator("#next")).to_be_disabled()
    desk.press("Enter")  # not all are labelled: stays
    desk.press("p")
    finish("p", "s", "n", "p")

    desk.wait_for("1 of 4")
    desk.press("3", "n", "p", "s", "p")  # third, fourth, then around to the first and second
    desk.press("Backspace", "n")  # back to the first, and another answer
    finish("n", "p", "n", "p")

    desk.wait_for("2 of 4")
    desk.press("p", "p", "u")
    assert (chosen(desk), labels(desk)) == (2, ["Positive", "", "", ""])
    desk.press("n", "s")
    page.keyboard.down("s")
    page.keyboard.down("s")  # held: repeats are not answers
    page.keyboard.up("s")
    finish("p", "n", "s", "s")

    desk.wait_for("3 of 4")
    desk.saved()
    stored = [labels for labels in desk.stored("Ada").values() if None not in labels]
    assert sorted(map(str, stored)) == sorted(map(str, given))
    assert None in desk.rows()  # the undo is in the history
    seconds = {v.seconds for v in desk.store.counted_votes()}
    assert all(0 < value < 60 for value in seconds)

    desk.press("p", "p", "p", "p", "Enter")
    expect(page.get_by_role("heading")).to_have_text("All done. Thank you, Ada!")
    expect(page.locator("#progress-text")).to_have_text("4 of 4")
    assert desk.complaints == []  # nor did the browser have to enforce the page's policy


def test_a_group_by_mouse(desk: Desk) -> None:
    desk.sit_down("Bo")
    page = desk.page
    for version, label in [(2, "Negative"), (4, "Similar"), (1, "Positive"), (3, "Positive"), (2, "Similar")]:
        button = page.get_by_role("button", name=f"Version {version}: {label}")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 32
    page.locator("#undo").click()
    assert labels(desk) == ["Positive", "Negative", "Positive", "Similar"]
    page.locator("#candidates .view").nth(2).click()
    assert chosen(desk) == 3
    page.locator("#next").click()
    desk.wait_for("1 of 4")
    assert list(desk.stored("Bo").values())[0] == ["Positive", "Negative", "Positive", "Similar"]  # noqa: RUF015


def test_focus_and_names(desk: Desk) -> None:
    """With Tab and the button's own keys alone, as with a screen reader."""
    desk.sit_down("Cy")
    page = desk.page
    expect(page.get_by_role("group", name="Version 1, no label, chosen")).to_be_visible()
    page.get_by_role("button", name="Version 3: Similar").focus()
    assert chosen(desk) == 3
    desk.press("Space")
    expect(page.get_by_role("group", name="Version 3, Similar")).to_be_visible()
    expect(page.locator("#announce")).to_have_text("Version 3: Similar")
    assert page.locator("img:not([alt])").count() == 0


def test_reload_resumes(desk: Desk) -> None:
    desk.sit_down("Ada")
    desk.press("p", "3", "n")
    desk.saved()
    sources = shown(desk.page)
    desk.page.reload()
    desk.wait_for("0 of 4")
    assert shown(desk.page) == sources
    assert (labels(desk), chosen(desk)) == (["Positive", "", "Negative", ""], 2)
    desk.press("3", "u")  # without a history: the chosen one's label is taken back
    assert labels(desk) == ["Positive", "", "", ""]
    desk.saved()
    assert desk.rows() == ["Positive", "Negative", None]


def shown(page: Page) -> list[str | None]:
    return [image.get_attribute("src") for image in page.locator(".view img:not([hidden])").all()]


def test_flip_shows_the_original_in_place(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    before = shown(page)
    assert len(set(before)) == 5
    desk.press("2")
    page.keyboard.down("f")
    assert shown(page) == [before[0], before[1], before[0], before[3], before[4]]
    expect(page.locator(".flipped")).to_have_count(1)
    page.keyboard.up("f")
    assert shown(page) == before


def pixels(view: Locator) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(view.screenshot())).convert("RGB"))


def transforms(page: Page) -> set[str]:
    return {str(image.evaluate("image => image.style.transform")) for image in page.locator(".view img").all()}


def test_zoom_and_pan_are_shared_and_exact(desk: Desk, groups: list[GroupPictures]) -> None:
    desk.sit_down("Ada")
    page = desk.page
    # Whichever way the panes lie, nothing but the pictures' pixels may be seen in them, each as a clean square.
    with desk.store.read() as connection:
        row = connection.execute(sa.select(assignment.c.group, assignment.c.order)).one()
    group = next(group for group in groups if group.id == row.group)
    paths = [group.original, *(group.candidates[key] for key in row.order)]
    panes = page.locator(".view").all()

    def check() -> tuple[float, float, int]:
        (transform,) = transforms(page)  # one for all
        found = re.fullmatch(r"translate\((-?[\d.]+)px, (-?[\d.]+)px\) scale\(([\d.]+)\)", transform)
        assert found, transform
        x, y, scale = (float(text) for text in found.groups())
        for pane, path in zip(panes, paths, strict=True):
            seen = pixels(pane)
            rows = np.floor((np.arange(seen.shape[0]) - y) / scale).astype(int)
            columns = np.floor((np.arange(seen.shape[1]) - x) / scale).astype(int)
            ins = ((rows >= 0) & (rows < SIZE))[:, None] & ((columns >= 0) & (columns < SIZE))[None]
            expected = np.asarray(Image.open(path))[rows.clip(0, SIZE - 1)][:, columns.clip(0, SIZE - 1)]
            np.testing.assert_array_equal(seen[ins], expected[ins])
            assert ins.mean() > 0.1
        return x, y, int(scale)

    assert check()[2] == 2  # all of it, enlarged by a whole number
    box = panes[2].bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 80)
    before = check()
    for _ in range(3):
        page.mouse.wheel(0, -100)
    page.wait_for_function("document.getElementById('zoom-text').value === '600 %'")
    after = check()
    for at, old, new in [(100, before[0], after[0]), (80, before[1], after[1])]:
        assert abs((at - old) / 2 - (at - new) / 6) < 0.5  # the picture's point under the pointer stayed there
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 101, steps=4)
    page.mouse.up()
    moved = check()
    assert (moved[0] - after[0], moved[1] - after[1]) == (-40, 21)
    desk.press("-", "-", "-", "-", "-", "-")
    expect(page.locator("#zoom-text")).to_have_text("100 %")
    check()
    desk.press("z")
    assert check()[2] == 2


def test_zoom_stays_between_groups(desk: Desk) -> None:
    desk.sit_down("Ada")
    desk.press("+", "+", "p", "p", "p", "p")
    before = transforms(desk.page)
    desk.press("Enter")
    desk.wait_for("1 of 4")
    assert transforms(desk.page) == before


def test_a_server_away_loses_and_doubles_nothing(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    desk.press("p")
    desk.saved()
    desk.stop()
    desk.press("s", "n", "p", "Enter")
    expect(page.locator("#saved")).to_have_text("Server away: 3 answers kept here")
    assert labels(desk) == ["Positive", "Similar", "Negative", "Positive"]
    desk.start_again()
    desk.wait_for("1 of 4")  # the Enter was kept, too
    desk.saved()
    assert desk.rows() == ["Positive", "Similar", "Negative", "Positive"]
    assert list(desk.stored("Ada").values())[0] == desk.rows()  # noqa: RUF015


def lose_the_receipt(times: int) -> Callable[[Route], None]:
    """The server gets the answer, but the page never hears of it (the first `times` times)."""
    left = [times]

    def handle(route: Route) -> None:
        if left[0] == 0:
            route.continue_()
            return
        left[0] -= 1
        route.fetch()
        route.abort()

    return handle


def test_a_lost_receipt_stores_an_answer_once(desk: Desk) -> None:
    desk.sit_down("Ada")
    desk.page.route("**/api/vote", lose_the_receipt(2))
    desk.press("p", "n")
    desk.saved()
    assert desk.rows() == ["Positive", "Negative"]


def test_answers_kept_here_survive_a_reload(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    page.route("**/api/vote", lambda route: route.abort())
    desk.press("n", "s")
    expect(page.locator("#saved")).to_contain_text("kept here")
    page.unroute("**/api/vote")
    page.reload()
    desk.wait_for("0 of 4")
    assert labels(desk) == ["Negative", "Similar", "", ""]
    assert desk.rows() == ["Negative", "Similar"]
    assert page.evaluate("localStorage.length") == 0


def test_links_that_do_not_work(desk: Desk) -> None:
    page = desk.page
    page.goto(desk.base)
    expect(page.get_by_role("heading")).to_have_text("Please open your personal link")
    page.goto(f"{desk.base}/#token=nonsense")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading")).to_have_text("This link does not work")
    page.goto("about:blank")
    desk.sit_down("Ada")
    desk.store.revoke("Ada")
    desk.press("p")
    expect(page.get_by_role("heading")).to_have_text("Your link is not valid any more")
    assert desk.rows() == []
    page.goto(person_link(desk.base, desk.store.invite("Ada", renew=True)))  # back with a new link: nothing is lost
    page.get_by_role("button", name="Start").click()
    desk.wait_for("0 of 4")
    assert labels(desk) == ["Positive", "", "", ""]
    assert desk.rows() == ["Positive"]


def test_idle_time_does_not_count(desk: Desk) -> None:
    desk.page.clock.install()
    desk.sit_down("Ada")
    desk.page.clock.fast_forward("15:00")
    desk.press("p")
    desk.saved()
    with desk.store.read() as connection:
        spent = connection.execute(sa.select(vote.c.active_ms)).scalar_one()
    assert 59_000 < spent < 75_000  # a minute of the fifteen, and what the test itself takes


def test_an_answer_that_is_not_taken_is_said(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    error = {"error": {"code": "conflict", "message": "No such thing."}}
    page.route("**/api/vote", lambda route: route.fulfill(status=409, json=error))
    desk.press("p")
    expect(page.get_by_role("heading")).to_have_text("An answer was not taken")
    expect(page.locator("#message-text")).to_contain_text("No such thing.")
    page.unroute("**/api/vote")
    page.get_by_role("button", name="Go on").click()
    desk.wait_for("0 of 4")
    assert labels(desk) == ["", "", "", ""]  # what is shown is what is saved
