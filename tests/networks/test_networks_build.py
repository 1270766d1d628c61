"""Building networks by name: sizes, settings, errors, and what generators say of themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from goldeye.errors import InvalidInput
from goldeye.networks import ARCHITECTURES, NETWORKS, build_network, resolve_config
from goldeye.networks.blocks import pad_to_multiple, pixelshuffle_upsampler, reach
from goldeye.networks.edl import EDL
from goldeye.networks.infer import infer_architecture, new_names
from goldeye.networks.swinir import DropPath
from goldeye.networks.windows import edge_masks, find_windows, window_kinds, windows_of
from goldeye.upscale.precision import prepare_network

TINY: dict[str, dict[str, Any]] = {
    "rrdbnet": {"num_feat": 4, "num_block": 1, "num_grow_ch": 2},
    "rrdbnet-ps": {"num_feat": 4, "num_block": 1, "num_grow_ch": 2},
    "swinir": {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4, "num_feat": 4, "img_size": 8},
    "rcan": {"num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2},
    "elan": {"m_elan": 2, "c_elan": 15},
    "srresnet": {"num_feat": 4, "num_block": 2},
    "compact": {"num_feat": 4, "num_conv": 3},
    "edl": {"num_feat": 4, "num_block": 1, "num_grow_ch": 2},
    "unet-sn": {"num_feat": 2},
    "vgg-128": {"num_feat": 2},
    "patch-gan": {"num_feat": 2},
    "locnet": {"sr_size": 3, "gt_size": 5},
}
# Of each whole network, besides EDL's from the papers' code or tables (REFERENCE: frozen parts counted too).
PARAMETERS = {
    "rrdb": 16_697_987,
    "rrdb-x2": 16_703_171,
    "rrdb-x1": 16_723_907,
    "rrdb-ps": 16_919_555,
    "swinir-m": 11_715_559,
    "swinir-l": 28_013_059,
    "swinir-classical": 11_900_199,
    "rcan": 15_592_355,
    "rcan-x1": 15_296_931,
    "elan": 8_487_432,
    "elan-x1": 8_414_463,
    "srresnet": 1_517_571,
    "compact": 1_213_296,
    "edl": 16_729_694,
    "edl-code": 17_286_473,
    "locnet": 1_224_996,
    "unet-sn": 4_376_897,
    "vgg-128": 14_499_401,
    "patch-gan": 2_765_633,
}
DISCRIMINATORS = ("unet-sn", "vgg-128", "patch-gan")
GENERATORS = [name for name in ARCHITECTURES if name not in (*DISCRIMINATORS, "locnet")]


def tiny(architecture: str, **overrides: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_network(architecture, **(TINY[ARCHITECTURES[architecture].network] | overrides)).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_papers_settings_have_the_papers_number_of_parameters(architecture: str) -> None:
    with torch.device("meta"):
        network = build_network(architecture)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[architecture]


@pytest.mark.parametrize("architecture", GENERATORS)
def test_output_has_the_stated_scale(architecture: str) -> None:
    scale = ARCHITECTURES[architecture].scale
    with torch.no_grad():
        out = tiny(architecture)(torch.rand(2, 3, 16, 24))
    assert out.shape == (2, 3, 16 * scale, 24 * scale)


def test_discriminators_and_locnet_have_their_shapes() -> None:
    with torch.no_grad():
        assert tiny("unet-sn")(torch.rand(2, 3, 16, 24)).shape == (2, 1, 16, 24)
        assert tiny("vgg-128")(torch.rand(2, 3, 128, 128)).shape == (2, 1)
        assert tiny("patch-gan")(torch.rand(2, 3, 33, 40)).shape == (2, 1, 2, 3)
        assert tiny("patch-gan", num_layers=2)(torch.rand(2, 3, 32, 40)).shape == (2, 1, 6, 8)
        identity = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
        assert torch.equal(tiny("locnet")(torch.rand(5, 102)), identity.expand(5, 2, 3))
        with pytest.raises(InvalidInput, match="vgg-128 takes crops of 128x128, not 96x128"):
            tiny("vgg-128")(torch.rand(1, 3, 128, 96))


@pytest.mark.parametrize(
    ("architecture", "overrides"),
    [
        *((name, {"scale": scale}) for name in ("rcan", "rrdb-ps", "elan", "srresnet", "compact") for scale in (2, 3)),
        *(("edl", {"scale": scale}) for scale in (1, 2)),
        ("compact", {"scale": 1, "act_type": "relu"}),
        ("compact", {"scale": 2, "act_type": "leakyrelu"}),
        ("swinir-m", {"scale": 2}),
        ("swinir-l", {"depths": (1, 3), "num_heads": (1, 4)}),
        ("swinir-m", {"upsampler": "", "scale": 1, "window_size": 5, "img_size": 15}),
        *(("swinir-classical", {"scale": scale}) for scale in (2, 3, 8)),
        *(("swinir-classical", {"scale": scale, "upsampler": "pixelshuffledirect"}) for scale in (2, 3, 4)),
    ],
)
def test_other_settings(architecture: str, overrides: dict[str, Any]) -> None:
    """Right size, and read off the keys again."""
    network, scale = tiny(architecture, **overrides), overrides.get("scale", 4)
    with torch.no_grad():
        assert network(torch.rand(1, 3, 16, 20)).shape == (1, 3, 16 * scale, 20 * scale)
    inferred = infer_architecture(network.state_dict())
    assert inferred is not None
    config = TINY[ARCHITECTURES[architecture].network] | overrides
    if config.get("act_type") == "relu":  # has no weights, nor has leakyrelu
        inferred[1]["act_type"] = "relu"
    if config.get("upsampler") in ("", "pixelshuffledirect"):  # have no layer of that width
        inferred[1]["num_feat"] = config["num_feat"]
    assert resolve_config(*inferred) == resolve_config(architecture, config)


@given(height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_networks_take_any_size(height: int, width: int) -> None:
    image = torch.rand(1, 3, height, width)
    with torch.no_grad():
        for architecture in GENERATORS:
            network = tiny(architecture)
            if architecture.startswith("elan") or network.size_multiple == 1:
                scale = ARCHITECTURES[architecture].scale
                assert network(image).shape == (1, 3, height * scale, width * scale)


@given(height=st.integers(1, 40), width=st.integers(1, 40), multiple=st.sampled_from([1, 2, 4, 16]))
@settings(max_examples=40, deadline=None)
def test_padding_keeps_the_picture_and_fits(height: int, width: int, multiple: int) -> None:
    image = torch.rand(1, 1, height, width)
    padded = pad_to_multiple(image, multiple)
    assert padded.shape[2] % multiple == padded.shape[3] % multiple == 0
    assert padded.shape[2] - height < multiple
    assert padded.shape[3] - width < multiple
    assert torch.equal(padded[..., :height, :width], image)
    if padded.shape[2] < 2 * height and padded.shape[3] < 2 * width:
        amounts = (0, padded.shape[3] - width, 0, padded.shape[2] - height)
        assert torch.equal(padded, nn.functional.pad(image, amounts, mode="reflect"))


def test_padding_of_a_picture_too_small_for_one_reflection() -> None:
    row = pad_to_multiple(torch.tensor([[[[1.0, 2, 3]]]]), 8)[0, 0]
    assert row.tolist() == [[1, 2, 3, 2, 1, 1, 1, 1]] * 8


def test_enhancers_start_from_a_picture_of_the_same_brightness() -> None:
    """Inside, colours are centred and in 0..255; outside they are in [0, 1]."""
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        for architecture in ("rcan-x1", "elan-x1", "elan"):
            assert tiny(architecture)(image).abs().max() < 5


def test_resolve_config_gives_every_setting() -> None:
    config = resolve_config("elan-x1", {"c_elan": 30})
    assert config["scale"] == 1
    assert config["c_elan"] == 30
    assert config["window_sizes"] == [4, 8, 16]
    assert config["m_elan"] == 36
    assert {a.network for a in ARCHITECTURES.values()} == set(NETWORKS) == set(TINY)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInput, match=r"Unknown architecture 'rrdb-pss'. Did you mean 'rrdb-ps'\?"):
        build_network("rrdb-pss")
    with pytest.raises(InvalidInput, match=r"Unknown setting of rcan 'num_feats'. Did you mean 'num_feat'\?"):
        build_network("rcan", num_feats=16)
    with pytest.raises(InvalidInput, match=r"Unknown upsampler of SwinIR 'nearest'. Did you mean 'nearest\+conv'\?"):
        build_network("swinir-m", upsampler="nearest")


@pytest.mark.parametrize(
    ("architecture", "settings_"),
    [
        ("rrdb", {"scale": 3}),
        ("rrdb", {"num_feat": "many"}),
        ("rrdb-ps", {"scale": 5}),
        ("rrdb-ps", {"scale": 0}),
        ("rcan", {"num_feat": 8}),
        ("rcan", {"squeeze_factor": 0}),
        ("elan", {"c_elan": 20}),
        ("swinir-m", {"scale": 3}),
        ("swinir-m", {"upsampler": ""}),
        ("swinir-m", {"resi_connection": "2conv"}),
        ("swinir-m", {"pad": "reflect"}),
        ("swinir-m", {"img_size": 8}),
        ("swinir-m", {"img_size": 60}),
        ("swinir-m", {"window_size": 0}),
        ("swinir-m", {"drop_path_rate": 1}),
        ("swinir-m", {"embed_dim": 64}),
        ("swinir-m", {"depths": (6, 6)}),
        ("srresnet", {"scale": 8}),
        ("srresnet", {"num_out_ch": 1}),
        ("compact", {"scale": 0}),
        ("compact", {"num_in_ch": 1}),
        ("compact", {"act_type": "gelu"}),
        ("edl", {"scale": 3}),
        ("edl", {"structure": "both"}),
        ("patch-gan", {"num_feat": -1}),
        ("locnet", {"sr_size": "seven"}),
    ],
)
def test_settings_that_make_no_network(architecture: str, settings_: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        build_network(architecture, **settings_)


def test_upsampler_of_scale_one_is_nothing() -> None:
    assert len(pixelshuffle_upsampler(1, 8)) == 0
    assert len(pixelshuffle_upsampler(8, 4)) == 6


def test_dense_blocks_start_near_the_identity() -> None:
    block = tiny("rrdb").get_submodule("body.0.rdb1")
    features = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        assert (block(features) - features).abs().max() < 0.1


def test_unshuffling_networks_say_what_size_they_need() -> None:
    needs = {name: getattr(tiny(name), "size_multiple", 1) for name in ("rrdb", "rrdb-x2", "rrdb-x1", "rrdb-ps")}
    assert needs == {"rrdb": 1, "rrdb-x2": 2, "rrdb-x1": 4, "rrdb-ps": 1}


@pytest.mark.parametrize("architecture", GENERATORS)
def test_generators_say_what_tiles_and_half_precision_need(architecture: str) -> None:
    network = tiny(architecture)
    assert network.size_multiple >= 1
    assert (network.receptive_radius is None) == (architecture.split("-")[0] in ("swinir", "rcan", "elan"))
    layers = [network.get_submodule(name) for name in network.full_precision]
    assert len(layers) >= 2
    assert all(any(True for _ in layer.parameters()) for layer in layers)


def test_papers_networks_reach_as_far_as_the_reference_says() -> None:
    with torch.device("meta"):
        assert build_network("compact").receptive_radius == 34
        assert build_network("compact", num_conv=16).receptive_radius == 18
        assert build_network("srresnet").receptive_radius == 35
    assert reach([(1, 347), (2, 1), (2, 3)], 4) == 349  # RRDBNet's trunk, and what its upsampler adds


@pytest.mark.parametrize(
    ("architecture", "overrides"),
    [
        ("compact", {}),
        *(("srresnet", {"scale": scale}) for scale in (2, 3, 4)),
        ("edl", {}),
        ("edl", {"scale": 2}),
        ("edl", {"scale": 1}),
        ("edl-code", {}),
    ],
)
def test_nothing_beyond_the_receptive_radius_matters(architecture: str, overrides: dict[str, Any]) -> None:
    """Gradients of one output pixel after another: exactly 0 further away, and for some not 0 at that distance."""
    network = tiny(architecture, **overrides).double()
    for parameter in network.parameters():  # no weight near 0, or far pixels would vanish in rounding
        nn.init.uniform_(parameter, 0.1, 1.0)
    radius, scale, multiple = network.receptive_radius, overrides.get("scale", 4), network.size_multiple
    side = (2 * radius + 9) // 4 * 4
    reached = 0
    for offset in range(multiple):  # of the input pixel in what pixel-unshuffling joins
        for row in range(scale):  # of the output pixel in its input pixel
            image = torch.rand(1, 3, side, 4 * multiple, dtype=torch.double, requires_grad=True)
            centre = side // 2 // 4 * 4 + offset
            network(image)[0, :, centre * scale + row].sum().backward()
            assert image.grad is not None
            seen = torch.nonzero(image.grad.abs().amax((0, 1, 3)))
            reached = max(reached, centre - int(seen.min()), int(seen.max()) - centre)
    assert radius - (multiple - 1) <= reached <= radius  # a bound where pixels are unshuffled


@pytest.mark.parametrize("pad", ["official", "hggt"])
def test_swinir_gives_a_picture_the_same_alone_and_in_a_batch(pad: str) -> None:
    network, images = tiny("swinir-m", pad=pad), torch.rand(3, 3, 13, 18)
    with torch.no_grad():
        together = network(images)
        for i in range(3):
            assert (network(images[i : i + 1]) - together[i]).abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (2, 2), (4, 3)])
def test_shifted_windows_and_their_masks(shape: tuple[int, int]) -> None:
    """Each order is a permutation, they lead into each other, and masked are the pixels from the other side."""
    rows, columns = shape
    size, batch = 4, 2
    pixels = batch * rows * columns * size * size
    windows = find_windows(batch, rows, columns, size, torch.device("cpu"))
    start = torch.arange(pixels)
    shifted = start[windows.picture_to_plain][windows.plain_to_shifted]
    assert torch.equal(shifted[windows.shifted_to_plain], windows.picture_to_plain)
    assert torch.equal(shifted[windows.shifted_to_picture], start)
    assert torch.equal(windows.picture_to_plain[windows.plain_to_picture], start)
    assert windows.free == batch * (rows - 1) * (columns - 1)
    kinds = torch.cat((torch.zeros(windows.free, dtype=torch.long), windows.kinds))
    width = columns * size
    place = shifted.view(-1, size * size) % (rows * size * width)
    row, column = place // width, place % width
    # Pixels of one piece of the picture lie less than a window apart.
    apart = ((row[:, :, None] - row[:, None]).abs() >= size) | ((column[:, :, None] - column[:, None]).abs() >= size)
    if rows > 1 and columns > 1:
        assert torch.equal(edge_masks(size)[kinds], apart * -100.0)
    assert sorted(kinds.tolist()) == sorted(window_kinds(rows, columns).repeat(batch).tolist())


def test_swinir_trains_after_inference_of_the_same_size() -> None:
    """The orders kept from inference mode must not be tensors that gradients refuse."""
    network, image = tiny("swinir-m"), torch.rand(1, 3, 20, 28)
    with torch.inference_mode():
        network(image)
    assert not windows_of(1, 5, 7, 4, torch.device("cpu")).picture_to_plain.is_inference()
    network(image).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_stochastic_depth_leaves_out_a_sample_s_branch_or_makes_up_for_it() -> None:
    rows = torch.arange(12.0).view(6, 2) + 1
    samples = torch.tensor([0, 1, 2, 2, 1, 0])  # as in shifted windows: not in the samples' order
    torch.manual_seed(0)
    seen = set()
    for _ in range(20):
        factors = DropPath(0.2)(rows, samples, 3) / rows
        for sample in range(3):
            one = factors[samples == sample]
            assert torch.all(one == one[0, 0])
            seen.add(round(one[0, 0].item(), 4))
    assert seen == {0.0, 1.25}  # 1 / (1 - 0.2)
    assert torch.equal(DropPath(0.0)(rows, samples, 3), rows)
    assert torch.equal(DropPath(0.2)(rows, None, 3), rows)  # inference


def test_swinir_drops_more_the_deeper_and_only_in_training() -> None:
    network = tiny("swinir-m", depths=(2, 3), drop_path_rate=0.4)
    rates = [module.rate for module in network.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])  # official: linspace(0, rate, blocks)
    image = torch.rand(1, 3, 8, 12).repeat(2, 1, 1, 1)
    with torch.no_grad():
        assert torch.equal(network.eval()(image)[0], network(image)[1])
        network.train()
        drawn = [network(image) for _ in range(8)]
        assert len({tuple(picture.flatten()[:4].tolist()) for pair in drawn for picture in pair}) > 8  # a draw each
        still = tiny("swinir-m", depths=(2, 3), drop_path_rate=0.0)
        still.load_state_dict(network.state_dict())
        torch.testing.assert_close(still.train()(image), network.eval()(image))


@pytest.mark.parametrize("architecture", ["swinir-l", "rcan-x1", "elan", "srresnet", "compact", "edl", "edl-code"])
def test_networks_compile_into_one_graph(architecture: str) -> None:
    torch._dynamo.reset()
    network, image = tiny(architecture), torch.rand(1, 3, 12, 20)
    with torch.no_grad():
        compiled = torch.compile(network, fullgraph=True, backend="eager", dynamic=True)
        assert (compiled(image) - network(image)).abs().max() < 1e-5


HALF = [
    *((name, {}) for name in GENERATORS),
    ("swinir-m", {"upsampler": "pixelshuffledirect", "scale": 2}),
    ("swinir-m", {"upsampler": "", "scale": 1}),
    ("elan", {"n_share": 1}),
    ("edl", {"scale": 1}),
]


@pytest.mark.parametrize(("architecture", "overrides"), HALF)
def test_networks_run_in_half_precision(architecture: str, overrides: dict[str, Any]) -> None:
    """All layers; and all but the `full_precision` ones, which comes closer to float32."""
    network, image = tiny(architecture, **overrides), torch.rand(1, 3, 16, 20)
    with torch.inference_mode():
        expected = network(image)
        mixed = prepare_network(network, "bf16", "cpu")(image)
        half = network.bfloat16()(image.bfloat16())
    assert half.dtype == torch.bfloat16
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, expected)
    spread = expected.std()
    assert (half - expected).abs().mean() < 0.1 * spread
    assert (mixed - expected).abs().mean() < 0.05 * spread


def test_edl_fuses_two_pictures_by_a_mask() -> None:
    network, image = tiny("edl"), torch.rand(1, 3, 8, 8)
    assert isinstance(network, EDL)
    with torch.no_grad():
        fused, out1, out2 = network.branches(image)
        assert torch.equal(network(image), fused)
        assert torch.equal(fused, out1 + out2)
        network.branch2.load_state_dict(network.branch1.state_dict())
        fused, out1, _ = network.branches(image)
        share = out1 / fused  # with both branches alike, the mask: a share for each colour, 1 in all
    assert (share.sum(1) - 1).abs().max() < 1e-4
    assert share.min() > 0


@pytest.mark.parametrize("spelling", ["old", "oldest"])
def test_old_names_of_rrdbnet_become_ours(spelling: str) -> None:
    network = tiny("rrdb", num_block=2)
    layers = {
        "old": ("conv_first", "RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", "upconv1", "upconv2", "HRconv", "conv_last"),
        "oldest": ("model.0", "model.1.sub.{}.RDB{}.conv{}.0", "model.1.sub.2", *(f"model.{i}" for i in (3, 6, 8, 10))),
    }[spelling]
    first, dense, *rest = layers
    names = [first, *(dense.format(b, r, c) for b in range(2) for r in (1, 2, 3) for c in range(1, 6)), *rest]
    keys = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    state = dict(zip(keys, network.state_dict().values(), strict=True))
    assert list(new_names(state)) == list(network.state_dict())


def test_names_of_other_networks_stay() -> None:
    for architecture in ARCHITECTURES:
        state = tiny(architecture).state_dict()
        assert list(new_names(state)) == list(state)
        inferred = infer_architecture(state)
        if architecture == "locnet":  # of other patches than the paper's
            assert inferred is None
        else:
            assert inferred is not None
            assert inferred[0] == architecture


def test_compact_starts_with_a_signal_that_lives_and_near_the_enlarged_input() -> None:
    """What differs from place to place: torch's own initialisation leaves less than a millionth of it at the end."""
    torch.manual_seed(0)
    network = build_network("compact").eval()
    x = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        first, last = network.body[:2](x), network.body[:-1](x)
        change = network(x) - nn.functional.interpolate(x, scale_factor=4)
    left = last.std((0, 2, 3)).mean() / first.std((0, 2, 3)).mean()
    assert 0.2 < left < 5
    assert 0.001 < change.std() < 0.2
