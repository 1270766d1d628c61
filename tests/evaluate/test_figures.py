"""Colour shift, artifact energy, sharpness and noise: values worked by hand, and what must raise or lower them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_pictures import blurred, flat, noisy, textured

from goldeye.errors import InvalidInput
from goldeye.evaluate.artifacts import artifact_energy
from goldeye.evaluate.colour import colour_shift, low_frequency_delta_e
from goldeye.evaluate.psnr_ssim import psnr
from goldeye.evaluate.single import noise, sharpness
from goldeye.images import matlab_resize, to_float, to_uint8


def test_delta_e_by_hand() -> None:
    assert low_frequency_delta_e(flat(0, 40, 40), flat(255, 40, 40)) == pytest.approx(100, abs=0.01)
    # L* of the middle grey 119 is 50.03: between it and black lies just that.
    assert low_frequency_delta_e(flat(0, 40, 40), flat(119, 40, 40)) == pytest.approx(50.03, abs=0.02)


def test_delta_e_sees_tint_but_not_detail() -> None:
    a = textured(0, 64, 64, blur=3)
    tinted = a.copy()
    tinted[..., 0] += 8
    checker = (np.indices(a.shape[:2]).sum(axis=0) % 2 * 16 - 8)[..., None]
    detailed = (a + checker).astype(np.uint8)
    assert low_frequency_delta_e(a, tinted) > 2
    assert low_frequency_delta_e(a, detailed) < 0.3
    assert psnr(a, detailed, crop_border=0) < psnr(a, tinted, crop_border=0)


def test_colour_shift_resizes_the_input() -> None:
    lr = textured(1, 40, 60, blur=3)
    sr = to_uint8(matlab_resize(to_float(lr), 160, 240))
    assert colour_shift(sr, lr) < 0.2
    assert colour_shift(lr, sr) < 0.2
    assert colour_shift(lr, lr) == 0
    assert colour_shift(flat(255, 80, 64), flat(0, 20, 16)) == pytest.approx(100, abs=0.01)
    shifts = []
    for step in (2, 6, 12):
        redder = sr.copy()
        redder[..., 0] += step
        shifts.append(colour_shift(redder, lr))
    assert shifts == sorted(shifts)
    assert shifts[0] > 0.3


def test_artifact_energy_by_hand() -> None:
    gt = flat(0, 9, 9)
    sr = flat(0, 9, 9)
    sr[4, 4, 0] = 255
    # R is 1 in the middle and 0 elsewhere. 49 of 81 windows hold that one pixel, none its reflection; the variance of
    # one 1 among 49 values is (1/49)(48/49) 49/48 = 1/49.
    assert artifact_energy(sr, gt, crop_border=0) == pytest.approx(1 / 81, rel=1e-6)
    assert artifact_energy(gt, gt, crop_border=0) == 0
    assert artifact_energy(flat(9, 9, 9), flat(5, 9, 9), crop_border=0) == pytest.approx(0, abs=1e-12)


def test_artifacts_raise_the_energy_more_than_blur() -> None:
    gt = textured(2, 96, 96, blur=1.5)
    soft, rough = blurred(gt, 1.0), noisy(gt, 25)
    assert artifact_energy(rough, gt, crop_border=4) > artifact_energy(soft, gt, crop_border=4) > 0
    energies = [artifact_energy(noisy(gt, amount), gt, crop_border=0) for amount in (4, 10, 25)]
    assert energies == sorted(energies)
    with pytest.raises(InvalidInput, match="artifact energy needs 7x7 pixels"):
        artifact_energy(gt[:14, :30], gt[:14, :30], crop_border=4)
    with pytest.raises(InvalidInput, match="differ in size"):
        artifact_energy(gt[:14], gt, crop_border=0)


def test_sharpness_by_hand() -> None:
    assert sharpness(flat(80), crop_border=0) == pytest.approx(0, abs=1e-9)
    one = flat(0, 5, 5)
    one[2, 2] = 255
    # Luma is 219 higher in the middle: of the nine responses one is -4 x 219, four are 219, four 0; their mean is 0.
    assert sharpness(one, crop_border=0) == pytest.approx(219 * math.sqrt(20 / 9))


def test_blur_lowers_sharpness_and_noise_raises_noise() -> None:
    picture = textured(3, 80, 90)
    falling = [sharpness(blurred(picture, sigma), crop_border=2) for sigma in (0.3, 1.0, 2.0)]
    assert falling == sorted(falling, reverse=True)
    rising = [noise(noisy(blurred(picture, 3), amount), crop_border=2) for amount in (0.5, 3, 10)]
    assert rising == sorted(rising)


@settings(max_examples=10, deadline=None)
@given(st.floats(2, 20), st.integers(0, 99))
def test_noise_is_the_deviation_of_white_noise(deviation: float, seed: int) -> None:
    ramp = np.broadcast_to(np.linspace(100, 150, 160)[None, :, None], (120, 160, 3))
    grey = np.random.default_rng(seed).normal(0, deviation, (120, 160, 1))
    picture = np.clip(ramp + grey, 0, 255).astype(np.float32) / 255
    assert noise(picture, crop_border=0) == pytest.approx(deviation * 219 / 255, rel=0.06)


def test_noise_of_a_plane_is_nothing_and_small_pictures_are_refused() -> None:
    ramp = (np.indices((30, 40)).sum(axis=0)[..., None] + np.zeros(3)).astype(np.uint8)
    assert noise(ramp, crop_border=0) == pytest.approx(0, abs=1e-4)
    for figure in (noise, sharpness):
        with pytest.raises(InvalidInput, match="needs 3x3 pixels; the cropped picture has 2x8"):
            figure(flat(0, 16, 10), crop_border=4)
