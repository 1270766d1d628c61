"""The page of `goldeye select --preview` in a real browser: no network, toggles, scores of windows."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from goldeye.curate.preview import PreviewPhoto, write_preview
from goldeye.curate.scores import WindowScores
from goldeye.curate.select import SelectSettings

pytestmark = pytest.mark.browser
SIZE, STRIDE, ROWS, COLUMNS = 128, 32, 5, 8


def scores() -> WindowScores:
    """Rows 0..4: too flat, too soft, too alike, passing, passing; every number tells its place."""
    place = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS) / 100 + 0.005
    std, detail, weak, strong = (place + base for base in (40, 10, 1, 3))
    std[0] -= 20
    detail[1] -= 5
    strong[2] = weak[2] - 0.5
    return WindowScores(
        np.arange(ROWS) * STRIDE, np.arange(COLUMNS) * STRIDE, std, detail, {"01": weak / 2, "02": strong}
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("preview")
    height, width = SIZE + (ROWS - 1) * STRIDE, SIZE + (COLUMNS - 1) * STRIDE
    photos = []
    for number, (name, chosen, twin) in enumerate(
        [("one.png", [(3, 0), (4, 7)], None), ("two <b>.png", [], "one.png"), ("three.png", [(3, 3)], None)]
    ):
        picture = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
        photos.append(PreviewPhoto(name, folder / f"{number}.png", height, width, scores(), chosen, twin))
    write_preview(
        folder / "preview.html",
        photos,
        thresholds={"min_std": 30.0, "min_high_frequency": 6.0, "min_difference": 2.0},
        settings=SelectSettings(patch_size=SIZE, stride=STRIDE),
        summary={"photos_total": 3, "enhancers": {"01": "mild", "02": "bold"}},
    )
    return (folder / "preview.html").as_uri()


BOTH = pytest.mark.parametrize("page", [1280, 390], ids=["desktop", "phone"], indirect=True)


@pytest.fixture
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": getattr(request, "param", 1280), "height": 850})
    page.set_default_timeout(10_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda asked: None if asked.url.startswith("data:") else complaints.append(asked.url))
    page.goto(address)
    yield page
    page.close()
    assert complaints == [address]


def marks(page: Page, outcome: str, photo: int = 0) -> Locator:
    return page.locator(".photo").nth(photo).locator(f".over path.ink.{outcome}")


def to_window(page: Page, row: int, column: int, photo: int = 0) -> None:
    """Point at the centre of a window."""
    stage = page.locator(".stage").nth(photo)
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    scale = box["width"] / (SIZE + (COLUMNS - 1) * STRIDE)
    page.mouse.move(
        box["x"] + scale * (column * STRIDE + SIZE / 2 + 3), box["y"] + scale * (row * STRIDE + SIZE / 2 - 4)
    )


@BOTH
def test_it_fits_the_screen(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for image in page.locator(".stage img").all():
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    over, image = page.locator(".over").first.bounding_box(), page.locator(".stage img").first.bounding_box()
    assert over == pytest.approx(image, abs=0.6)  # the windows lie where they are in the photo


def test_every_window_has_its_mark(page: Page) -> None:
    for photo, chosen in enumerate((2, 0, 1)):
        for outcome, count in (("texture", 8), ("high_frequency", 8), ("difference", 8), ("passed", 16 - chosen)):
            d = marks(page, outcome, photo).get_attribute("d")
            assert d is not None
            assert d.count("M") == count
    centre = re.match(r"M(\d+) (\d+)", marks(page, "high_frequency").get_attribute("d") or "")
    assert centre is not None
    assert centre.groups() == (str(SIZE // 2), str(STRIDE + SIZE // 2))


@pytest.mark.parametrize("keyboard", [False, True], ids=["mouse", "keyboard"])
def test_outcomes_are_hidden_and_shown(page: Page, keyboard: bool) -> None:
    for name, outcome in (("Too flat", "texture"), ("Passed", "passed"), ("Chosen", "chosen")):
        box = page.get_by_role("checkbox", name=name, exact=True)
        expect(box).to_be_checked()
        for checked in (False, True):
            if keyboard:
                box.focus()
                page.keyboard.press("Space")
            else:
                page.locator("label", has=box).click()
            assert box.is_checked() is checked
            assert marks(page, outcome).evaluate("path => path.checkVisibility()") is checked
            assert marks(page, "difference").evaluate("path => path.checkVisibility()")
    page.get_by_role("checkbox", name="Chosen", exact=True).uncheck()
    expect(page.locator(".photo").first.locator(".frame").last).to_be_hidden()


@BOTH
def test_pointing_shows_scores_and_outlines_the_window(page: Page) -> None:
    readout, outline = page.locator(".readout").first, page.locator(".stage").first.locator("rect.at").last
    expect(outline).to_be_hidden()
    for row, title, std, signs in (
        (0, "Too flat", "20.02", "✗✓✓"),
        (1, "Too soft", "40.10", "✓✗✓"),
        (2, "Too alike", "40.18", "✓✓✗"),
        (3, "Passed", "40.26", "✓✓✓"),
    ):
        to_window(page, row, 2)
        expect(readout.locator("p")).to_have_text(f"{title}: y {row * STRIDE}, x {2 * STRIDE}")
        cells = readout.locator("td").all_inner_texts()
        assert cells[0] == std
        assert "".join(cell[0] for cell in cells[1:6:2]) == signs
        expect(outline).to_be_visible()
        assert [outline.get_attribute(name) for name in ("x", "y", "width")] == [
            str(2 * STRIDE),
            str(row * STRIDE),
            str(SIZE),
        ]
    expect(readout.locator(".strongest")).to_have_text(re.compile("02 bold.*3.2"))
    to_window(page, 3, 0)
    expect(readout.locator("p")).to_have_text(f"Chosen: y {3 * STRIDE}, x 0")
    page.get_by_role("checkbox", name="Chosen", exact=True).uncheck()  # what is hidden is not shown, and not found
    expect(outline).to_be_hidden()
    to_window(page, 3, 0)
    expect(readout.locator("p")).not_to_contain_text("Chosen")


def test_windows_by_keyboard(page: Page) -> None:
    readout = page.locator(".readout").first
    stage = page.get_by_role("application", name="Windows of one.png")
    stage.focus()
    for key, place in (
        ("ArrowRight", "Too flat: y 0, x 0"),
        ("ArrowRight", "Too flat: y 0, x 32"),
        ("ArrowUp", "Too flat: y 0, x 32"),
        ("ArrowDown", "Too soft: y 32, x 32"),
        ("ArrowDown", "Too alike: y 64, x 32"),
        ("ArrowLeft", "Too alike: y 64, x 0"),
        ("ArrowDown", "Chosen: y 96, x 0"),
    ):
        page.keyboard.press(key)
        expect(readout.locator("p")).to_have_text(place)
    expect(page.locator("#said")).to_contain_text("Chosen: y 96, x 0")
    page.keyboard.press("Escape")
    expect(readout).to_have_text("Point at a window for its scores.")


def test_photos_without_chosen_windows(page: Page) -> None:
    box = page.get_by_role("checkbox", name="Only photos with none chosen")
    box.check()
    assert [photo.is_visible() for photo in page.locator(".photo").all()] == [False, True, False]
    expect(page.locator(".photo").nth(1)).to_contain_text("left out as a near-duplicate of one.png")
    expect(page.get_by_role("heading", name="two <b>.png")).to_be_visible()
    box.uncheck()
    page.get_by_text("1 photo without a chosen window").click()
    expect(page.get_by_role("listitem").filter(has_text="two <b>.png")).to_be_visible()


def test_words_stand_out_from_their_ground(page: Page) -> None:
    """WCAG AA: 4.5 to 1 for text, 3 to 1 for what is drawn."""
    names = ("paper", "card", "ink", "soft", "limit", "gold", "reach", "below")
    code = "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue('--' + n).trim())"

    def luminance(colour: str) -> float:
        rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        return float(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    grounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        of = {name: luminance(colour) for name, colour in zip(names, page.evaluate(code, names), strict=True)}
        grounds.add(of["paper"])
        for ground in ("paper", "card"):
            for name, least in (("ink", 4.5), ("soft", 4.5), ("limit", 4.5), ("gold", 3), ("reach", 3), ("below", 3)):
                low, high = sorted((of[ground], of[name]))
                assert (high + 0.05) / (low + 0.05) >= least, (scheme, ground, name)
    assert len(grounds) == 2
