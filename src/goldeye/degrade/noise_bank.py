"""The noise bank of EDL (RWSR-EDL, section "Noise Sampling", Algorithm 1): real noise, cut from flat parts of photos.

    BANK/patches/target/…png, BANK/patches/auxiliary/…png   the crops, 8-bit RGB
    BANK/noise.jsonl      a line a crop: file, set, source, y, x, mean, variance
    BANK/sources.jsonl    a line a picture: set, source, sha256, height, width, windows, patches
    BANK/bank.yaml        rule, CATI, settings, counts, hashes of the two tables; written last: without it, unfinished

`.scan.jsonl` beside them holds the statistics of every window seen so far, from which a stopped run continues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from goldeye.config import Strict, parse_yaml, validate
from goldeye.degrade.steps import Parameters, Sample
from goldeye.errors import InvalidInput
from goldeye.files import read_rows, sha256
from goldeye.images import FloatPicture, read_image, to_float

RECORD, TABLE, SOURCES, SCAN, PATCHES = "bank.yaml", "noise.jsonl", "sources.jsonl", ".scan.jsonl", "patches"

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


# Statistics and the rules ----------------------------------------------------------------------------------------


def grey_levels(picture: Bytes) -> Bytes:
    """Full-range BT.601 grey, (H, W, 3) to (H, W), in the fixed point of Pillow's "L", which the EDL code uses."""
    red, green, blue = (picture[..., channel].astype(np.uint32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16).astype(np.uint8)


def window_statistics(picture: Bytes, patch: int, stride: int) -> tuple[Floats, Floats]:
    """Mean and (population) variance of the grey levels 0..255 in every whole window, two arrays (rows, columns).

    Window (i, j) has its upper left corner at (i * stride, j * stride). A picture smaller than a window has none.
    """
    height, width = picture.shape[:2]
    rows, columns = (np.arange(0, side - patch + 1, stride) for side in (height, width))
    sums, squares = (np.zeros((len(rows), len(columns)), np.int64) for _ in range(2))
    for row, y in enumerate(rows):
        band = grey_levels(picture[y : y + patch]).astype(np.int64)
        for table, values in ((sums, band), (squares, band * band)):
            running = np.concatenate(([0], values.sum(axis=0).cumsum()))
            table[row] = running[columns + patch] - running[columns]
    count = patch * patch
    return sums / count, (count * squares - sums * sums) / count**2


class Cati(Strict):
    """EDL's characteristic interval: what the flattest windows of the target set span, ends included."""

    variance: tuple[float, float]
    mean: tuple[float, float]

    @classmethod
    def of(cls, mean: Floats, variance: Floats, share: float) -> Cati:
        """The interval of the `share` of windows with the lowest variance; 1-D arrays, at least one mean above 0.

        Of N windows those are ceil(share * N), and all that equal the last of them. Black windows (mean 0) hold no
        noise and take no part: the paper asks for "smaller σ and positive m".
        """
        mean, variance = mean[mean > 0], variance[mean > 0]
        count = math.ceil(round(share * len(variance), 6))
        lowest = variance <= np.partition(variance, count - 1)[count - 1]
        return cls(
            variance=(float(variance[lowest].min()), float(variance[lowest].max())),
            mean=(float(mean[lowest].min()), float(mean[lowest].max())),
        )

    def accepts(self, mean: Floats, variance: Floats) -> Bools:
        (low, high), (dark, bright) = self.variance, self.mean
        return np.asarray((variance >= low) & (variance <= high) & (mean >= dark) & (mean <= bright))


class Threshold(Strict):
    """The rule of Impressionism and of EDL's code: variance below and mean above a fixed number."""

    max_variance: float
    min_mean: float

    def accepts(self, mean: Floats, variance: Floats) -> Bools:
        return np.asarray((variance < self.max_variance) & (mean > self.min_mean))


# The folder ------------------------------------------------------------------------------------------------------


class SetCounts(Strict):
    """What one set of pictures gave."""

    pictures: int = 0
    too_small: int = 0  # pictures without a whole window
    giving: int = 0  # pictures with at least one accepted window
    windows: int = 0
    patches: int = 0


class BankRecord(Strict):
    """bank.yaml. `hashes` holds the SHA-256 of the tables, of which sources.jsonl has that of every picture."""

    format: Literal[1] = 1
    rule: Literal["cati", "impressionism"]
    settings: dict[str, float]
    patch: int
    stride: int
    cati: Cati | None
    source: str
    auxiliary: str | None
    counts: dict[Literal["target", "auxiliary"], SetCounts]
    hashes: dict[str, str]

    @property
    def text(self) -> str:
        """One line for people: patches and windows of each set, and the CATI."""
        told = []
        for name, n in self.counts.items():
            small = f" ({n.too_small} too small)" if n.too_small else ""
            told.append(f"{n.patches} of {n.windows} {name} windows, from {n.giving} of {n.pictures} pictures{small}")
        if self.cati is not None:
            (low, high), (dark, bright) = self.cati.variance, self.cati.mean
            told.append(f"variance {low:.2f} to {high:.2f}, mean {dark:.1f} to {bright:.1f}")
        return "; ".join(told)


# Drawing from a bank ---------------------------------------------------------------------------------------------


class NoisePatch(NamedTuple):
    """A line of noise.jsonl."""

    file: str
    set: str
    source: str
    y: int
    x: int
    mean: float
    variance: float


@dataclass(frozen=True)
class NoiseBank:
    """A finished bank. Number n is line n of its table, counted from 0; patches are read from disk when drawn."""

    path: Path
    record: BankRecord
    patches: tuple[NoisePatch, ...]

    @classmethod
    def open(cls, path: Path) -> NoiseBank:
        """InvalidInput in one sentence if `path` is no finished bank, was changed, or holds no patch."""
        record_file = path / RECORD
        if not record_file.is_file():
            if (path / SCAN).is_file():
                raise InvalidInput(f"The noise bank '{path}' is not finished.", hint="Run `goldeye noise-bank` again.")
            raise InvalidInput(
                f"'{path}' is no noise bank: it has no {RECORD}.", hint="`goldeye noise-bank` makes one."
            )
        text = record_file.read_text(encoding="utf-8", errors="replace")
        record = validate(BankRecord, parse_yaml(text, str(record_file)), f"noise bank '{path}'")
        for name, digest in record.hashes.items():
            if not (path / name).is_file() or sha256(path / name) != digest:
                raise InvalidInput(f"The noise bank '{path}' is damaged: {name} is not the one it was made with.")
        patches = tuple(NoisePatch(**row) for row in read_rows(path / TABLE))
        if not patches:
            raise InvalidInput(f"The noise bank '{path}' is empty: no window was accepted.")
        return cls(path, record, patches)

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def sources(self) -> list[dict[str, Any]]:
        """The lines of sources.jsonl."""
        return read_rows(self.path / SOURCES)

    def draw_parameters(self, rng: np.random.Generator) -> Parameters:
        """{"patch": number, "y", "x"}: which patch, and where between its first (0) and last (1) place the crop lies.

        They do not depend on the size of the crop, so a pipeline can draw them before it knows that size.
        """
        patch = int(rng.integers(len(self.patches)))
        return {"patch": patch, "y": float(rng.random()), "x": float(rng.random())}

    def noise(self, drawn: Parameters, height: int, width: int) -> FloatPicture:
        """n_i of Eq. 11: the drawn crop (height, width, 3) in units of [0, 1], less its own mean in each channel.

        The same parameters and size give the same noise. InvalidInput if the crop is larger than the patches.
        """
        side = self.record.patch
        if max(height, width) > side:
            raise InvalidInput(
                f"The noise patches of '{self.path}' have {side} pixels a side, too few for {width} x {height}.",
                hint="Make a bank with a larger --patch.",
            )
        y, x = int(drawn["y"] * (side - height + 1)), int(drawn["x"] * (side - width + 1))
        patch = read_image(self.path / self.patches[drawn["patch"]].file)
        crop = to_float(patch[y : y + height, x : x + width])
        noise: FloatPicture = crop - crop.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
        return noise

    def draw(self, rng: np.random.Generator, height: int, width: int) -> FloatPicture:
        """The noise of a random patch at a random place, (height, width, 3), each channel with mean 0."""
        return self.noise(self.draw_parameters(rng), height, width)


def add_noise(picture: FloatPicture, noise: FloatPicture) -> FloatPicture:
    """Eq. 11, I'_LR = I_LR + n_i, clamped to [0, 1] as in the code; both (H, W, 3)."""
    if picture.shape != noise.shape:
        raise ValueError(f"noise of {noise.shape} does not fit a picture of {picture.shape}")
    noisy: FloatPicture = np.clip(picture + noise, np.float32(0), np.float32(1))
    return noisy


@lru_cache(maxsize=8)
def _open_once(path: str) -> NoiseBank:
    return NoiseBank.open(Path(path))


class BankNoise(Strict):
    """A pipeline step: noise from the bank at the path `bank`, added at the size that the picture then has.

    What it draws names the bank's table by its hash, so that a replay from another bank is refused.
    """

    step: Literal["bank_noise"] = "bank_noise"
    bank: str

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        bank = _open_once(self.bank)
        named = {"step": "bank_noise", "bank": self.bank, "table": bank.record.hashes[TABLE][:16]}
        return [named | bank.draw_parameters(rng)]


def _bank_noise(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    bank = _open_once(drawn["bank"])
    if bank.record.hashes[TABLE][:16] != drawn["table"]:
        raise InvalidInput(f"The noise bank '{bank.path}' is not the one that these parameters were drawn from.")
    return add_noise(picture, bank.noise(drawn, *picture.shape[:2]))


APPLY = {"bank_noise": _bank_noise}
