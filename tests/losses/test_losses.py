"""Losses on numbers worked by hand, and where their gradients go."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.errors import InvalidInput
from goldeye.losses import perceptual
from goldeye.losses.adversarial import discriminator_loss, generator_loss
from goldeye.losses.artifact_map import artifact_loss, artifact_map
from goldeye.losses.negative_map import indication_map, negative_loss, residual_variation_map
from goldeye.losses.perceptual import load_vgg19, perceptual_loss
from goldeye.losses.pixel import pixel_loss

ONE = torch.ones(1)
YES = torch.tensor([True])


def test_pixel_by_hand():
    sr = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]]])
    assert pixel_loss(sr, torch.full_like(sr, 0.5)).item() == pytest.approx((0.5 + 0 + 0.5 + 0.25) / 4)


def test_adversarial_by_hand():
    fake, real = torch.tensor([0.0]), torch.tensor([2.0])
    softplus = lambda x: math.log1p(math.exp(x))  # noqa: E731 (BCE with logits: softplus(-x) for 1, softplus(x) for 0)
    assert generator_loss("vanilla", fake).item() == pytest.approx(softplus(0))
    assert [v.item() for v in discriminator_loss("vanilla", real, fake)] == pytest.approx([softplus(-2), softplus(0)])
    assert generator_loss("lsgan", fake).item() == 1
    assert [v.item() for v in discriminator_loss("lsgan", real, fake)] == [1, 0]
    # Relative to the other side's mean, real is +2 and fake is -2.
    assert generator_loss("ragan", fake, real).item() == pytest.approx(0.5 * (softplus(2) + softplus(2)))
    halves = [v.item() for v in discriminator_loss("ragan", real, fake)]
    assert halves == pytest.approx([0.5 * softplus(-2), 0.5 * softplus(-2)])


def test_variation_map_by_hand():
    """A residual of 1 (summed over channels) at one pixel: every 3x3 window that holds it has variance 1/9."""
    original = torch.zeros(1, 3, 7, 7)
    candidate = original.clone()
    candidate[0, 0, 3, 3], candidate[0, 1, 3, 3] = 0.75, 0.25
    found = residual_variation_map(candidate, original)
    variance = (1 - 9 * (1 / 9) ** 2) / 8  # unbiased
    expected = torch.zeros(1, 1, 7, 7)
    expected[0, 0, 2:5, 2:5] = variance**0.75
    torch.testing.assert_close(found, expected)


def test_artifact_map_by_hand():
    """A residual of 1 (summed over channels) at one pixel of 15 x 15."""
    gt = torch.zeros(1, 3, 15, 15)
    sr = gt.clone()
    sr[0, 0, 7, 7], sr[0, 2, 7, 7] = 0.75, 0.25
    local = (1 - 49 * (1 / 49) ** 2) / 48  # unbiased, in every 7 x 7 window that holds the pixel
    expected = torch.zeros(1, 1, 15, 15)
    expected[0, 0, 4:11, 4:11] = local
    torch.testing.assert_close(artifact_map(sr, gt, stage="local"), expected)
    patch = (1 - 225 * (1 / 225) ** 2) / 224
    torch.testing.assert_close(artifact_map(sr, gt, stage="scaled"), patch**0.2 * expected)
    # Refined: kept where the averaged weights are at least as near, 0 where they are further off.
    averaged = sr.clone()
    torch.testing.assert_close(artifact_map(sr, gt, averaged), patch**0.2 * expected)
    averaged[0, 1, 7, 7] = 0.5
    refined = artifact_map(sr, gt, averaged)
    assert refined[0, 0, 7, 7] == 0
    assert refined.count_nonzero() == 48
    # The mean over 3 * 225 values of map * difference: the differences are 0.75 and 0.25.
    value = artifact_loss(sr, gt, artifact_map(sr, gt, stage="local"))
    assert value.item() == pytest.approx(local * (0.75 + 0.25) / 675)


def test_the_signed_residual_sees_what_cancels():
    """+0.5 in one channel and -0.5 in another: the sum of absolute values varies, the signed sum does not."""
    gt = torch.full((1, 3, 9, 9), 0.5)
    sr = gt.clone()
    sr[0, 0, 4, 4], sr[0, 1, 4, 4] = 1.0, 0.0
    assert artifact_map(sr, gt, stage="local").max() > 0
    assert artifact_map(sr, gt, stage="local", signed=True).abs().max() == 0


@pytest.mark.parametrize("stage", ["local", "scaled", "refined"])
def test_artifact_gradients_are_finite_where_nothing_differs(stage):
    gt = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    sr = gt.clone().requires_grad_(True)
    artifact_loss(sr, gt, artifact_map(sr, gt, gt, stage=stage)).backward()
    assert torch.isfinite(sr.grad).all()


def test_indication_map_keeps_only_what_negative_exceeds():
    original = torch.zeros(1, 3, 9, 9)
    negative, positive = original.clone(), original.clone()
    negative[0, 0, 2, 2] = 0.5
    negative[0, 0, 6, 6] = 0.5
    positive[0, 0, 6, 6] = 0.5  # the same variation: not the negative's fault (Eq. 3 has <=)
    arguments = {"negative_weight": ONE, "positive_weight": ONE}
    found = indication_map(negative, positive, original, has_positive=YES, **arguments)
    assert (found[0, 0, 1:4, 1:4] > 0).all()
    assert found.count_nonzero() == 9
    whole = indication_map(negative, positive, original, has_positive=~YES, **arguments)
    assert whole.count_nonzero() == 18  # without a positive the map is not refined
    # With one of three votes the negative's map shrinks below the positive's.
    weak = indication_map(negative, positive, original, has_positive=YES, negative_weight=ONE / 3, positive_weight=ONE)
    torch.testing.assert_close(weak, found / 3)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31 - 1), st.lists(st.booleans(), min_size=1, max_size=4))
def test_negative_loss_is_the_mean_over_samples_one_by_one(seed, has):
    random = torch.Generator().manual_seed(seed)
    size = (len(has), 3, 8, 9)
    sr, negative, positive, original = (torch.rand(size, generator=random) for _ in range(4))
    weights = torch.rand(2, len(has), generator=random)
    has_positive = torch.rand(len(has), generator=random) < 0.5

    def value(part):
        indication = indication_map(
            negative[part],
            positive[part],
            original[part],
            negative_weight=weights[0, part],
            positive_weight=weights[1, part],
            has_positive=has_positive[part],
        )
        return negative_loss(sr[part], negative[part], indication, torch.tensor(has)[part])

    one_by_one = torch.stack([value(slice(i, i + 1)) for i in range(len(has))])
    torch.testing.assert_close(value(slice(None)), one_by_one.mean())
    assert (one_by_one[~torch.tensor(has)] == 0).all()


def test_descending_the_total_moves_away_from_the_negative():
    negative = torch.full((1, 3, 6, 6), 0.6)
    sr = torch.full((1, 3, 6, 6), 0.5, requires_grad=True)
    (-300 * negative_loss(sr, negative, torch.ones(1, 1, 6, 6), YES)).backward()
    assert (sr.grad > 0).all()  # a step against the gradient makes sr smaller, away from 0.6


def test_perceptual_is_zero_for_equals_and_its_gradient_reaches_sr_only():
    vgg = load_vgg19("conv5_4", "random")
    sr = torch.rand(1, 3, 32, 32, requires_grad=True)
    gt = torch.rand(1, 3, 32, 32, requires_grad=True)
    assert perceptual_loss(vgg, sr, sr.detach()).item() == 0
    perceptual_loss(vgg, sr, gt).backward()
    assert sr.grad.abs().sum() > 0
    assert gt.grad is None
    assert all(parameter.grad is None for parameter in vgg.parameters())


def test_imagenet_weights_that_cannot_be_had_say_which_file_goes_where(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(
        "torch.hub.download_url_to_file", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("no network"))
    )
    with pytest.raises(InvalidInput, match=perceptual.IMAGENET_FILE) as caught:
        load_vgg19("five", "imagenet")
    assert str(tmp_path) in caught.value.message
    assert "losses.perceptual.weights=random" in caught.value.hint


def test_imagenet_weights_are_taken_from_torchvisions_file(monkeypatch, tmp_path, capsys):
    """A stand-in file with torchvision's keys; its values must end up in the network, and its words not on stdout."""
    state = {name: value + 0.5 for name, value in perceptual.random_vgg19_state().items()}

    def fetched(**kwargs):
        sys.stdout.write("Downloading\n")  # as torch.hub does
        return state

    monkeypatch.setattr("torchvision.models.VGG19_Weights.IMAGENET1K_V1.get_state_dict", fetched, raising=False)
    vgg = load_vgg19("five", "imagenet")
    assert capsys.readouterr() == ("", "Downloading\n")
    torch.testing.assert_close(vgg.convs["conv3_4"].weight, state["features.16.weight"])
