"""The page of `goldeye select --preview`: its figures, histograms and what it says of each photo."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from goldeye.curate import preview
from goldeye.curate.preview import Histogram, PreviewPhoto, chart, write_preview
from goldeye.curate.scores import WindowScores
from goldeye.curate.select import SelectSettings

THRESHOLDS = {"min_std": 30.0, "min_high_frequency": 6.0, "min_difference": 2.0}
KINDS = SelectSettings(patch_size=32, stride=8)
WORDS = {
    "Chosen": "chosen",
    "Passed": "passed",
    "Too flat": "texture",
    "Too soft": "high_frequency",
    "Too alike": "difference",
}


def scores_of(seed: int, rows: int = 4, columns: int = 9, factor: float = 1.0) -> WindowScores:
    rng = np.random.default_rng(seed)

    def plane(low: float, high: float) -> Any:
        return (factor * rng.uniform(low, high, (rows, columns))).astype(np.float32)

    std, detail, differences = plane(20, 80), plane(3, 20), {slot: plane(0, 4) for slot in ("01", "02")}
    std[-1, -1], detail[-1, -1], differences["01"][-1, -1] = 30 * factor, 6 * factor, 2 * factor  # just enough
    return WindowScores(np.arange(rows) * 8, np.arange(columns) * 8, std, detail, differences)


def photo_of(folder: Path, seed: int, name: str | None = None, **values: Any) -> PreviewPhoto:
    """A photo of noise, two passing windows of which are chosen."""
    scores = values.pop("scores", None) or scores_of(seed)
    rows, columns = scores.std.shape
    height, width = 24 + 8 * rows, 24 + 8 * columns
    path = folder / f"{seed}.png"
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(path)
    passing = (scores.std >= 30) & (scores.high_frequency >= 6) & (scores.strongest >= 2)
    chosen = [(int(row), int(column)) for row, column in np.argwhere(passing)[:2]]
    given = {"name": name or f"{seed}.png", "picture": path, "chosen": chosen, "duplicate_of": None} | values
    return PreviewPhoto(height=height, width=width, scores=scores, **given)


def page_of(path: Path, photos: Any, **values: Any) -> str:
    given: dict[str, Any] = {"thresholds": THRESHOLDS, "settings": KINDS, "summary": {}} | values
    write_preview(path, photos, **given)
    return path.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """The page's words, without its scripts, styles and tags."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def directly(photos: list[PreviewPhoto]) -> dict[str, int]:
    """Outcomes, window by window."""
    counts = dict.fromkeys(WORDS.values(), 0)
    for photo in photos:
        scores = photo.scores
        for window in np.ndindex(scores.std.shape):
            if window in photo.chosen:
                counts["chosen"] += 1
            elif scores.std[window] < 30:
                counts["texture"] += 1
            elif scores.high_frequency[window] < 6:
                counts["high_frequency"] += 1
            elif max(plane[window] for plane in scores.difference.values()) < 2:
                counts["difference"] += 1
            else:
                counts["passed"] += 1
    return counts


def test_counts_equal_a_direct_count(tmp_path: Path) -> None:
    photos = [photo_of(tmp_path, seed) for seed in range(3)]
    words = text_of(page_of(tmp_path / "p.html", photos))
    expected = directly(photos)
    assert min(expected.values()) > 0
    table, *articles = re.split(r"\d\.png", words)
    for name, outcome in WORDS.items():
        assert re.search(rf"{name} [^\d]*\b{expected[outcome]} \d", table), (name, expected)
    assert f"{expected['chosen']} of {3 * 36} windows of 32 × 32 pixels were chosen, from 3 of 3 photos." in words
    for photo, article in zip(photos, articles, strict=True):
        for name, outcome in WORDS.items():
            assert f"{name} {directly([photo])[outcome]} " in f"{article} "


def test_what_the_script_reads_are_the_scores(tmp_path: Path) -> None:
    photo = photo_of(tmp_path, 7)
    page = page_of(tmp_path / "p.html", [photo])
    data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', page)[0])
    assert (data["size"], data["ys"], data["xs"], data["more"]) == (32, [0, 8, 16, 24], list(range(0, 72, 8)), [])
    planes = [*data["scores"], *data["differences"].values()]
    scores = photo.scores
    expected = [scores.std, scores.high_frequency, *scores.difference.values()]
    for (step, packed), plane in zip(planes, expected, strict=True):
        values = np.frombuffer(base64.b64decode(packed), "<u2") * step
        assert np.all(values <= plane.ravel() + 1e-4)
        assert np.all(values > plane.ravel() - step)
    flags = [int(digit, 16) for digit in data["flags"]]
    for (row, column), flag in zip(np.ndindex(4, 9), flags, strict=True):
        fails = (scores.std < 30, scores.high_frequency < 6, scores.strongest < 2)
        bits = sum(bool(fail[row, column]) << n for n, fail in enumerate(fails))
        assert flag == bits + 8 * ((row, column) in photo.chosen)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 16256, width=32), min_size=1, max_size=60),
    st.one_of(st.floats(1e-5, 300), st.sampled_from([0.0, 1e-3, 1.0, 30.0, 2e4])),
    st.booleans(),
)
def test_histograms_hold_every_window_on_its_side_of_the_threshold(
    values: list[float], threshold: float, logarithmic: bool
) -> None:
    scores = np.array([*values, threshold], np.float32)
    chosen = np.arange(len(scores)) % 3 == 0
    histogram = Histogram(threshold, logarithmic)
    histogram.add(scores[:2, None], chosen[:2, None])
    histogram.add(scores[2:, None], chosen[2:, None])
    assert histogram.all.sum() == len(scores)
    assert histogram.chosen.sum() == chosen.sum()
    assert np.all(np.diff(histogram.edges) > 0)
    drawn = chart(histogram, 360, 200)
    assert drawn["below"] == int((scores < threshold).sum())
    assert drawn["below"] + drawn["reaching"] == drawn["total"] == len(scores)
    bars = drawn["bars"]
    counted = [re.search(r": ([\d,]+) windows .*, ([\d,]+) chosen$", bar["words"]) for bar in bars]
    sums = [sum(int(found[k].replace(",", "")) for found in counted if found) for k in (1, 2)]
    assert sums == [len(scores), chosen.sum()]
    line = drawn["threshold"]["x"]
    for bar in bars:
        assert (bar["x"] + bar["width"] <= line + 0.02) if bar["below"] else (bar["x"] >= line - 0.02)
        assert drawn["left"] <= bar["x"] < drawn["right"]
        assert math.isfinite(bar["y"])


def test_thresholds_are_in_the_page(tmp_path: Path) -> None:
    asked = SelectSettings(patch_size=32, stride=8, min_std="40%", min_difference=1.5, keep=3)
    thresholds = {"min_std": 41.25, "min_high_frequency": 6.0, "min_difference": 2.5}
    photos = [photo_of(tmp_path, seed) for seed in range(3)]
    page = page_of(tmp_path / "p.html", photos, settings=asked, thresholds=thresholds)
    words = text_of(page)
    assert "min_std 41.25 (40% asked)" in words
    assert "min_difference 2.5 (1.5 asked)" in words
    assert re.findall(r'class="limit-text".*>(.*)</text>', page) == ["41.25", "6", "2.5", "2.5", "2.5"]
    below = int(sum((photo.scores.std < 41.25).sum() for photo in photos))
    reaching = f"{100 - 100 * below / 108:.1f} % reach it ({below} and {108 - below})"
    assert re.search(rf"of the windows lie below 41.25, {re.escape(reaching)}", words)
    assert len(re.findall(r'class="limit"', page)) == 3 + 2  # and one for each version
    common = json.loads(re.findall(r'id="common">(.*?)</script>', page)[0])
    assert common["thresholds"] == [41.25, 6.0, 2.5]


def test_names_are_escaped(tmp_path: Path) -> None:
    hostile = "\"><script>alert(1)</script>'&.png"
    photos = [
        photo_of(tmp_path, 0, hostile),
        photo_of(tmp_path, 1, "twin.png", chosen=[], duplicate_of=hostile),
        photo_of(tmp_path, 2, "\udcff.png"),  # a file name that is no UTF-8
    ]
    page = page_of(tmp_path / "p.html", photos, summary={"enhancers": {"01": "</script><b>", "02": "b"}})
    assert "alert(1)</script>" not in page
    assert "</script><b>" not in page
    assert page.count("<script") == page.count("</script>") == 3 + 2
    assert f"left out as a near-duplicate of {hostile}." in text_of(page)


def test_photos_without_chosen_windows_say_why(tmp_path: Path) -> None:
    photos = [
        photo_of(tmp_path, 0, "first.png"),
        photo_of(tmp_path, 1, "twin.png", chosen=[], duplicate_of="first.png"),
        photo_of(tmp_path, 2, "dull.png", scores=scores_of(2, factor=0.2)),
        photo_of(tmp_path, 3, "enough.png", chosen=[]),
    ]
    words = text_of(page_of(tmp_path / "p.html", photos, summary={"too_small": ["tiny.png", "small.png"]}))
    best = photos[2].scores
    assert "1 photo left out as near-duplicates; 2 photos smaller than a window." in words
    assert "3 photos without a chosen window" in words
    assert "Nothing was chosen: left out as a near-duplicate of first.png." in words
    assert f"Nothing was chosen: no window passes (std reaches {best.std.max():.4g} of 30, high frequency" in words
    passing = directly([photos[3]])["passed"]
    assert f"Nothing was chosen: {passing} windows pass, none of them was drawn." in words
    # The twin is drawn, but counts nowhere else.
    assert f"2 of {3 * 36} windows of 32 × 32 pixels were chosen, from 1 of 4 photos." in words


@pytest.mark.parametrize("known", [True, False])
def test_many_photos_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    monkeypatch.setattr(preview, "SHOWN_PHOTOS", 5)
    monkeypatch.setattr(preview, "LISTED", 3)
    alive, read = 0, []
    thumbnail = preview._thumbnail
    monkeypatch.setattr(preview, "_thumbnail", lambda path: read.append(int(path.stem)) or thumbnail(path))

    class Counted(PreviewPhoto):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def photos() -> Iterator[PreviewPhoto]:
        nonlocal alive
        for seed in range(23):
            alive += 1
            assert alive <= 2  # the one before may still be held
            yield Counted(**vars(photo_of(tmp_path, seed, chosen=[])))

    page = page_of(tmp_path / "p.html", photos(), summary={"photos_total": 23} if known else {})
    words = text_of(page)
    assert read == ([0, 5, 10, 14, 19] if known else [0, 1, 2, 3, 4])
    assert page.count("<article") == 5
    spread = "spread over all of them" if known else "the first ones"
    assert f"5 of 23 photos are drawn, {spread}; the figures above count every photo." in words
    assert f"0 of {23 * 36} windows" in words
    assert "and 20 more" in words


def test_large_grids_are_thinned_but_chosen_windows_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "SHOWN_WINDOWS", 12)
    photo = photo_of(tmp_path, 0, chosen=[(2, 4), (1, 7)])
    page = page_of(tmp_path / "p.html", [photo])
    data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', page)[0])
    assert (data["ys"], data["xs"], data["more"]) == ([0, 16], [0, 16, 32, 48, 64], [[8, 56]])
    flags = [int(digit, 16) for digit in data["flags"]]
    assert [n for n, flag in enumerate(flags) if flag & 8] == [1 * 5 + 2, 10]
    assert len(flags) == 11
    step, packed = data["scores"][0]
    assert np.frombuffer(base64.b64decode(packed), "<u2")[-1] * step == pytest.approx(photo.scores.std[1, 7], abs=0.01)
    assert "every 2nd row and column of windows is drawn" in text_of(page)
    assert page.count("M56 8h32v32h-32z") == 2  # its frame, and the frame's dark edge


def test_an_unreadable_photo_does_not_end_it(tmp_path: Path) -> None:
    photos = [photo_of(tmp_path, seed) for seed in range(3)]
    photos[1].picture.write_bytes(b"no picture")
    (tmp_path / "2.png").unlink()
    page = page_of(tmp_path / "p.html", photos)
    words = text_of(page)
    assert page.count("<article") == 3
    assert page.count("data:image/jpeg") == 1
    assert f"'{tmp_path / '1.png'}'" in words
    assert f"'{tmp_path / '2.png'}'" in words


def test_photos_without_any_window(tmp_path: Path) -> None:
    corners, plane = np.arange(0), np.zeros((0, 0), np.float32)
    nothing = WindowScores(corners, corners, plane, plane, {"01": plane})
    words = text_of(page_of(tmp_path / "p.html", [photo_of(tmp_path, 0, scores=nothing)]))
    assert "Nothing was chosen: no window fits into it." in words
    assert "0 of 0 windows" in text_of(page_of(tmp_path / "p.html", []))


def test_the_page_is_self_contained_and_small(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    rows, columns = np.mgrid[:1200, :2400]
    Image.fromarray(np.stack([rows % 256, columns % 256, rows % 7], -1).astype(np.uint8)).save(large)
    page = page_of(tmp_path / "p.html", [photo_of(tmp_path, 0, picture=large)])
    assert not re.search(r"""(?:src|href)=["'](?!data:)|@import|url\((?!#)""", page)
    assert "default-src 'none'" in page
    encoded = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    (tmp_path / "thumbnail.jpg").write_bytes(base64.b64decode(encoded[0]))
    assert Image.open(tmp_path / "thumbnail.jpg").size == (900, 450)
