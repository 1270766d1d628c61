"""Scripted annotators: programs that label through the web application's HTTP interface, from pixels alone.

They are stand-ins so that the loop can be shown without people, and are called scripted wherever their votes appear.
"""

from __future__ import annotations

import hashlib
import io
import ssl
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import cv2
import httpx
import numpy as np
from PIL import Image

from goldeye.dataset.labels import Label
from goldeye.errors import GoldeyeError
from goldeye.evaluate.psnr_ssim import rms_error_y
from goldeye.images import Picture

POSITIVE_BELOW, NEGATIVE_ABOVE = 0.95, 1.08
DISAGREEMENT = 0.06  # standard deviation of each annotator's own view of the ratio, in log units
SLIP = 0.04  # how often an annotator gives a neighbouring label

RULE = (
    "A scripted annotator receives the original and the candidates as pictures, finds the place of the original in "
    "the hidden clean photos by template matching, and compares root-mean-square errors in luma against that clean "
    f"patch: error(candidate) / error(original) below {POSITIVE_BELOW} is Positive, above {NEGATIVE_ABOVE} Negative, "
    f"between them Similar. Each annotator sees the ratio with its own error (log-normal, {DISAGREEMENT:.0%}) and "
    f"slips to a neighbouring label {SLIP:.0%} of the time; both are seeded by the annotator and the pixels, so the "
    "order in which candidates are shown does not matter."
)


@dataclass(frozen=True)
class ScriptedAnnotator:
    """Judges by a rule (`RULE`) against clean photos that no model has seen."""

    name: str
    clean: dict[str, Picture]
    seed: int = 0

    def labels(self, original: Picture, candidates: list[Picture]) -> list[Label]:
        """One label a candidate, in their order; pictures: (H, W, 3) uint8."""
        clean = find_patch(original, self.clean)
        base = max(rms_error_y(original, clean), 1e-6)
        return [self._label(rms_error_y(candidate, clean) / base, candidate) for candidate in candidates]

    def _label(self, ratio: float, candidate: Picture) -> Label:
        digest = hashlib.sha256(f"{self.seed}/{self.name}/".encode() + candidate.tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        seen = ratio * float(np.exp(rng.normal(0, DISAGREEMENT)))
        scale = [Label.POSITIVE, Label.SIMILAR, Label.NEGATIVE]
        place = 0 if seen < POSITIVE_BELOW else 2 if seen > NEGATIVE_ABOVE else 1
        if rng.random() < SLIP:
            place = min(max(place + (1 if rng.random() < 0.5 else -1), 0), 2)
        return scale[place]


def find_patch(patch: Picture, photos: dict[str, Picture]) -> Picture:
    """The window of the photos that looks most like `patch` (least mean squared difference)."""
    best: tuple[float, Picture] | None = None
    for photo in photos.values():
        if photo.shape[0] < patch.shape[0] or photo.shape[1] < patch.shape[1]:
            continue
        # One channel is enough to find the place, and a third of the work.
        difference = cv2.matchTemplate(photo[..., 1], patch[..., 1], cv2.TM_SQDIFF)
        least, _, (x, y), _ = cv2.minMaxLoc(difference)
        if best is None or least < best[0]:
            best = (least, photo[y : y + patch.shape[0], x : x + patch.shape[1]])
    if best is None:
        raise GoldeyeError("No clean photo is as large as the patch.")
    return best[1]


def annotate_over_http(link: str, annotator: ScriptedAnnotator, labelled: Callable[[], None]) -> int:
    """Sign in with a personal link and label every group that the server hands out; returns how many.

    `labelled` is called after each group; what it raises ends the work.
    """
    parts = urlsplit(link)
    groups = 0
    # An empty TLS context: the server is on this machine, and loading certificates would take longer than the work.
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    base_url = f"{parts.scheme}://{parts.netloc}"
    with httpx.Client(base_url=base_url, headers={"X-Goldeye": "1"}, timeout=60, verify=tls) as client:
        _post(client, "/api/session", {"token": parts.fragment.removeprefix("token=")})
        while not (work := _post(client, "/api/next", {}))["finished"]:
            original, *candidates = [_picture(client, path) for path in (work["original"], *work["candidates"])]
            started = time.perf_counter()
            labels = annotator.labels(original, candidates)
            spent = round(1000 * (time.perf_counter() - started) / len(labels))
            for position, label in enumerate(labels):
                if work["answers"][position] == label:
                    continue  # given before an interruption
                answer = {"client_id": str(uuid.uuid4()), "assignment": work["assignment"], "position": position}
                _post(client, "/api/vote", answer | {"label": str(label), "active_ms": spent})
            groups += 1
            labelled()
    return groups


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = _patiently(lambda: client.post(path, json=body))
    if response.is_error:
        raise GoldeyeError(f"The annotation server refused {path}: {response.text}")
    document: dict[str, Any] = response.json()
    return document


def _picture(client: httpx.Client, path: str) -> Picture:
    response = _patiently(lambda: client.get(path)).raise_for_status()
    return np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB"))


def _patiently(send: Callable[[], httpx.Response]) -> httpx.Response:
    """Scripts are faster than people, and the server asks who is too fast to wait."""
    while (response := send()).status_code == 429:
        time.sleep(0.5)
    return response
