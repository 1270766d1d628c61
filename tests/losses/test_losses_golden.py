"""Losses against the numbers of the official implementations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from goldeye.losses.adversarial import discriminator_loss, generator_loss
from goldeye.losses.artifact_map import artifact_loss, artifact_map
from goldeye.losses.negative_map import indication_map, negative_loss, residual_variation_map
from goldeye.losses.perceptual import LAYERS, load_vgg19, perceptual_loss
from goldeye.losses.pixel import pixel_loss


def tensors(path):
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_gan_losses(golden):
    logits = tensors(golden / "losses" / "gan_logits.npz")
    expected = json.loads((golden / "losses" / "gan_losses.json").read_text())
    real, fake = logits["real"], logits["fake"]
    for kind in ("vanilla", "lsgan"):
        # The recorded generator value carries the official weight of 0.1.
        assert 0.1 * generator_loss(kind, fake).item() == pytest.approx(expected[kind]["g_fake_as_real"], rel=1e-5)
        d_real, d_fake = discriminator_loss(kind, real, fake)
        assert d_real.item() == pytest.approx(expected[kind]["d_real"], rel=1e-5)
        assert d_fake.item() == pytest.approx(expected[kind]["d_fake"], rel=1e-5)
    ragan = expected["esrgan_relativistic"]
    value = ragan["loss_weight"] * generator_loss("ragan", fake, real).item()
    assert value == pytest.approx(ragan["l_g_gan"], rel=1e-5)
    d_real, d_fake = discriminator_loss("ragan", real, fake)
    assert d_real.item() == pytest.approx(ragan["l_d_real"], rel=1e-5)
    assert d_fake.item() == pytest.approx(ragan["l_d_fake"], rel=1e-5)


def test_ldl_map_loss_and_gradient(golden):
    data = tensors(golden / "losses" / "ldl_artifact_map.npz")
    for window in (7, 11):
        mine = artifact_map(data["sr_rand"], data["gt_rand"], data["ema_rand"], window=window)
        torch.testing.assert_close(mine, data[f"map_rand_k{window}"], rtol=1e-5, atol=1e-7)
    mine = artifact_map(data["sr_rand"], data["gt_rand"], data["ema_rand"])
    value = artifact_loss(data["sr_rand"], data["gt_rand"], mine)
    torch.testing.assert_close(value, data["artifact_loss_rand"], rtol=1e-5, atol=0)
    for detached, name in ((False, "grad_sr"), (True, "grad_sr_if_map_detached")):
        sr = data["sr"].clone().requires_grad_(True)
        found = artifact_map(sr, data["gt"], data["ema"])
        torch.testing.assert_close(found, data["map_k7"], rtol=1e-5, atol=1e-7)
        loss = artifact_loss(sr, data["gt"], found.detach() if detached else found)
        torch.testing.assert_close(loss.detach(), data["artifact_loss"], rtol=1e-5, atol=0)
        loss.backward()
        torch.testing.assert_close(sr.grad, data[name], rtol=1e-4, atol=1e-10)


def test_hggt_maps(golden):
    data = tensors(golden / "losses" / "hggt_overall_map.npz")
    original, positive, negative = data["original"], data["positive"], data["negative"]
    for name, value in data.items():
        kind, _, votes = name.rpartition("_")
        if not votes.isdigit():
            continue
        positive_share, negative_share = (torch.tensor([int(digit) / 3]) for digit in votes)
        if kind == "pos_map":
            mine = residual_variation_map(positive, original) * positive_share
        elif kind == "neg_map":
            mine = residual_variation_map(negative, original) * negative_share
        else:
            mine = indication_map(
                negative,
                positive,
                original,
                negative_weight=negative_share,
                positive_weight=positive_share,
                has_positive=torch.tensor([True]),
            )
        torch.testing.assert_close(mine, value, atol=1e-6, rtol=2e-4)


def test_hggt_negative_loss_for_every_vote_count(golden):
    data = tensors(golden / "losses" / "hggt_overall_map.npz")
    table = json.loads((golden / "losses" / "hggt_negative_loss.json").read_text())
    assert len(table) >= 4
    for row in table:
        indication = indication_map(
            data["negative"],
            data["positive"],
            data["original"],
            negative_weight=torch.tensor([row["negative_num"] / 3]),
            positive_weight=torch.tensor([row.get("positive_num", 3) / 3]),
            has_positive=torch.tensor(["positive_num" in row]),  # the last row is a group without positive
        )
        value = 300 * negative_loss(data["sr"], data["negative"], indication, torch.tensor([True]))
        assert value.item() == pytest.approx(row["l1_300"], rel=2e-4)
        if "loss_term_batch12" not in row:
            continue
        # Twelve samples of which one has a negative: the official mean counts all twelve.
        batch = [torch.cat([tensor] * 12) for tensor in (data["sr"], data["negative"], indication)]
        only_first = torch.arange(12) == 0
        assert -300 * negative_loss(*batch, only_first).item() == pytest.approx(row["loss_term_batch12"], rel=2e-4)


def test_official_training_batch(golden):
    """Three groups: positive and negative; positive only; negative only (the original replaces the positive)."""
    data = tensors(golden / "losses" / "hggt_train_batch.npz")
    expected = json.loads((golden / "losses" / "hggt_train_batch.json").read_text())
    pictures, sr, codes, votes = data["img_list"], data["output"], data["label_list"], data["label_num_list"]
    original = pictures[:, 0]

    def chosen(code):
        found = [(row == code).nonzero().flatten().tolist() for row in codes]
        index = [places[0] if places else 0 for places in found]
        rows = torch.arange(len(index))
        return pictures[rows, index], votes[rows, index] / 3, torch.tensor([bool(places) for places in found])

    positive, positive_share, has_positive = chosen(1)
    negative, negative_share, has_negative = chosen(3)
    assert (has_positive.tolist(), has_negative.tolist()) == ([True, True, False], [True, False, True])
    assert pixel_loss(sr, positive).item() == pytest.approx(expected["l_b_pix_total"], rel=2e-4)
    indication = indication_map(
        negative,
        positive,
        original,
        negative_weight=negative_share,
        positive_weight=positive_share,
        has_positive=has_positive,
    )
    value = -300 * negative_loss(sr, negative, indication, has_negative)
    assert value.item() == pytest.approx(expected["l_b_neg_total"], rel=2e-4)


def test_perceptual_loss_and_features(golden):
    data = tensors(golden / "losses" / "perceptual_input.npz")
    expected = json.loads((golden / "losses" / "perceptual.json").read_text())
    assert LAYERS["five"] == expected["values"]["l1"]["layer_weights"]
    vgg = load_vgg19("five", "random")
    value = perceptual_loss(vgg, data["sr"], data["gt"])
    assert value.item() == pytest.approx(expected["values"]["l1"]["percep"], rel=2e-4)
    torch.testing.assert_close(vgg(data["sr"])["conv5_4"], data["feat_conv5_4"], atol=1e-3, rtol=2e-4)
