"""Draw a picture of a preview page: its head and one photo, with a window pointed at.

python docs/make_preview_picture.py DATASET/preview.html PHOTO docs/images/preview.png

docs/images/preview.png shows five pictures of scikit-image with four tiny enhancers (tiny/enhance-*, 2,000 steps),
selected with --patch-size 160.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
WIDTH = 1240
ONE_PHOTO = """name => {
  for (const photo of document.querySelectorAll('.photo'))
    photo.hidden = photo.querySelector('h3').textContent !== name;
  document.querySelector('.tools').style.position = 'static';
  document.querySelector('main > .note:last-child').hidden = true;
  document.body.style.paddingBottom = '.5rem';
}"""


def main(page_file: Path, photo: str, output: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 2400}, color_scheme="light")
        page.goto(page_file.resolve().as_uri())
        page.evaluate(ONE_PHOTO, photo)
        box = page.locator(".photo:not([hidden]) .stage").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 0.62 * box["width"], box["y"] + 0.42 * box["height"])
        height = page.evaluate("document.body.getBoundingClientRect().height")
        shot = page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(256).save(output, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
