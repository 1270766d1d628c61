"""More than one window or person in one browser, and coming back to the annotator's page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from annotate_desk import Desk
from goldeye.annotate.guideline import Guideline
from goldeye.annotate.server import person_link
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.work import GroupPictures

pytestmark = pytest.mark.browser
Sit = Callable[..., Desk]
COME_BACK = "dispatchEvent(new Event('focus'))"


def second_window(page: Page) -> Page:
    """Another one of the same browser."""
    with page.expect_popup() as opened:
        page.evaluate("void open('about:blank')")
    opened.value.set_default_timeout(10_000)
    return opened.value


def open_link(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_role("button", name="Start").click()


def test_another_person_in_the_same_browser(desk: Desk) -> None:
    links = {name: person_link(desk.base, desk.store.invite(name)) for name in ("Ada", "Bo")}
    old, new = desk.page, second_window(desk.page)
    open_link(old, links["Ada"])
    old.get_by_role("button", name="Begin").click()
    desk.wait_for("0 of 4")
    desk.press("p")
    desk.saved()
    open_link(new, links["Bo"])
    new.get_by_role("button", name="Begin").click()  # Bo has not read the guideline here
    expect(new.locator("#name")).to_have_text("Bo")
    expect(new.locator("#desk")).to_be_visible()

    desk.press("n")
    title = old.get_by_role("heading", level=1)
    expect(title).to_have_text("This browser is signed in as somebody else now")
    expect(old.locator("#message-text")).to_have_text(
        "Answers you gave before are kept here. Open your own link again to go on."
    )
    for part in ("#desk", "#tools", "#progress", "#footer"):
        expect(old.locator(part)).to_be_hidden()
    desk.press("g", "Enter", "b")
    expect(title).to_have_text("This browser is signed in as somebody else now")
    assert desk.rows() == ["Positive"]
    assert desk.stored("Bo") == dict.fromkeys(desk.stored("Bo"), [None] * 4)

    new.close()
    old.goto("about:blank")
    open_link(old, links["Ada"])  # her own link again: the answer that was kept is saved
    desk.wait_for("0 of 4")
    assert desk.labels() == ["Positive", "Negative", "", ""]
    desk.saved()
    assert desk.rows() == ["Positive", "Negative"]
    assert desk.stored("Bo") == dict.fromkeys(desk.stored("Bo"), [None] * 4)


def test_coming_back_to_a_window_whose_browser_another_person_uses(desk: Desk) -> None:
    desk.sit_down("Ada")
    new = second_window(desk.page)
    open_link(new, person_link(desk.base, desk.store.invite("Bo")))
    expect(new.locator("#reading")).to_be_visible()
    desk.page.evaluate(COME_BACK)
    title = desk.page.get_by_role("heading", level=1)
    expect(title).to_have_text("This browser is signed in as somebody else now")


def test_a_group_answered_in_another_window(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    desk.press("p")
    desk.saved()
    other = second_window(page)
    other.goto(desk.base)
    expect(other.locator("#progress-text")).to_have_text("0 of 4")
    expect(other.locator("#desk")).to_be_visible()
    for key in ("n", "s", "s"):
        other.keyboard.press(key)
    expect(other.locator("#saved")).to_have_text("All saved")
    expect(other.locator("#next")).to_be_enabled()
    other.close()

    page.evaluate(COME_BACK)
    toast = page.locator("#toast")
    expect(toast).to_have_text("Answered in another window: shown as saved.")
    assert desk.labels() == ["Positive", "Negative", "Similar", "Similar"]
    desk.press("Enter")
    desk.wait_for("1 of 4")
    expect(toast).to_be_hidden()
    with page.expect_response("**/api/work/*"):
        page.evaluate(COME_BACK)
    desk.press("n")  # nothing changed: nothing is said
    assert desk.labels() == ["Negative", "", "", ""]
    expect(toast).to_be_hidden()
    assert desk.complaints == []


def test_the_guideline_comes_first_only_once(desk: Desk) -> None:
    desk.sit_down("Ada")
    desk.page.goto("about:blank")
    open_link(desk.page, person_link(desk.base, desk.store.invite("Ada", renew=True)))
    desk.wait_for("0 of 4")
    desk.press("g")
    expect(desk.page.locator("#guideline-text h1")).to_be_visible()


def test_the_owners_guideline_rules(sit: Sit, groups: list[GroupPictures]) -> None:
    desk = sit(groups, guideline=Guideline("<h1>Mine</h1>", ()))
    desk.sit_down("Ada")
    desk.ahead()
    expect(desk.page.locator("#guide")).to_be_hidden()


def test_what_the_labels_mean(desk: Desk) -> None:
    desk.sit_down("Ada")
    expect(desk.page.get_by_role("heading", name="What the labels mean")).to_be_visible()


def test_nothing_to_judge(sit: Sit, groups: list[GroupPictures]) -> None:
    desk = sit(groups[:1], settings=AnnotationSettings(votes=1))
    desk.store.invite("Bo")
    (bo,) = desk.store.people()
    assigner = desk.app.state.site.assigner
    given = assigner.claim(bo.id)[0]
    for position in range(4):
        assigner.answer(bo.id, given.id, position, "Similar", client_id=f"answer-{position}", active_ms=1000)
    desk.sign_in("Ada")
    desk.page.get_by_role("button", name="Begin").click()
    title = desk.page.locator("#message-title")
    expect(title).to_have_text("Nothing to judge")
    expect(desk.page.locator("#message-text")).to_have_text("There is nothing to judge for you at the moment.")
    expect(desk.page.locator("#progress")).to_be_hidden()
    with desk.page.expect_response("**/api/next"):
        desk.page.get_by_role("button", name="Look again").click()
    expect(title).to_have_text("Nothing to judge")


def test_a_skip_of_the_last_group_is_undone(sit: Sit, groups: list[GroupPictures]) -> None:
    desk = sit(groups[:1])
    desk.sit_down("Ada")
    desk.press("k", "1")
    expect(desk.page.get_by_role("heading", level=1)).to_have_text("Nothing to judge")
    desk.press("u")
    expect(desk.page.locator("#notice")).to_contain_text("You skipped this group.")
    desk.press("p", "p", "p", "p", "Enter")
    expect(desk.page.get_by_role("heading", level=1)).to_have_text("All done. Thank you, Ada!")
