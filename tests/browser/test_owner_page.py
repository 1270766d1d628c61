"""The owner's page in a real browser: figures, people, groups, exports, the log, and the page about the interface."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from goldeye.annotate.app import create_app
from goldeye.annotate.figures import Figures
from goldeye.annotate.run import dataset_app, dataset_from_folders
from goldeye.annotate.server import running_server
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store
from goldeye.annotate.tasks import PAIR
from goldeye.annotate.work import GroupPictures
from goldeye.dataset.groups import Dataset

pytestmark = pytest.mark.browser
SIZE = 48
NAMES = {"01": "sharp", "02": "soft", "03": "a-rather-long-name-of-an-enhancer"}
# Ada, Bo and Cy agree on 01 and 03, and each says something else of 02.
VOTES = {
    "Ada": {"01": "Positive", "02": "Positive", "03": "Negative"},
    "Bo": {"01": "Positive", "02": "Similar", "03": "Negative"},
    "Cy": {"01": "Positive", "02": "Negative", "03": "Negative"},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four groups of noise with three versions."""
    folder, rng = tmp_path_factory.mktemp("owner"), np.random.default_rng(0)
    for name in ("photos", *NAMES.values()):
        (folder / name).mkdir()
        for n in range(4):
            picture = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(picture).save(folder / name / f"p{n}.png")
    named = [f"{name}={folder / name}" for name in NAMES.values()]
    return dataset_from_folders(folder / "dataset", folder / "photos", named)


class Office:
    """The owner's page before a real server."""

    def __init__(self, page: Page, store: Store, app: FastAPI) -> None:
        self.page, self.store, self.app = page, store, app
        self.server = running_server(self.app)
        self.base = self.server.__enter__()
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)

    def close(self) -> None:
        self.server.__exit__(None, None, None)

    def sign_in(self, part: str = "Overview") -> None:
        token = self.store.invite("Olga", "owner")
        self.page.goto(f"{self.base}/owner#token={token}")
        self.page.get_by_role("button", name="Open").click()
        self.go(part)

    def go(self, part: str) -> None:
        self.page.get_by_role("navigation", name="Parts of this page").get_by_role("link", name=part).click()
        expect(self.page.get_by_role("heading", level=1, name=part)).to_be_visible()

    def vote(self, name: str, groups: int) -> None:
        """Let somebody answer so many groups as in VOTES (in a study: prefer the first)."""
        if name not in {person.name for person in self.store.people()}:
            self.store.invite(name)
        person = next(person.id for person in self.store.people() if person.name == name)
        assigner = self.app.state.site.assigner
        for _ in range(groups):
            given = assigner.claim(person)[0]
            for position, slot in enumerate(given.order):
                label = VOTES[name][slot] if assigner.task.kind == "label" else "Preferred"
                assigner.answer(person, given.id, position, label, client_id=f"{given.id}-{slot}", active_ms=2000)

    def tile(self, name: str) -> Locator:
        return self.page.locator(".tile").filter(has_text=name)

    def rows(self, caption: str) -> list[str]:
        """Each row of a table as text."""
        table = self.page.get_by_role("table", name=caption)
        return [" ".join(row.inner_text().split()) for row in table.locator("tbody tr").all()]

    def manage(self, name: str) -> Locator:
        self.page.get_by_role("button", name=f"Manage {name}").click()
        return self.page.get_by_role("dialog", name=name, exact=True)

    def row(self, name: str) -> Locator:
        return self.page.locator("#people tbody").filter(has_text=name)


@pytest.fixture
def open_office(browser: Browser, tmp_path: Path) -> Iterator[Callable[[Callable[[Store], FastAPI]], Office]]:
    """Opens the owner's page of an application of one's own."""
    page = browser.new_page(viewport={"width": 1280, "height": 850})
    page.set_default_timeout(10_000)
    store, offices = Store(tmp_path / "a.sqlite"), list[Office]()

    def make(app: Callable[[Store], FastAPI]) -> Office:
        offices.append(Office(page, store, app(store)))
        return offices[-1]

    yield make
    page.close()
    for office in offices:
        office.close()


@pytest.fixture
def office(open_office: Callable[[Callable[[Store], FastAPI]], Office], dataset: Dataset) -> Office:
    return open_office(lambda store: dataset_app(dataset, store))


def test_only_owners_see_anything(office: Office) -> None:
    page = office.page
    page.goto(f"{office.base}/owner")
    expect(page.get_by_role("heading", name="Please open your owner’s link")).to_be_visible()
    page.goto("about:blank")
    page.goto(f"{office.base}/owner#token=nonsense")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", name="This link does not work")).to_be_visible()
    page.goto("about:blank")
    page.goto(f"{office.base}/owner#token={office.store.invite('Ada')}")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", name="This page is for the owner")).to_be_visible()
    assert page.url == f"{office.base}/owner"  # the token left the address
    assert page.locator("#parts").is_hidden()
    page.goto(f"{office.base}/api-docs")
    expect(page.get_by_text("This page is for the owner")).to_be_visible()
    page.goto(f"{office.base}/owner")
    page.get_by_role("link", name="working page").click()
    page.wait_for_url(f"{office.base}/")


def test_another_person_in_the_same_browser(office: Office) -> None:
    office.sign_in()
    page = office.page
    expect(page.get_by_text("No gold items are mixed in.")).to_be_visible()
    with page.expect_popup() as opened:
        page.evaluate("void open('about:blank')")
    window = opened.value
    window.goto(f"{office.base}/#token={office.store.invite('Ada')}")
    window.get_by_role("button", name="Start").click()
    expect(window.locator("#name")).to_have_text("Ada")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    title = "This browser is signed in as somebody else now"
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    expect(page.locator("#parts")).to_be_hidden()


def test_nothing_yet_says_what_to_do(office: Office) -> None:
    office.sign_in()
    expect(office.page.get_by_text("Nobody has voted yet.")).to_be_visible()
    expect(office.tile("Groups finished")).to_contain_text("of 4")
    office.page.get_by_role("link", name="Invite people").click()
    expect(office.page.get_by_role("heading", level=1, name="People")).to_be_visible()
    office.page.reload()  # the session shows the same part again, without a click
    expect(office.page.get_by_role("heading", level=1, name="People")).to_be_visible()
    assert office.complaints == []


def test_figures_agree_with_the_votes(office: Office) -> None:
    for name, groups in (("Ada", 4), ("Bo", 4), ("Cy", 2)):
        office.vote(name, groups)
    office.sign_in()
    expect(office.tile("Groups finished")).to_have_text("Groups finished2of 4; 2 more begun")
    expect(office.tile("Votes")).to_contain_text("10of 12 wanted")
    expect(office.tile("In the last hour")).to_contain_text("10 groupsby 3 people")
    expect(office.tile("Time for a group")).to_contain_text("6.0 s")
    expect(office.tile("Time for a group")).to_contain_text("22.79 s")
    expect(office.tile("Left")).to_contain_text("1 min")
    assert office.rows("Table 1: all votes") == [
        "01 sharp 10 100.0 % 0 0.0 % 0 0.0 % 10",
        "02 soft 4 40.0 % 4 40.0 % 2 20.0 % 10",
        "03 a-rather-long-name-of-an-enhancer 0 0.0 % 0 0.0 % 10 100.0 % 10",
        "All 14 46.7 % 4 13.3 % 12 40.0 % 30",
    ]
    assert office.rows("Table 2: the majority of the votes, by enhancer")[1] == "02 soft 0 0.0 % 4 100.0 % 0 0.0 % 4"
    assert office.rows("Table 3: groups by their number of positives")[:2] == ["0 0 0.0 %", "1 4 100.0 %"]
    agreement = office.rows("How far people agree on the same pictures")
    assert agreement[0].startswith("All 12 0.67 [")
    assert agreement[2].startswith("02 soft 4 0.00 ")
    expect(office.page.get_by_text("3 votes for each group.")).to_be_visible()
    office.go("People")
    assert "4 6.0 P 67 · S 0 · N 33 %" in " ".join(office.row("Ada").inner_text().replace("\xa0", " ").split())
    assert office.complaints == []


def test_figures_are_live_and_nothing_jumps(office: Office) -> None:
    office.vote("Ada", 1)
    office.page.clock.install()
    office.sign_in()
    expect(office.tile("Votes")).to_contain_text("1of 12")
    link = office.page.get_by_role("group", name="Table 1: all votes")
    link.focus()
    office.page.locator("main").evaluate("main => { main.scrollTop = 60; main.first = main.querySelector('.tile'); }")
    before = office.page.locator("main").evaluate("main => main.scrollTop")
    office.vote("Bo", 4)
    office.page.clock.run_for(5000)
    expect(office.tile("Votes")).to_contain_text("5of 12")
    expect(link).to_be_focused()
    kept = "main => [main.scrollTop, main.first === main.querySelector('.tile')]"
    assert office.page.locator("main").evaluate(kept) == [before, True]


def test_a_link_is_shown_once_and_works(office: Office, browser: Browser) -> None:
    office.sign_in("People")
    page = office.page
    page.get_by_role("button", name="Make a link").click()
    expect(page.get_by_text("Please give the person’s name.")).to_be_visible()
    page.get_by_role("textbox", name="Name").fill("Ada <b>Lovelace</b>")
    page.get_by_role("spinbutton", name="Most groups").fill("3")
    page.get_by_role("button", name="Make a link").click()
    dialog = page.get_by_role("dialog", name="Link for Ada <b>Lovelace</b>")
    link = dialog.get_by_role("textbox").input_value()
    assert link.startswith(f"{office.base}/#token=")
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator("dialog")).to_have_count(0)
    assert link.partition("=")[2] not in page.content()
    expect(office.row("Ada <b>Lovelace</b>")).to_contain_text("0 of 3")
    other = browser.new_context().new_page()
    other.goto(link)
    other.get_by_role("button", name="Start").click()
    expect(other.locator("#name")).to_have_text("Ada <b>Lovelace</b>")
    other.context.close()
    page.get_by_role("textbox", name="Name").fill("Olga")
    page.get_by_role("button", name="Make a link").click()
    expect(page.locator("#invite-problem")).to_contain_text("'Olga' has been invited already")


def works(office: Office, token: str) -> bool:
    """Whether a link still opens the application."""
    request = urllib.request.Request(
        f"{office.base}/api/session",
        json.dumps({"token": token}).encode(),
        {"Content-Type": "application/json", "X-Goldeye": "1"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        if error.code == 401:
            return False
        raise


def test_pause_limit_renew_revoke_and_forget(office: Office) -> None:
    old = office.store.invite("Ada")
    office.vote("Ada", 1)
    office.sign_in("People")
    page = office.page

    def state() -> str:
        return next(person.state for person in office.store.people() if person.name == "Ada")

    office.manage("Ada").get_by_role("button", name="Pause").click()
    expect(office.row("Ada")).to_contain_text("paused")
    assert state() == "paused"
    office.manage("Ada").get_by_role("button", name="Resume").click()
    expect(office.row("Ada")).not_to_contain_text("paused")
    dialog = office.manage("Ada")
    dialog.get_by_role("spinbutton").fill("7")
    dialog.get_by_role("button", name="Set limit").click()
    expect(office.row("Ada")).to_contain_text("1 of 7")

    def decide(action: str, question: str, answer: str) -> None:
        office.manage("Ada").get_by_role("button", name=action).click()
        page.get_by_role("dialog", name=question).get_by_role("button", name=answer).click()

    decide("New link", "A new link for Ada?", "Make a new link")
    dialog = page.get_by_role("dialog", name="Link for Ada")
    new = dialog.get_by_role("textbox").input_value().partition("token=")[2]
    dialog.get_by_role("button", name="Close").click()
    assert (works(office, old), works(office, new)) == (False, True)
    decide("Revoke", "Revoke the link of Ada?", "Cancel")
    page.get_by_role("dialog", name="Ada", exact=True).get_by_role("button", name="Close").click()
    assert state() == "active"
    decide("Revoke", "Revoke the link of Ada?", "Revoke")
    expect(office.row("Ada")).to_contain_text("link revoked")
    assert not works(office, new)
    decide("Forget", "Forget Ada?", "Forget")
    expect(office.row("Ada")).to_have_count(0)
    pseudonym = next(person.name for person in office.store.people() if person.state == "forgotten")
    expect(office.row(pseudonym)).to_contain_text("forgotten")
    assert {vote.person for vote in office.store.counted_votes()} == {pseudonym}
    assert office.complaints == []


def test_who_stands_out_comes_first(
    open_office: Callable[[Callable[[Store], FastAPI]], Office], dataset: Dataset
) -> None:
    groups = [
        GroupPictures(f"{one.id}-{n}", one.original, dict(one.candidates)) for one in dataset.groups for n in range(2)
    ]

    def app(store: Store) -> FastAPI:
        for group in groups[:3]:  # nine labels of gold items: Cy is right on all, Bo on six
            store.set_gold(group.id, "gold", VOTES["Cy"])
        return create_app(groups, store, settings=AnnotationSettings(gold_rate=0.5, gold_accuracy=0.98))

    office = open_office(app)
    office.vote("Cy", 6)  # each second one is gold
    office.vote("Bo", 6)
    office.sign_in("People")
    expect(office.page.get_by_text("1 person stands out")).to_be_visible()
    rows = office.page.locator("#people tbody")
    expect(rows.nth(0)).to_contain_text("6 of 9")
    expect(rows.nth(0).locator(".flags")).to_have_text("Gold items: 6 of 9 labels right, surely below 98%.")
    expect(rows.nth(1)).to_contain_text("Cy")
    expect(rows.nth(1)).to_contain_text("9 of 9100 % [70, 100]")
    office.go("Overview")
    expect(office.page.get_by_text("50 % of the groups given out are gold items; who is right")).to_be_visible()


def test_a_study_shows_its_results(
    open_office: Callable[[Callable[[Store], FastAPI]], Office], dataset: Dataset
) -> None:
    pairs = {"a": "EDL", "b": "RRDB", "votes": 12, "a_preferred": 9, "b_preferred": 3, "a_share": 0.75}
    found = {
        "people": 3,
        "votes": 12,
        "votes_wanted": 40,
        "pictures": 4,
        "median_seconds": 6.5,
        "comparisons": [pairs | {"wilson95": [0.468, 0.911], "bootstrap95": None}],
        "scores": None,
        "sides": {"left": 7, "total": 12, "share": 7 / 12, "wilson95": [0.32, 0.81], "sign_test_p": 0.77},
        "per_picture": {"p0": [pairs]},
        "checks": {"made": 0, "answered": 0, "right": 0, "failed": []},
        "flagged": [],
        "excluded": [],
        "intervals": "Votes are taken as independent.",
    }
    groups = [
        GroupPictures(one.id, None, {"01": one.candidates["01"], "02": one.candidates["02"]}) for one in dataset.groups
    ]

    def app(store: Store) -> FastAPI:
        return create_app(groups, store, task=PAIR, figures=Figures(store, results=lambda _: {"study": found}))

    office = open_office(app)
    office.vote("Ada", 2)
    office.sign_in()
    page = office.page
    expect(page.get_by_text("3 people gave 12 of 40 votes on 4 pictures.")).to_be_visible()
    caption = "Which version people prefer; in brackets the 95 % interval (Wilson)"
    assert office.rows(caption) == ["EDL RRDB 12 9 75.0 % [46.8, 91.1] 3 25.0 % [8.9, 53.2]"]
    expect(page.get_by_text("The left version was chosen 7 of 12 times (58.3 %)")).to_be_visible()
    expect(page.get_by_role("link", name="Export")).to_have_count(0)
    expect(page.get_by_text("No attention checks are mixed in.")).to_be_visible()
    office.store.set_gold(groups[0].id, "gold", {"01": "Preferred"})
    page.reload()
    expect(page.get_by_text("5 % of the groups given out are attention checks; who is right")).to_be_visible()
    office.go("Groups")
    page.locator("#groups tbody a").first.click()
    expect(page.locator("figcaption")).to_have_text(["01", "02"])
    expect(page.get_by_role("button", name="Original in place")).to_have_count(0)
    assert office.complaints == []


def test_a_group_is_looked_at_and_made_gold(office: Office) -> None:
    for name, groups in (("Ada", 4), ("Bo", 4), ("Cy", 2)):
        office.vote(name, groups)
    office.sign_in("Groups")
    page = office.page
    rows = page.locator("#groups tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("3 of 3")  # most disagreement first
    expect(rows.first).to_contain_text("1 / 1 / 1")
    page.get_by_role("combobox", name="Show").select_option("finished")
    expect(rows).to_have_count(2)
    name = rows.first.get_by_role("link").inner_text()
    rows.first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
    captions = page.locator("figcaption")
    expect(captions).to_have_text(["Original", *(f"{slot} {called}" for slot, called in NAMES.items())])

    shown = "() => [...document.querySelectorAll('#pictures .view img:not([hidden])')].map((image) => image.src)"
    pictures = page.evaluate(shown)
    assert len(set(pictures)) == 4
    page.mouse.move(5, 5)  # on no picture: all versions are flipped
    page.keyboard.down("f")
    assert page.evaluate(shown) == [pictures[0]] * 4
    page.keyboard.up("f")
    page.locator("#pictures .view").nth(2).hover()
    page.keyboard.down("f")
    assert page.evaluate(shown) == [*pictures[:2], pictures[0], pictures[3]]
    page.keyboard.up("f")
    assert page.evaluate(shown) == pictures
    fitted = page.locator("#zoom-text").inner_text()
    page.get_by_role("button", name="Zoom in").click()
    expect(page.locator("#zoom-text")).not_to_have_text(fitted)
    moved = "() => new Set([...document.querySelectorAll('#pictures img')].map((image) => image.style.transform)).size"
    assert page.evaluate(moved) == 1  # all together

    answers = page.locator("#group-body tbody tr")
    expect(answers).to_have_count(3)
    mine = answers.filter(has_text="Cy")
    expect(mine).to_contain_text("6.0")
    mine.locator("summary").click()
    expect(mine.locator("li")).to_have_count(3)
    expect(mine).to_contain_text("soft: Negative")

    page.get_by_role("button", name="Use as a test").click()
    expect(page.get_by_text("Please say which label is right")).to_be_visible()
    page.get_by_role("radio", name="Qualification item").check()
    page.get_by_label("01 sharp").select_option("Positive")
    page.get_by_label("Note").fill("Sharper, and nothing false.")
    page.get_by_role("button", name="Use as a test").click()
    expect(page.get_by_text("This group is an item of the qualification.")).to_be_visible()
    page.reload()
    expect(page.get_by_label("01 sharp")).to_have_value("Positive")
    expect(page.get_by_label("Note")).to_have_value("Sharper, and nothing false.")
    office.go("Groups")
    page.get_by_role("combobox", name="Show").select_option("gold")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("qualification")
    rows.get_by_role("link").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Where you know the right labels")).to_be_visible()
    page.get_by_role("link", name="All groups").click()
    expect(page.get_by_text("There are no such groups.")).to_be_visible()
    assert office.complaints == []


def test_export(office: Office, tmp_path: Path) -> None:
    office.sign_in("Export")
    page = office.page
    page.get_by_role("button", name="Download csv").click()
    expect(page.get_by_text("has no votes yet")).to_be_visible()
    office.vote("Ada", 2)

    def words(name: str) -> str:
        with page.expect_download() as started:
            page.get_by_role("button", name=f"Download {name}").click()
        path = tmp_path / started.value.suggested_filename
        started.value.save_as(path)
        with zipfile.ZipFile(path) as files:
            return " ".join(files.namelist()) + " ".join(
                files.read(each).decode() for each in files.namelist() if each.endswith((".csv", ".json"))
            )

    assert "Positive" in words("Official JSON")
    assert "Ada" not in words("csv")
    page.get_by_role("region", name="csv").get_by_role("checkbox").check()
    assert "Ada" in words("csv")


def test_the_log_lists_what_was_done(office: Office) -> None:
    office.sign_in("People")
    page = office.page
    page.get_by_role("textbox", name="Name").fill("Ada")
    page.get_by_role("button", name="Make a link").click()
    page.get_by_role("button", name="Close").click()
    office.manage("Ada").get_by_role("button", name="Pause").click()
    expect(office.row("Ada")).to_contain_text("paused")
    office.go("Log")
    rows = page.locator("#log tbody tr")
    expect(rows.first).to_contain_text("paused")
    expect(rows.first).to_contain_text("Olga")
    expect(rows.first).to_contain_text("Ada")
    expect(rows.nth(1)).to_contain_text("invited")
    expect(page.get_by_role("button", name="Older")).to_be_hidden()
    for n in range(120):
        office.store.note("Olga", "noted", f"number {n}")
    page.reload()
    expect(rows).to_have_count(100)
    page.get_by_role("button", name="Older").click()
    expect(rows.nth(119)).to_contain_text("number 0")
    expect(page.get_by_role("button", name="Older")).to_be_hidden()


def test_every_path_is_described(office: Office) -> None:
    office.sign_in()
    page = office.page
    page.get_by_role("link", name="API").click()
    described = page.locator(".operation h2")
    expect(described.first).to_be_visible()
    known: dict[str, dict[str, Any]] = office.app.openapi()["paths"]
    operations = {f"{method.upper()} {path}" for path, item in known.items() for method in item}
    assert "POST /api/owner/people/{number}" in operations
    assert set(described.all_inner_texts()) == operations
    invite = page.locator("#post-api-owner-people")
    expect(invite).to_contain_text("quota")
    expect(invite).to_contain_text('"annotator" | "owner"')
    assert page.get_by_text("undefined").count() == 0
    assert office.complaints == []


def test_accessible(office: Office) -> None:
    for name, groups in (("Ada", 4), ("Bo", 4), ("Cy", 2)):
        office.vote(name, groups)
    page, axe = office.page, Axe()
    office.sign_in()

    def check(*, dark: bool = False) -> None:
        """No violation in light; in dark only the colours are others."""
        found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        if dark:
            page.emulate_media(color_scheme="dark")
            found += axe.run(page, options={"runOnly": ["color-contrast"]}).response["violations"]
            page.emulate_media(color_scheme="light")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []

    expect(page.get_by_text("Table 1: all votes")).to_be_visible()
    check(dark=True)
    for part, sign in (("People", "Manage Ada"), ("Export", "Download csv"), ("Groups", "")):
        office.go(part)
        if sign:
            expect(page.get_by_role("button", name=sign)).to_be_visible()
        else:
            expect(page.locator("#groups tbody tr")).to_have_count(4)
        check(dark=part == "People")
    page.locator("#groups tbody a").first.click()
    expect(page.locator("#pictures img").first).to_be_visible()
    check(dark=True)
    office.go("Log")
    expect(page.locator("#log tbody tr").first).to_be_visible()
    check()
    office.go("People")
    office.manage("Ada")
    check()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="API").click()
    expect(page.locator(".operation h2").first).to_be_visible()
    check()
    assert office.complaints == []


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (390, 844)])
def test_fits_small_screens(office: Office, width: int, height: int) -> None:
    for name, groups in (("Ada", 4), ("Bo", 4)):
        office.vote(name, groups)
    page = office.page
    page.set_viewport_size({"width": width, "height": height})
    office.sign_in()

    def wide() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    for part in ("Overview", "People", "Groups", "Export", "Log"):
        office.go(part)
        expect(page.locator(f"#{part.lower()} :is(.panel, .tile)").first).to_be_visible()
        assert not wide(), part
    office.go("Groups")
    page.locator("#groups tbody a").first.click()
    expect(page.locator("#pictures img").first).to_be_visible()
    assert not wide()
