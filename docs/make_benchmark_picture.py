"""Draw a picture of a benchmark's page: its tables and the picture for which the models differ most.

python docs/make_benchmark_picture.py OUT/index.html docs/images/benchmark.png

docs/images/benchmark.png shows three pictures of scikit-image (astronaut, chelsea, coffee) with bicubic LR: MATLAB's
bicubic, Pillow's bilinear and sharpened Lanczos, and a `compact` network of 42,504 parameters after 1,500 steps.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
WIDTH = 1400


def main(page_file: Path, output: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 2400}, color_scheme="light")
        page.goto(page_file.resolve().as_uri())
        page.wait_for_load_state("networkidle")
        box = page.locator(".picture").first.bounding_box()
        assert box is not None
        shot = page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": box["y"] + box["height"]})
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(256).save(output, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
