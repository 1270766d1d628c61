"""The annotator's page in a real browser: keys, mouse, zoom, reload, and a server that comes and goes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from annotate_desk import SIZE, WORD, Desk
from goldeye.annotate.schema import assignment, vote
from goldeye.annotate.server import person_link
from goldeye.annotate.work import GroupPictures

pytestmark = pytest.mark.browser


def test_three_groups_by_keyboard(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    assert page.url == f"{desk.base}/"  # the token left the address
    expect(page.locator("#name")).to_have_text("Ada")
    given: list[list[str]] = []

    def finish(*expected: str) -> None:
        assert desk.labels() == [WORD[key] for key in expected]
        given.append([WORD[key] for key in expected])
        desk.press("Enter")

    desk.press("p", "s", "n")
    assert desk.chosen() == 4
    expect(page.locator("#next")).to_be_disabled()
    desk.press("Enter")  # not all are labelled: stays
    expect(page.locator("#toast")).to_have_text("Version 4 has no label yet.")
    desk.press("p")
    expect(page.locator("#toast")).to_be_hidden()
    finish("p", "s", "n", "p")

    desk.wait_for("1 of 4")
    desk.press("3", "n", "p", "s", "p")  # third, fourth, then around to the first and second
    desk.press("Backspace", "n")  # back to the first, and another answer
    expect(page.locator("#announce")).to_have_text("Version 1: Negative")
    finish("n", "p", "n", "p")

    desk.wait_for("2 of 4")
    desk.press("p", "p", "u")
    assert (desk.chosen(), desk.labels()) == (2, ["Positive", "", "", ""])
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
    expect(page.get_by_role("heading", level=1)).to_have_text("All done. Thank you, Ada!")
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
    assert desk.labels() == ["Positive", "Negative", "Positive", "Similar"]
    page.locator("#candidates .view").nth(2).click()
    assert desk.chosen() == 3
    page.locator("#next").click()
    desk.wait_for("1 of 4")
    desk.saved()
    assert desk.counted("Bo") == [["Positive", "Negative", "Positive", "Similar"]]


def test_focus_and_names(desk: Desk) -> None:
    """With Tab and the button's own keys alone, as with a screen reader."""
    desk.sit_down("Cy")
    page = desk.page
    expect(page.get_by_role("group", name="Version 1, no label, chosen")).to_be_visible()
    page.get_by_role("button", name="Version 3: Similar").focus()
    assert desk.chosen() == 3
    desk.press("Space")
    expect(page.get_by_role("group", name="Version 3, Similar")).to_be_visible()
    expect(page.locator("#announce")).to_have_text("Version 3: Similar")
    assert page.locator("img:not([alt])").count() == 0


def test_reload_resumes(desk: Desk) -> None:
    desk.sit_down("Ada")
    desk.press("p", "3", "n")
    desk.saved()
    sources = desk.shown()
    desk.page.reload()
    desk.wait_for("0 of 4")
    assert desk.shown() == sources
    assert (desk.labels(), desk.chosen()) == (["Positive", "", "Negative", ""], 2)
    desk.press("3", "u")  # without a history: the chosen one's label is taken back
    assert desk.labels() == ["Positive", "", "", ""]
    desk.saved()
    assert desk.rows() == ["Positive", "Negative", None]


def test_flip_shows_the_original_in_place(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    before = desk.shown()
    assert len(set(before)) == 5
    desk.press("2")
    page.keyboard.down("f")
    assert desk.shown() == [before[0], before[1], before[0], before[3], before[4]]
    expect(page.locator(".flipped")).to_have_count(1)
    page.keyboard.up("f")
    assert desk.shown() == before


def pixels(view: Locator) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(view.screenshot())).convert("RGB"))


def transforms(page: Page) -> set[str]:
    return {
        str(image.evaluate("image => image.style.transform"))
        for image in page.locator(".view img:not(.enlarged)").all()
    }


def test_zoom_and_pan_are_shared_and_exact(desk: Desk, groups: list[GroupPictures]) -> None:
    desk.sit_down("Ada")
    page = desk.page
    # Whichever way the panes lie, nothing but the pictures' pixels may be seen in them, each as a clean square.
    with desk.store.read() as connection:
        query = sa.select(assignment.c.group, assignment.c.order).order_by(assignment.c.number).limit(1)
        row = connection.execute(query).one()
    group = next(group for group in groups if group.id == row.group)
    assert group.original is not None
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
    expect(page.locator("#zoom-text")).to_have_text("600 %")
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
    desk.ahead()
    desk.stop()
    desk.press("s", "n", "p", "Enter")
    desk.wait_for("1 of 4")  # the next group was here before
    desk.press("n", "n", "s", "s", "Enter")
    expect(page.locator("#saved")).to_have_text("Server away: 7 answers kept here")
    assert desk.labels() == ["Negative", "Negative", "Similar", "Similar"]  # the one after it is not: this one stays
    expect(page.locator("#notice")).to_contain_text("The next group comes when the server is back.")
    desk.start_again()
    desk.wait_for("2 of 4")  # the Enter was kept, too
    expect(page.locator("#notice")).to_be_hidden()
    desk.saved()
    given = ["Positive", "Similar", "Negative", "Positive", "Negative", "Negative", "Similar", "Similar"]
    assert desk.rows() == given
    assert desk.counted("Ada") == sorted([given[:4], given[4:]])


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
    assert desk.labels() == ["Negative", "Similar", "", ""]
    assert desk.rows() == ["Negative", "Similar"]
    assert page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('goldeye:'))") == []


def test_links_that_do_not_work(desk: Desk) -> None:
    page = desk.page
    page.goto(desk.base)
    expect(page.get_by_role("heading", level=1)).to_have_text("Please open your personal link")
    page.goto(f"{desk.base}/#token=nonsense")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This link does not work")
    page.goto("about:blank")
    desk.sit_down("Ada")
    desk.store.revoke("Ada")
    desk.press("p")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your link is not valid any more")
    assert desk.rows() == []
    page.goto(person_link(desk.base, desk.store.invite("Ada", renew=True)))  # back with a new link: nothing is lost
    page.get_by_role("button", name="Start").click()
    desk.wait_for("0 of 4")
    assert desk.labels() == ["Positive", "", "", ""]
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
    expect(page.get_by_role("heading", level=1)).to_have_text("An answer was not taken")
    expect(page.locator("#message-text")).to_contain_text("No such thing.")
    page.unroute("**/api/vote")
    page.get_by_role("button", name="Go on").click()
    desk.wait_for("0 of 4")
    assert desk.labels() == ["", "", "", ""]  # what is shown is what is saved
