"""Take the pictures of the annotation's pages that are shown in docs/annotating.md.

python docs/make_annotation_pictures.py docs/images

The groups are patches of scikit-image's pictures with versions made here by filters; the votes are scripted.
"""

from __future__ import annotations

import io
import random
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from goldeye.annotate.run import dataset_app, dataset_from_folders
from goldeye.annotate.server import person_link, running_server
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store
from goldeye.images import write_image

CHROMIUM = "/usr/bin/chromium"
SIDE = 400
NAMES = ("rcan-noise", "rcan-blur", "elan-noise", "elan-blur")


def versions(clean: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The original and four versions: (400, 400, 3) uint8 each."""
    soft = cv2.GaussianBlur(clean, (0, 0), 1.1)
    photo = soft + rng.normal(0, 7, soft.shape)
    calm = cv2.bilateralFilter(photo.astype(np.float32), 7, 28, 3)
    sharp = calm + 0.9 * (calm - cv2.GaussianBlur(calm, (0, 0), 1.4))
    harsh = photo + 2.6 * (photo - cv2.GaussianBlur(photo, (0, 0), 1.8))
    flat = cv2.bilateralFilter(cv2.GaussianBlur(photo, (0, 0), 1.6).astype(np.float32), 11, 60, 6)
    return [np.clip(each, 0, 255).round().astype(np.uint8) for each in (photo, sharp, calm, harsh, flat)]


def make_groups(folder: Path) -> None:
    """Twelve groups as folders of pictures."""
    rng = np.random.default_rng(3)
    places = [("chelsea", 0, 25), ("coffee", 0, 60), ("astronaut", 0, 60), ("rocket", 20, 200), ("chelsea", 0, 50)]
    places += [("astronaut", 112, 100), ("coffee", 0, 190), ("rocket", 20, 100), ("astronaut", 60, 0)]
    for number, (name, y, x) in enumerate(places):
        picture = getattr(skimage.data, name)()
        clean = cv2.resize(picture[y:, x:], None, fx=1.35, fy=1.35)[:SIDE, :SIDE].astype(np.float32)
        for kind, made in zip(("original", *NAMES), versions(clean, rng), strict=True):
            write_image(folder / kind / f"{name}-{number}.png", made)


def vote(store: Store, app: object) -> None:
    """Scripted people label, with different eyes."""
    assigner = app.state.site.assigner  # type: ignore[attr-defined]
    usual = {"01": [8, 2, 0], "02": [5, 5, 1], "03": [1, 2, 7], "04": [1, 3, 6]}
    for number, name in enumerate(("Anna", "Bo", "Chidi", "Dana", "Emil"), 1):
        store.invite(name)
        person = store.people()[-1].id
        chance = random.Random(number)
        for turn in range((8, 7, 4, 3, 0)[number - 1]):
            work, _ = assigner.claim(person)
            if work is None:
                break
            for position, key in enumerate(work.order):
                label = chance.choices(("Positive", "Similar", "Negative"), usual[key])[0]
                label = "Positive" if name == "Dana" else label
                spent = chance.randrange(3000, 7500) if name != "Dana" else 900
                assigner.answer(
                    person, work.id, position, label, client_id=f"picture-{number}-{turn}-{position}", active_ms=spent
                )


def shot(page: Page, path: Path) -> None:
    """A screenshot with few colours, so that the file stays small."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main(output: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="goldeye-pictures-"))
    make_groups(folder)
    dataset = dataset_from_folders(
        folder / "dataset", folder / "original", [f"{name}={folder / name}" for name in NAMES]
    )
    store = Store(dataset.votes_url)
    app = dataset_app(dataset, store, settings=AnnotationSettings(votes=5), title="Leaves and faces")
    vote(store, app)
    with running_server(app) as base, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        for name, width, height, scheme in [
            ("laptop", 1440, 900, "light"),
            ("tablet", 820, 1180, "light"),
            ("dark", 1440, 900, "dark"),
        ]:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(person_link(base, store.invite(f"Frida {name}")))
            page.get_by_role("button", name="Start").click()
            page.get_by_role("button", name="Begin").click()
            page.wait_for_selector("#desk:not([hidden])")
            for key in ("p", "n"):
                page.keyboard.press(key)
            page.wait_for_timeout(600)
            shot(page, output / f"annotate-{name}.png")
            page.close()
        page = browser.new_page(viewport={"width": 1440, "height": 1000}, color_scheme="light")
        page.goto(person_link(base, store.invite("Olga", "owner"), "owner"))
        page.get_by_role("button").first.click()
        page.wait_for_timeout(1500)
        shot(page, output / "annotate-owner.png")
        browser.close()
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
