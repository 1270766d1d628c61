"""What the annotator's page looks like and offers: panes, keys, themes, tablets, and the tasks of a user study."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from annotate_desk import SIZE, Desk, noise_groups
from goldeye.annotate.schema import assignment, vote
from goldeye.annotate.tasks import PAIR, RATING
from goldeye.annotate.work import GroupPictures

pytestmark = pytest.mark.browser
Sit = Callable[..., Desk]


def box(desk: Desk, selector: str) -> dict[str, float]:
    found = desk.page.locator(selector).bounding_box()
    assert found is not None, selector
    return {"right": found["x"] + found["width"], "bottom": found["y"] + found["height"], **found}


def test_a_pane_fills_the_screen(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    before = desk.shown()
    small = box(desk, ".chosen .view")
    desk.press("2", "x")
    large = box(desk, ".chosen .view")
    assert large["width"] == 1200
    assert large["height"] > small["height"] * 1.5
    visible = page.locator(".card-pane:visible")
    expect(visible).to_have_count(1)
    desk.press("4")
    expect(visible).to_have_attribute("aria-label", "Version 4, no label, chosen")
    in_front = page.locator(".chosen .view img:not([hidden])")
    expect(in_front).to_have_attribute("src", str(before[4]))
    page.keyboard.down("f")
    expect(in_front).to_have_attribute("src", str(before[0]))
    expect(page.locator(".chosen .view")).to_have_attribute("data-shows", "Original")
    page.keyboard.up("f")
    desk.press("0")
    expect(in_front).to_have_attribute("src", str(before[0]))
    page.keyboard.down("f")
    expect(in_front).to_have_attribute("src", str(before[4]))
    page.keyboard.up("f")
    desk.press("1", "p")  # a label moves on here, too
    expect(visible).to_have_attribute("aria-label", "Version 2, no label, chosen")
    desk.press("Escape")
    expect(visible).to_have_count(5)
    assert box(desk, ".chosen .view")["width"] == small["width"]
    page.locator("#candidates .view").nth(2).dblclick()
    expect(visible).to_have_attribute("aria-label", "Version 3, no label, chosen")
    visible.locator(".view").dblclick()
    expect(visible).to_have_count(5)


def test_the_lr_input_in_squares(desk: Desk, groups: list[GroupPictures]) -> None:
    desk.sit_down("Ada")
    page = desk.page
    with desk.store.read() as connection:
        query = sa.select(assignment.c.group).order_by(assignment.c.number).limit(1)
        path = next(group.lr for group in groups if group.id == connection.execute(query).scalar_one())
    assert path is not None
    desk.press("2")
    expect(page.locator("#zoom-text")).to_have_text("200 %")
    page.keyboard.down("l")
    view = page.locator(".chosen .view")
    expect(view).to_have_attribute("data-shows", "LR input")
    seen = np.asarray(Image.open(io.BytesIO(view.screenshot())).convert("RGB"))
    page.keyboard.up("l")
    expect(page.locator("[data-shows]")).to_have_count(0)
    lr = np.asarray(Image.open(path)).repeat(8, 0).repeat(8, 1)  # a quarter of the size, at 200 %
    top, left = ((length - 2 * SIZE) // 2 for length in seen.shape[:2])
    inside = seen[max(top, 0) :, max(left, 0) :][: 2 * SIZE, : 2 * SIZE]
    np.testing.assert_array_equal(inside[60:], lr[max(-top, 0) :, max(-left, 0) :][: len(inside), : 2 * SIZE][60:])


def test_whole_screen_pixels_where_they_are_not_css_pixels(sit: Sit, groups: list[GroupPictures]) -> None:
    ratio = 1.25
    desk = sit(groups, page={"viewport": {"width": 1203, "height": 801}, "device_scale_factor": ratio})
    desk.sit_down("Ada")
    desk.press("4", "5", "+")
    with desk.store.read() as connection:
        query = sa.select(assignment.c.group, assignment.c.order).order_by(assignment.c.number).limit(1)
        row = connection.execute(query).one()
    group = next(group for group in groups if group.id == row.group)
    screen = np.asarray(Image.open(io.BytesIO(desk.page.screenshot())).convert("RGB"))
    zoom = int(desk.page.locator("#zoom-text").inner_text().split()[0]) // 100
    for view, path in zip(
        desk.page.locator(".view").all(), [group.original, *map(group.candidates.get, row.order)], strict=True
    ):
        assert path is not None
        frame, picture = view.bounding_box(), view.locator("img").first.bounding_box()
        assert frame is not None
        assert picture is not None
        left, top = picture["x"] * ratio, picture["y"] * ratio
        assert abs(left - round(left)) < 0.01
        assert abs(top - round(top)) < 0.01
        whole = np.asarray(Image.open(path)).repeat(zoom, 0).repeat(zoom, 1)
        x, y = round(frame["x"] * ratio) + 60, round(frame["y"] * ratio) + 60  # 100 x 100 pixels well inside the pane
        expected = whole[y - round(top) :, x - round(left) :][:100, :100]
        np.testing.assert_array_equal(screen[y : y + 100, x : x + 100], expected)


def test_holding_a_button_flips(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    before = desk.shown()
    page.locator("#hold-flip").hover()
    page.mouse.down()
    assert desk.shown() == [before[0], before[0], *before[2:]]
    page.mouse.up()
    assert desk.shown() == before


def test_arrow_keys_move_all_panes(desk: Desk) -> None:
    desk.sit_down("Ada")
    style = desk.page.locator(".chosen .view img:not([hidden])")
    for _ in range(4):
        desk.press("+")
    before = str(style.get_attribute("style"))
    desk.press("ArrowRight", "ArrowDown")
    moved = str(style.get_attribute("style"))
    assert moved != before
    everywhere = desk.page.locator(".view img:not(.enlarged)").evaluate_all(
        "images => images.map(image => image.getAttribute('style'))"
    )
    assert set(everywhere) == {moved}
    desk.press("ArrowLeft", "ArrowUp")
    assert style.get_attribute("style") == before


def test_own_keys(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    desk.press("?")
    note = page.locator("#help-note")
    page.locator("[data-action='label:Positive']").click()
    desk.press("n")
    expect(note).to_contain_text("N is taken (Negative")
    desk.press("j")
    expect(note).to_have_text("Changed, for this browser.")
    page.locator("[data-action='undo']").click()
    desk.press("Escape")
    expect(page.locator("#help")).to_be_visible()
    expect(page.locator("[data-action='undo']")).to_have_text("U")
    desk.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    expect(page.locator("#hints")).to_contain_text("J S N label")
    desk.press("p", "j")
    assert desk.labels() == ["Positive", "", "", ""]
    page.reload()
    desk.wait_for("0 of 4")
    desk.press("j")
    assert desk.labels() == ["Positive", "Positive", "", ""]
    desk.press("?")
    page.locator("#help-reset").click()
    page.locator("#help .close").click()
    desk.press("j", "p")
    assert desk.labels() == ["Positive", "Positive", "Positive", ""]
    assert page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('goldeye-keys'))") == []


def test_the_guideline_again(desk: Desk) -> None:
    desk.sign_in("Ada")
    page = desk.page
    expect(page.locator("#reading-text h1")).to_be_visible()
    pictures = page.locator("#reading-text img")
    sizes = pictures.evaluate_all("images => Promise.all(images.map(i => i.decode().then(() => i.naturalWidth)))")
    assert sizes
    assert min(sizes) > 0
    page.get_by_role("button", name="Begin").click()
    desk.wait_for("0 of 4")
    desk.press("p", "3", "g")
    expect(page.locator("#guideline")).to_be_visible()
    expect(page.locator("#guideline-text h1")).to_be_visible()
    desk.press("n")
    desk.press("Escape")
    expect(page.locator("#guideline")).to_be_hidden()
    assert (desk.labels(), desk.chosen()) == (["Positive", "", "", ""], 3)
    assert desk.complaints == []


def test_a_quiet_reminder_to_rest(desk: Desk) -> None:
    page = desk.page
    page.clock.install()
    desk.sit_down("Ada")
    for minute in range(26):
        page.clock.fast_forward("00:59")
        page.mouse.move(5, minute)
    rest = page.locator("#rest")
    expect(rest).to_be_hidden()
    desk.press("p", "p", "p", "p", "Enter")
    desk.wait_for("1 of 4")
    expect(rest).to_be_visible()
    assert desk.chosen() == 1  # nothing else happens
    page.get_by_role("button", name="Close the reminder").click()
    desk.press("p", "p", "p", "p", "Enter")
    desk.wait_for("2 of 4")
    expect(rest).to_be_hidden()
    expect(page.locator("#pace")).to_have_text(re.compile(r"^\d+ s a group$"))


def test_signing_out(desk: Desk) -> None:
    desk.sit_down("Ada")
    desk.press("p", "?")
    desk.page.get_by_role("button", name="Sign out").click()
    title = desk.page.get_by_role("heading", level=1)
    expect(title).to_have_text("You are signed out")
    assert desk.rows() == ["Positive"]
    desk.page.reload()
    expect(title).to_have_text("Please open your personal link")


def test_nothing_that_axe_finds_in_any_theme(desk: Desk) -> None:
    axe, page = Axe(), desk.page
    themes = ("light", "dark", "grey")

    def check() -> None:
        for theme in themes:
            # The value alone: the select cannot be reached while a dialog is open.
            page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
            found = axe.run(page).response["violations"]
            assert [(theme, rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []

    page.goto(f"{desk.base}/#token=x")
    check()
    desk.sign_in("Ada")
    check()
    page.get_by_role("button", name="Begin").click()
    desk.wait_for("0 of 4")
    desk.press("p", "s", "n")
    check()
    desk.press("?")
    check()
    desk.press("Escape", "k")
    check()


def test_dark_and_light_as_the_system_says(desk: Desk) -> None:
    desk.sit_down("Ada")
    colour = "() => getComputedStyle(document.body).backgroundColor"
    desk.page.emulate_media(color_scheme="light")
    light = desk.page.evaluate(colour)
    desk.page.emulate_media(color_scheme="dark")
    dark = desk.page.evaluate(colour)
    assert light != dark
    theme = desk.page.locator("#theme")
    theme.select_option("light")
    assert desk.page.evaluate(colour) == light
    theme.select_option("grey")
    desk.page.reload()  # remembered
    desk.wait_for("0 of 4")
    expect(theme).to_have_value("grey")
    assert desk.page.evaluate(colour) not in (light, dark)
    for name in ("light", "dark", "grey"):
        theme.select_option(name)
        around = "() => getComputedStyle(document.querySelector('main')).backgroundColor"
        red, green, blue = re.findall(r"\d+", str(desk.page.evaluate(around)))
        assert red == green == blue  # a neutral grey around the pictures, whatever the theme


@pytest.mark.parametrize(("width", "height"), [(390, 844), (360, 740)])
def test_a_phone_shows_whole_words(sit: Sit, groups: list[GroupPictures], width: int, height: int) -> None:
    desk = sit(groups, page={"viewport": {"width": width, "height": height}, "has_touch": True})
    page = desk.page
    desk.sit_down("Ada")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for given in ("", "Negative"):
        if given:
            for button in page.locator(".label.negative").all():
                button.tap()
        assert set(desk.labels()) == {given}
        for button in page.locator(".label").all():
            assert button.evaluate("button => button.scrollWidth <= button.clientWidth"), button.inner_text()
            inside = """button => {
              const [own, caption] = [button, button.closest(".caption")].map((e) => e.getBoundingClientRect());
              return own.left >= caption.left && own.right <= caption.right && own.bottom <= caption.bottom;
            }"""
            assert button.evaluate(inside), button.inner_text()
            place = button.bounding_box()
            assert place is not None
            assert place["x"] + place["width"] <= width


@pytest.mark.parametrize(("width", "height"), [(768, 1024), (1024, 768)])
def test_a_tablet(sit: Sit, groups: list[GroupPictures], width: int, height: int) -> None:
    desk = sit(groups, page={"viewport": {"width": width, "height": height}, "has_touch": True})
    page = desk.page

    def check() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for button in page.locator("button:visible, select:visible").all():
            found, name = button.bounding_box(), button.get_attribute("aria-label") or button.inner_text()
            assert found is not None
            assert found["width"] >= 36, name
            assert found["height"] >= 36, name
            assert found["x"] >= 0, name
            assert found["y"] >= 0, name
            assert found["x"] + found["width"] <= width, name
            assert found["y"] + found["height"] <= height, name

    desk.sit_down("Ada")
    check()
    labels = ["Positive", "Negative", "Similar", "Positive"]
    for version, label in enumerate(labels):
        page.locator("#candidates .card-pane").nth(version).locator(f".{label.lower()}").tap()
    for button in page.locator(".label").all():  # no word is cut off
        assert button.evaluate("button => button.scrollWidth <= button.clientWidth"), button.inner_text()
    page.locator("#candidates .card-pane .fill").nth(1).tap()
    expect(page.locator(".card-pane:visible")).to_have_count(1)
    check()
    page.locator(".chosen .badge").tap()
    expect(page.locator(".card-pane:visible")).to_have_attribute("aria-label", "Version 3, Similar, chosen")
    page.locator(".chosen .fill").tap()
    page.locator("#next").tap()
    desk.wait_for("1 of 4")
    desk.saved()
    assert desk.counted("Ada") == [labels]

    # Two fingers that part enlarge all panes.
    view = box(desk, ".chosen .view")
    x, y = view["x"] + view["width"] / 2, view["y"] + view["height"] / 2
    before = page.locator("#zoom-text").inner_text()
    touch = page.context.new_cdp_session(page)
    for kind, apart in [("touchStart", 20), ("touchMove", 40), ("touchMove", 80), ("touchEnd", None)]:
        points = [] if apart is None else [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(page.locator("#zoom-text")).not_to_have_text(before)
    assert int(page.locator("#zoom-text").inner_text().split()[0]) > int(before.split()[0])


# User studies --------------------------------------------------------------------------------------------------------


def test_a_pair(sit: Sit, tmp_path: Path) -> None:
    desk = sit(noise_groups(tmp_path, 2, ("A", "B"), original=False), task=PAIR, title="Which is sharper?")
    page = desk.page
    desk.sign_in("Ada")
    expect(page.locator("#reading-title")).to_have_text("Which is sharper?")
    expect(page.locator("#reading-title")).to_be_in_viewport()
    page.get_by_role("button", name="Begin").click()
    desk.wait_for("0 of 2")
    question = page.get_by_role("heading", level=1, name="Which is sharper?")
    expect(question).to_have_attribute("title", "Which is sharper?")
    assert box(desk, "#desk-title")["height"] < 45  # one line
    expect(page.locator("#next-name")).to_have_text("Next pair")
    expect(page.locator("#previous")).to_contain_text("Previous pair")
    desk.press("Enter")
    expect(page.locator("#toast")).to_have_text("No picture is preferred yet.")
    before = desk.shown()
    assert len(before) == 2
    page.keyboard.down("f")
    assert desk.shown() == [before[1], before[1]]
    page.keyboard.up("f")
    expect(page.locator("#next")).to_be_disabled()
    desk.press("1", "2")
    assert (desk.labels(), desk.chosen()) == (["", "Preferred"], 2)
    desk.press("u")
    assert desk.labels() == ["Preferred", ""]
    desk.press("u")
    assert desk.labels() == ["", ""]
    expect(page.locator("#next")).to_be_disabled()
    page.get_by_role("button", name="Version 2: Prefer").click()
    desk.press("Enter")
    desk.wait_for("1 of 2")
    desk.press("1", "Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("All done. Thank you, Ada!")
    expect(page.locator("#message-text")).to_contain_text("You have judged 2 pairs,")
    assert desk.counted("Ada") == [["Preferred", None], [None, "Preferred"]]
    assert desk.complaints == []


def test_a_pair_beside_its_reference(sit: Sit, tmp_path: Path) -> None:
    desk = sit(noise_groups(tmp_path, 1, ("A", "B"), lr=True), task=PAIR)
    desk.sit_down("Ada")
    before = desk.shown()
    assert len(before) == 3
    expect(desk.page.locator(".left .title")).to_have_text("Reference")
    desk.press("2")
    desk.page.keyboard.down("f")
    assert desk.shown() == [before[0], before[1], before[0]]


def test_ratings(sit: Sit, tmp_path: Path) -> None:
    desk = sit(noise_groups(tmp_path, 2, ("A", "B")), task=RATING)
    page = desk.page
    desk.sit_down("Ada")
    first = page.locator("#candidates .card-pane").first
    assert first.locator(".label").all_inner_texts() == [f"{n} {RATING.words[str(n)]}" for n in range(6)]
    for size in [(1200, 800), (1024, 768), (768, 1024)]:
        page.set_viewport_size({"width": size[0], "height": size[1]})
        for button in page.locator(".label").all():  # no word is cut off
            assert button.evaluate("b => b.scrollWidth <= b.clientWidth && b.scrollHeight <= b.clientHeight"), size
    desk.press("0", "5")
    assert desk.labels() == ["0", "5"]
    desk.press(",", "2")
    assert desk.labels() == ["2", "5"]
    desk.press("Enter")
    desk.wait_for("1 of 2")
    expect(page.locator("#next-name")).to_have_text("Next picture")
    desk.press("Enter")
    expect(page.locator("#toast")).to_have_text("Versions 1 and 2 have no rating yet.")
    page.get_by_role("button", name="Version 1: 4 Much Worse").click()
    desk.press("1", "Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("All done. Thank you, Ada!")
    with desk.store.read() as connection:
        assert list(connection.execute(sa.select(vote.c.label).order_by(vote.c.id)).scalars()) == list("05241")
