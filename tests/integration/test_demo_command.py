"""`goldeye demo` as users run it: in its own process, interrupted and killed, continued, its report in a browser."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from goldeye.train.checkpoint import latest_step

pytestmark = pytest.mark.slow

DEMO = [sys.executable, "-c", "from goldeye.cli import main; main()", "demo"]


def wait_for(condition, process: subprocess.Popen, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the demo ended early"
        assert time.monotonic() < deadline, "the demo is too slow"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A whole demo that was killed in its sixth stage, interrupted in its eighth, and then left alone."""
    output = tmp_path_factory.mktemp("demo") / "out"
    runs = output / "runs"

    process = subprocess.Popen([*DEMO, "-o", str(output)])
    wait_for(lambda: (output / "dataset" / "annotations.sqlite").exists(), process, 300)
    time.sleep(5)  # in the middle of the answers
    process.kill()
    process.wait()
    assert not (output / "stages" / "labels.json").exists()

    process = subprocess.Popen([*DEMO, "-o", str(output)])
    wait_for(lambda: latest_step(runs / "original") >= 50, process, 300)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert not (output / "stages" / "train.json").exists()

    subprocess.run([*DEMO, "-o", str(output), "--json"], check=True, timeout=900)
    return output


def test_what_the_demo_promises(finished):
    records = {path.stem: json.loads(path.read_text())["result"] for path in (finished / "stages").iterdir()}
    assert all(row["gain_db"] >= 0.5 and row["colour_shift"] < 1 for row in records["enhancers"].values())
    assert len(records["enhancers"]) == 4
    assert records["labels"]["groups_with_positive"] >= 8
    assert records["labels"]["groups_with_negative"] >= 3
    stats = json.loads((finished / "labels.json").read_text())
    assert stats["labelled_groups"] == stats["groups"]
    assert (
        stats["annotations"]["total"]["Positive"]
        + stats["annotations"]["total"]["Similar"]
        + stats["annotations"]["total"]["Negative"]
        == 3 * 5 * stats["groups"]
    )


@pytest.mark.browser
def test_the_report_in_a_browser(finished, chromium):
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto((finished / "report.html").as_uri())
        broken = page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)")
        assert broken == []
        assert page.evaluate("document.images.length") > 40
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        browser.close()
