"""Hours at the annotator's page: many groups, back and forth, skips, practice, and a network that comes and goes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, Route, expect

from annotate_desk import SLOTS, WORD, Desk, noise_groups
from goldeye.annotate.schema import assignment
from goldeye.annotate.store import Store
from goldeye.annotate.work import GroupPictures

pytestmark = pytest.mark.browser
Sit = Callable[..., Desk]

# Notes the time from Enter to the frame in which the next original is painted.
TIME_ENTER = """() => {
  window.times = [];
  let pressed = 0;
  addEventListener("keydown", (event) => { if (event.key === "Enter") pressed = performance.now(); }, true);
  const painted = () => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => window.times.push(performance.now() - pressed);
    channel.port2.postMessage(null);
  };
  new MutationObserver(() => requestAnimationFrame(painted)).observe(
    document.querySelector("#original .view"), { childList: true });
}"""


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> list[GroupPictures]:
    return noise_groups(tmp_path_factory.mktemp("twenty"), 20)


def picture_requests(page: Page) -> list[str]:
    """The paths of the pictures asked for from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/picture/" in request.url else None)
    return asked


def test_twenty_groups_by_keyboard(sit: Sit, twenty: list[GroupPictures]) -> None:
    desk = sit(twenty)
    desk.sit_down("Ada")
    desk.page.evaluate(TIME_ENTER)
    rng = np.random.default_rng(1)
    given = []
    for n in range(20):
        desk.wait_for(f"{n} of 20")
        keys = rng.choice(list(WORD), len(SLOTS)).tolist()
        given.append([WORD[key] for key in keys])
        desk.press(*keys, "Enter")
    expect(desk.page.get_by_role("heading", level=1)).to_have_text("All done. Thank you, Ada!")
    assert desk.counted("Ada") == sorted(given)
    assert len(desk.rows()) == 80  # four keys a group
    times = sorted(desk.page.evaluate("window.times"))
    sys.stdout.write(f"\nEnter to the next picture: median {times[9]:.0f} ms, at most {times[-1]:.0f} ms\n")
    assert desk.complaints == []


def test_twenty_groups_by_mouse(sit: Sit, twenty: list[GroupPictures]) -> None:
    desk = sit(twenty)
    desk.sit_down("Bo")
    rng = np.random.default_rng(2)
    given = []
    for n in range(20):
        desk.wait_for(f"{n} of 20")
        labels = rng.choice(list(WORD.values()), len(SLOTS)).tolist()
        given.append(labels)
        for version, label in enumerate(labels):
            desk.page.locator("#candidates .card-pane").nth(version).locator(f".{label.lower()}").click()
        desk.page.locator("#next").click()
    expect(desk.page.get_by_role("heading", level=1)).to_have_text("All done. Thank you, Bo!")
    assert desk.counted("Bo") == sorted(given)


def test_the_next_group_is_there_before_it_is_wanted(desk: Desk) -> None:
    asked = picture_requests(desk.page)
    desk.sit_down("Ada")
    desk.ahead()
    first = desk.shown()
    assert len(asked) == 12  # two groups of an original, four versions and the LR input
    waiting = asked.copy()
    desk.page.route("**/api/next", lambda route: route.abort())  # nothing new can come
    desk.press("p", "p", "p", "p", "Enter")
    desk.wait_for("1 of 4")
    assert asked == waiting
    assert not set(first) & set(desk.shown())
    assert {f"{desk.base}{source}" for source in desk.shown()} < set(waiting)
    sizes = desk.page.locator(".view img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert sorted(set(sizes)) == [32, 128]


def test_all_pictures_of_a_group_appear_at_once(desk: Desk) -> None:
    desk.sign_in("Ada")
    held: list[Route] = []
    desk.page.route("**/api/picture/*/3", lambda route: held.append(route))
    desk.page.get_by_role("button", name="Begin").click()
    desk.page.wait_for_event("requestfinished", lambda request: request.url.endswith("/4"))
    expect(desk.page.locator(".view img")).to_have_count(0)  # four of five are here: nothing is shown
    expect(desk.page.locator("#desk")).to_be_hidden()
    held[0].continue_()
    desk.wait_for("0 of 4")
    # Addresses and texts are the same for all but for the place.
    paths = [str(source).rpartition("/") for source in desk.shown()]
    assert len({folder for folder, _, _ in paths}) == 1
    assert [number for _, _, number in paths] == list("01234")
    names = desk.page.locator("#candidates .view img:not([hidden])").evaluate_all("all => all.map(i => i.alt)")
    assert names == [f"Version {n}" for n in (1, 2, 3, 4)]


def test_enter_does_not_wait_for_the_answers_to_be_saved(desk: Desk) -> None:
    desk.sit_down("Ada")
    desk.ahead()
    held: list[Route] = []
    desk.page.route("**/api/vote", lambda route: route.continue_() if held else held.append(route))
    desk.press("p", "s", "n", "p", "Enter")
    desk.wait_for("1 of 4")
    expect(desk.page.locator("#saved")).to_have_text("Saving…")
    held[0].continue_()
    desk.saved()
    assert desk.counted("Ada") == [["Positive", "Similar", "Negative", "Positive"]]


def test_a_group_that_lay_too_long_is_asked_for_again(desk: Desk) -> None:
    page = desk.page
    page.clock.install()
    desk.sit_down("Ada")
    desk.ahead()
    asked: list[str | None] = []
    page.on("request", lambda request: asked.append(request.post_data) if "/api/next" in request.url else None)
    page.clock.fast_forward("11:00")
    desk.press("p", "p", "p", "p", "Enter")
    desk.wait_for("1 of 4")
    assert asked[0] == '{"after":null}'


def test_back_to_the_group_before_and_another_answer(desk: Desk) -> None:
    desk.sit_down("Ada")
    first = desk.shown()
    desk.press("p", "p", "p", "p", "Enter")
    desk.wait_for("1 of 4")
    second = desk.shown()
    desk.press("n", "Backspace")
    assert desk.chosen() == 1
    desk.press("Backspace")  # from the first version: the group before
    desk.wait_for("1 group back")
    assert (desk.shown(), desk.labels(), desk.chosen()) == (first, ["Positive"] * 4, 4)
    desk.press("Backspace", "s")
    desk.press("Enter")
    desk.wait_for("1 of 4")
    assert (desk.shown(), desk.labels()) == (second, ["Negative", "", "", ""])
    desk.press("s", "s", "s", "Enter")
    desk.wait_for("2 of 4")
    desk.saved()
    changed = ["Positive", "Positive", "Similar", "Positive"]
    assert desk.counted("Ada") == [["Negative", "Similar", "Similar", "Similar"], changed]
    assert desk.rows()[:4] == ["Positive"] * 4  # what was said first stays in the history

    desk.page.reload()
    desk.wait_for("2 of 4")
    previous = desk.page.locator("#previous")
    previous.click()
    desk.wait_for("1 group back")
    assert desk.shown() == second
    previous.click()
    desk.wait_for("2 groups back")
    assert (desk.shown(), desk.labels()) == (first, changed)
    previous.click()
    expect(desk.page.locator("#toast")).to_have_text("This is the first group.")
    desk.press("u")  # no history of the page's own: the chosen version's label
    expect(desk.page.locator("#next")).to_be_disabled()
    desk.press("n", "Enter", "Enter")
    desk.wait_for("2 of 4")
    desk.saved()
    assert desk.counted("Ada")[-1] == ["Positive", "Positive", "Similar", "Negative"]


def test_back_from_the_end(desk: Desk) -> None:
    desk.sit_down("Ada")
    for n in range(4):
        desk.wait_for(f"{n} of 4")
        desk.press("p", "p", "p", "p", "Enter")
    title = desk.page.get_by_role("heading", level=1)
    expect(title).to_have_text("All done. Thank you, Ada!")
    desk.press("Backspace")
    desk.wait_for("4 of 4")
    desk.press("n", "Enter")
    expect(title).to_have_text("All done. Thank you, Ada!")
    assert sorted(labels.count("Negative") for labels in desk.counted("Ada")) == [0, 0, 0, 1]


def test_undo_goes_back_step_by_step(desk: Desk) -> None:
    desk.sit_down("Ada")
    desk.press("p", "s", "1", "n", "u")
    assert (desk.chosen(), desk.labels()) == (1, ["Positive", "Similar", "", ""])
    desk.press("u", "u")
    assert (desk.chosen(), desk.labels()) == (1, ["", "", "", ""])
    expect(desk.page.locator("#undo")).to_be_disabled()
    desk.saved()
    assert desk.rows() == ["Positive", "Similar", "Negative", "Positive", None, None]


def reasons(desk: Desk) -> list[str | None]:
    with desk.store.read() as connection:
        query = sa.select(assignment.c.skip_reason).order_by(assignment.c.number)
        return list(connection.execute(query).scalars())


def test_skips_with_a_reason(desk: Desk) -> None:
    desk.sit_down("Ada")
    page = desk.page
    first = desk.shown()
    desk.press("p", "k")
    expect(page.get_by_role("dialog")).to_be_visible()
    desk.press("n", "Escape")  # the keys are the dialog's own
    assert desk.labels() == ["Positive", "", "", ""]
    desk.press("k", "2")
    desk.wait_for("0 of 3")
    assert desk.shown() != first
    desk.press("k")
    page.get_by_label("Another reason").fill("All of it is sky 1")
    desk.press("Enter")
    desk.wait_for("0 of 2")
    desk.saved()
    assert reasons(desk)[:2] == ["A picture is broken or empty", "All of it is sky 1"]

    desk.press("u")  # nothing was answered since: the skip is taken back
    desk.wait_for("1 group back")
    expect(page.locator("#notice")).to_contain_text("You skipped this group.")
    desk.press("b")
    desk.wait_for("2 groups back")
    expect(page.locator("#notice")).to_contain_text("You skipped this group.")
    assert (desk.shown(), desk.labels()[0]) == (first, "Positive")
    desk.press("2", "s", "s", "s")  # answered after all
    expect(page.locator("#notice")).to_be_hidden()
    desk.saved()
    assert reasons(desk)[:2] == [None, "All of it is sky 1"]
    assert desk.counted("Ada") == [["Positive", "Similar", "Similar", "Similar"]]


def test_the_network_cut_for_ten_answers(desk: Desk) -> None:
    desk.sit_down("Ada")
    desk.ahead()
    desk.page.context.set_offline(True)
    desk.press("p", "s", "n", "p", "Enter")
    desk.wait_for("1 of 4")
    desk.press("n", "n", "p", "s", "1", "s", "2", "p", "Enter")
    expect(desk.page.locator("#saved")).to_have_text("Server away: 10 answers kept here")
    desk.page.context.set_offline(False)
    desk.wait_for("2 of 4")
    desk.saved()
    letters = {"Positive": "p", "Similar": "s", "Negative": "n"}
    assert "".join(letters[str(label)] for label in desk.rows()) == "psnpnnpssp"  # each once, in the order given
    assert desk.counted("Ada") == [
        ["Positive", "Similar", "Negative", "Positive"],
        ["Similar", "Positive", "Positive", "Similar"],
    ]


def test_a_busy_server_is_asked_again(desk: Desk) -> None:
    desk.sit_down("Ada")
    error = {"error": {"code": "too_many", "message": "Please wait."}}
    desk.page.route("**/api/vote", lambda route: route.fulfill(status=429, json=error), times=2)
    desk.press("p")
    desk.saved()
    assert desk.rows() == ["Positive"]


# Practice ------------------------------------------------------------------------------------------------------------

EXPECTED = dict(zip(SLOTS, ("Positive", "Similar", "Negative", "Negative"), strict=True))


def practising(sit: Sit, groups: list[GroupPictures], store: Store) -> Desk:
    for id in ("g0", "g1"):
        store.set_gold(id, "qualification", EXPECTED, "Look at the edges.")
    desk = sit(groups, store)
    desk.sit_down("Ada", "Practice 1 of 2")
    return desk


def expected_keys(desk: Desk) -> list[str]:
    """The keys for what is expected of the group on screen."""
    with desk.store.read() as connection:
        query = sa.select(assignment.c.order).order_by(assignment.c.number.desc()).limit(1)
        order = connection.execute(query).scalar_one()
    return [EXPECTED[slot][0].lower() for slot in order]


def test_practice_passed(sit: Sit, groups: list[GroupPictures], tmp_path: Path) -> None:
    desk = practising(sit, groups, Store(tmp_path / "p.sqlite"))
    page = desk.page
    notice = page.locator("#notice")
    expect(page.locator("#skip")).to_be_disabled()
    keys = expected_keys(desk)
    wrong = keys.index("s")
    keys[wrong] = "n"
    desk.press(*keys, "Enter")
    expect(notice).to_contain_text("3 of 4 as expected.")
    expect(notice).to_contain_text(f"Version {wrong + 1}: expected Similar, you said Negative. Look at the edges.")
    verdicts = page.locator(".verdict")
    expect(verdicts.nth(wrong)).to_have_text("✗ Expected Similar, you said Negative")
    assert [verdict.get_attribute("data-right") for verdict in verdicts.all()].count("true") == 3
    before = desk.labels()
    desk.press("s")  # closed
    assert desk.labels() == before
    desk.press("Enter")
    desk.wait_for("Practice 2 of 2")
    expect(notice).to_be_hidden()
    desk.press(*expected_keys(desk), "Enter")
    expect(notice).to_contain_text("4 of 4 as expected.")
    expect(notice).to_be_visible()
    desk.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Practice passed")
    expect(page.locator("#message-text")).to_contain_text("7 of 8 answers were as expected; 75 % are needed.")
    desk.press("Enter")  # the button has the focus
    desk.wait_for("0 of 2")
    desk.press("p", "p", "p", "p", "Enter")
    desk.wait_for("1 of 2")
    desk.press("b", "b")
    expect(page.locator("#toast")).to_have_text("This is the first group.")  # there is no way back into practice


def test_practice_failed(sit: Sit, groups: list[GroupPictures], tmp_path: Path) -> None:
    store = Store(tmp_path / "p.sqlite")
    desk = practising(sit, groups, store)
    for n in (1, 2):
        desk.wait_for(f"Practice {n} of 2")
        desk.press("s", "s", "s", "s", "Enter")
        expect(desk.page.locator("#notice")).to_be_visible()
        expect(desk.page.locator("#notice")).to_contain_text("1 of 4 as expected.")
        desk.press("Enter")
    title = desk.page.get_by_role("heading", level=1)
    expect(title).to_have_text("Practice not passed")
    desk.page.get_by_role("button", name="Look again").click()
    expect(title).to_have_text("No work at the moment")
    desk.page.reload()
    expect(title).to_have_text("No work at the moment")
    store.qualify("Ada", passed=True)
    desk.page.get_by_role("button", name="Look again").click()
    desk.wait_for("0 of 2")


def test_quota_and_pause(desk: Desk) -> None:
    desk.sign_in("Ada")
    desk.store.set_quota("Ada", 1)
    desk.page.get_by_role("button", name="Begin").click()
    desk.wait_for("0 of 1")
    desk.press("p", "p", "p", "p", "Enter")
    title = desk.page.get_by_role("heading", level=1)
    expect(title).to_have_text("Your share is done. Thank you, Ada!")
    desk.store.pause("Ada")
    desk.page.get_by_role("button", name="Look for more").click()
    expect(title).to_have_text("A pause")
    desk.store.pause("Ada", False)
    desk.store.set_quota("Ada", None)
    desk.page.get_by_role("button", name="Look again").click()
    desk.wait_for("1 of 4")
