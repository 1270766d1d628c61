"""The page of `goldeye benchmark` in a real browser, opened as a file: tables, order, viewer, both kinds of page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from evaluate.benchmark_world import World, drawn
from goldeye.evaluate.benchmark import run_benchmark
from goldeye.images import matlab_resize, to_float, to_uint8, write_image

pytestmark = pytest.mark.browser
NAMES = ("one", "two", "deep/th#ree 100%")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT (a folder) and OUT-single (one file) of three pictures of 160x120, the second one much better than its GT."""
    world = World(tmp_path_factory.mktemp("benchmark"))
    for number, name in enumerate(NAMES):
        hr = drawn(number, 120, 160)
        write_image(world.folder / "hr" / f"{name}.png", hr)
        write_image(world.folder / "lr" / f"{name}.png", to_uint8(matlab_resize(to_float(hr), 30, 40)))
        shift = 1 if name == "two" else 10
        write_image(world.folder / "lighter" / f"{name}_up.png", hr + np.uint8(shift))
        write_image(world.folder / "darker" / f"{name}.png", hr - np.uint8(20))
    world.config["models"].pop()  # a random network says nothing
    world.config["page"] = {"crop": 32}
    world.run()
    folder, world.out = world.out, world.out.with_name("out-single")
    world.run(single_file=True)
    return folder


@pytest.fixture
def page(browser: Browser, out: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    options: dict[str, Any] = {"width": 1400, "place": out} | getattr(request, "param", {})
    page = browser.new_page(viewport={"width": options["width"], "height": 850})
    page.set_default_timeout(10_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda asked: complaints.append(asked.url))
    page.goto((options["place"] / "index.html").as_uri())
    yield page
    page.close()
    assert complaints == []


def names(page: Page) -> list[str]:
    return page.locator(".picture h3").all_text_contents()


@pytest.mark.parametrize("page", [{"width": 1400}, {"width": 400}], ids=["wide", "narrow"], indirect=True)
def test_it_fits_the_screen(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    images = page.locator(".crops img")
    expect(images).to_have_count(3 * 6)
    for image in images.all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
    page.locator(".crops button").first.click()
    expect(page.locator("#stage .view")).to_have_count(5)
    assert page.evaluate("document.getElementById('stage').scrollWidth <= innerWidth")
    for button in page.locator(".bar button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= page.evaluate("innerWidth")


def test_pictures_with_most_difference_come_first(page: Page) -> None:
    # darker has 22.11 dB on all; Lighter 28.13, on "two" 48.13.
    assert names(page)[0] == "two"
    assert "PSNR differs by" in page.locator(".picture header").first.inner_text()
    expect(page.locator(".picture").first.locator(".best")).to_have_text("PSNR 48.13")
    page.get_by_label("Order").select_option("")
    assert names(page) == ["deep/th#ree 100%", "one", "two"]
    page.get_by_label("Order").select_option("ssim")
    expect(page.locator(".picture .value").first).to_contain_text("SSIM")


def test_figures_and_differences(page: Page) -> None:
    line = page.locator("table.figures").first.locator("tbody tr", has_text="darker")
    expect(line).to_contain_text("22.11")
    row = page.locator("#differences tbody tr", has=page.locator("th", has_text="Lighter"))
    cell = row.locator("td").nth(2)  # minus darker: 6.02, and 26.02 on one of three
    expect(cell).to_contain_text("+12.69")
    expect(cell).to_contain_text("better on 100 % of 3")
    expect(cell).to_have_class("better")
    back = page.locator("#differences tbody tr", has=page.locator("th", has_text="darker")).locator("td").nth(1)
    expect(back).to_contain_text("−12.69")
    expect(back).to_contain_text("better on 0 % of 3")


def test_the_viewer_moves_all_pictures_together(page: Page) -> None:
    page.locator(".picture").nth(1).get_by_role("button", name="compare the whole picture").click()
    expect(page.locator("#title")).to_contain_text(f"{names(page)[1]} (2 of 3)")
    panes = page.locator("#stage .view")
    expect(panes).to_have_count(5)
    page.get_by_role("button", name="Zoom in").click()
    panes.nth(0).hover()
    page.mouse.down()
    page.mouse.move(500, 300, steps=3)
    page.mouse.up()
    # GT and results, all but the LR picture, which is drawn four times as large.
    moves = page.locator("#stage .view img").evaluate_all(
        "images => images.filter(i => i.alt !== 'LR').map(i => i.style.transform.match(/translate.*?px.*?px/)[0])"
    )
    assert len(moves) == 4 + 4  # each but the GT has the GT behind it
    positions = {tuple(round(float(part)) for part in re.findall(r"-?[\d.]+", move)) for move in moves}
    assert len(positions) == 1
    page.keyboard.press("ArrowRight")
    expect(page.locator("#title")).to_contain_text("(3 of 3)")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()


def test_flip_shows_the_gt(page: Page) -> None:
    page.locator(".crops button").nth(1).click()
    view = page.locator("#stage .pane", has_text="darker").locator("img:not([hidden])")
    expect(view).to_have_attribute("alt", "darker")
    page.keyboard.down(" ")
    expect(view).to_have_attribute("alt", "GT")
    page.keyboard.up(" ")
    expect(view).to_have_attribute("alt", "darker")
    page.get_by_role("button", name="Flip to GT").click()
    expect(view).to_have_attribute("alt", "GT")


@pytest.mark.parametrize("single", [False, True], ids=["folder", "single"])
def test_the_slider_divides_two_pictures(browser: Browser, out: Path, tmp_path: Path, single: bool) -> None:
    page = browser.new_page(viewport={"width": 900, "height": 700})
    page.goto(((out.with_name("out-single") if single else out) / "index.html").as_uri())
    page.locator(".picture", has=page.get_by_role("heading", name="one")).locator("button").first.click()
    page.get_by_label("View").select_option("slider")
    page.locator("#left").select_option("darker")
    page.locator("#right").select_option("Lighter")
    views = page.locator(".stack .view")
    expect(views).to_have_count(2)
    box = views.first.bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def grey(value: int, x: float) -> float:
        page.locator("#slide").fill(str(value))
        page.screenshot(path=tmp_path / "shot.png")
        with Image.open(tmp_path / "shot.png") as shot:
            return float(np.asarray(shot.convert("RGB"))[int(middle[1]), int(middle[0] + x)].mean())

    # One place under the left picture, then under the right one, which is 30 levels lighter.
    assert grey(20, 12) - grey(80, 12) == pytest.approx(30, abs=1)
    page.close()


def test_nothing_outside_the_single_file(browser: Browser, out: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    moved = tmp_path / "sent.html"
    moved.write_bytes((out.with_name("out-single") / "index.html").read_bytes())
    page.goto(moved.as_uri())
    page.locator(".crops button").first.click()
    expect(page.locator("#stage .view img:not([hidden])")).to_have_count(5)
    assert [url for url in asked if not url.startswith("data:")] == [moved.as_uri()]
    page.close()


def test_words_stand_out_from_their_ground(page: Page) -> None:
    """WCAG AA: 4.5 to 1 for text."""
    pairs = [("ink", "paper"), ("soft", "paper"), ("ink", "card"), ("soft", "card"), ("gold", "paper")]
    pairs += [("better", "better-ground"), ("worse", "worse-ground")]
    code = "name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()"

    def luminance(name: str) -> float:
        colour = page.evaluate(code, name)
        rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        return float(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for text, ground in pairs:
            low, high = sorted((luminance(text), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, text, ground)


def test_print_shows_the_definitions_and_no_bars(page: Page) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    expect(page.get_by_text("border crop 4; against the picture of the same name").first).to_be_visible()


def test_some_pictures_of_a_set_and_a_metric_without_a_direction(browser: Browser, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.config["page"] = {"pictures": 1, "sort": "psnr"}
    world.config["metrics"] = ["psnr", "sharpness"]
    world.config["models"][1] = {"name": "the GT", "results": "hr"}
    world.run()
    page = browser.new_page()
    page.goto((world.out / "index.html").as_uri())
    page.get_by_label("Order").select_option("sharpness")
    expect(page.locator("#how-many")).to_have_text("1 of 2 pictures: those that differed most in PSNR.")
    expect(page.locator(".picture .value")).to_have_count(4)
    expect(page.locator(".picture .best")).to_have_count(0)
    line = page.locator("#differences tbody tr", has=page.locator("th", has_text="the GT"))
    expect(line.locator("td").nth(2)).to_contain_text("better on 100 % of 2, 2 infinite")
    expect(line.locator("td").nth(2)).to_contain_text("–")
    page.get_by_label("Metric").select_option("sharpness")
    expect(line.locator("td").nth(2)).to_contain_text("higher on")
    page.close()


def test_a_dataset_flips_to_what_its_figures_compare_with(browser: Browser, golden: Path, tmp_path: Path) -> None:
    data = golden / "hggt_mini"
    config = tmp_path / "bench.yaml"
    config.write_text(
        f"models: [{{name: SR, results: {data / 'Test' / 'SR'}, suffix: _sr}}]\n"
        f"sets: [{{name: mini, dataset: {data}}}]\nmetrics: [psnr]\npage: {{pictures: 1}}\n"
    )
    run_benchmark(config, tmp_path / "out", device="cpu")
    page = browser.new_page()
    page.goto((tmp_path / "out" / "index.html").as_uri())
    page.locator(".crops button").first.click()
    first = page.locator("#stage .pane figcaption").first.inner_text()
    assert re.fullmatch(r"positive \d\d", first)
    view = page.locator("#stage .pane", has_text="SR").locator("img:not([hidden])")
    expect(view).to_have_attribute("alt", "SR")
    page.get_by_role("button", name=f"Flip to {first}").click()
    expect(view).to_have_attribute("alt", first)
    page.close()


def test_no_model_is_the_best_against_negatives(browser: Browser, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add_negatives("Far")
    world.run()
    page = browser.new_page()
    page.goto((world.out / "index.html").as_uri())
    for name, word in (("Drawn", "better"), ("Far", "higher")):
        page.locator("#set").select_option(label=name)
        page.locator("#difference-set").select_option(label=name)
        expect(page.locator("#differences td small", has_text=f"{word} on")).to_have_count(6)
        assert (page.locator(".picture .best").count() > 0) == (name == "Drawn")
        assert name == "Drawn" or page.locator("#differences .better, #differences .worse").count() == 0
    page.close()
