"""RRDBNet's fast form for inference on a CPU gives the plain form's values, and its receptive radius holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from goldeye.networks import build_network, fused
from goldeye.networks.rrdbnet import ResidualDenseBlock

SMALL: dict[str, Any] = {"num_feat": 8, "num_block": 1, "num_grow_ch": 4}


def network(architecture: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    module = build_network(architecture, **{**SMALL, **settings}).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.2, 0.2)
    return module


def plain(module: nn.Module, x: Tensor) -> Tensor:
    """With gradients the plain form runs."""
    out: Tensor = module(x)
    assert out.requires_grad
    return out.detach()


@pytest.mark.parametrize("architecture", ["rrdb", "rrdb-x2", "rrdb-x1", "rrdb-ps"])
@pytest.mark.parametrize("shape", [(1, 3, 20, 36), (3, 3, 8, 4), (1, 3, 4, 4)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_fast_form_gives_the_same(architecture: str, shape: tuple[int, ...], layout: torch.memory_format) -> None:
    module = network(architecture).to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.rand(shape).contiguous(memory_format=layout)
    expected = plain(module, x)
    with torch.inference_mode():
        found = module(x)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * max(1.0, float(expected.abs().max()))


@pytest.mark.skipif(not fused._available(), reason="this processor or torch has no fused convolutions")
def test_fast_form_runs_in_inference_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = fused._dense_block
    monkeypatch.setattr(fused, "_dense_block", lambda *a: calls.append(a) or real(*a))
    block, x = ResidualDenseBlock(8, 4), torch.rand(2, 8, 6, 7)
    block(x)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        block(x)
    assert not calls
    with torch.no_grad():
        block(x)
    assert len(calls) == 2  # one a sample


def test_fast_form_leaves_its_input_alone() -> None:
    block, x = network("rrdb").body[0].rdb1, torch.rand(1, 8, 6, 7)  # type: ignore[index]
    before = x.clone()
    with torch.inference_mode():
        block(x)
    assert torch.equal(x, before)


def test_channels_that_do_not_divide_take_the_plain_form() -> None:
    module, x = network("rrdb", num_feat=10), torch.rand(1, 3, 9, 8)
    expected = plain(module, x)
    with torch.inference_mode():
        assert (module(x) - expected).abs().max() <= 1e-4 * max(1.0, float(expected.abs().max()))


def test_bfloat16_stays_close() -> None:
    module, x = network("rrdb").requires_grad_(False), torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        expected = module(x)
        found = module.bfloat16()(x.bfloat16()).float()
    assert (found - expected).abs().max() <= 0.03 * expected.abs().max()


def influence(module: nn.Module, side: int, scale: int) -> int:
    """How many input pixels away an input pixel changes some output pixel, found with gradients."""
    farthest = 0
    middle = side // 2 // 4 * 4
    for offset in range(4):  # within a block of pixels that an unshuffle puts together
        for row in range(scale):
            x = torch.zeros(1, 3, side, side, dtype=torch.float64, requires_grad=True)
            y = middle + offset
            (gradient,) = torch.autograd.grad(module(x)[0, :, y * scale + row, :].sum(), x)
            rows = gradient.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
            farthest = max(farthest, y - int(rows[0]), int(rows[-1]) - y)
    return farthest


@pytest.mark.parametrize(
    ("architecture", "scale"), [("rrdb", 4), ("rrdb-x2", 2), ("rrdb-x1", 1), ("rrdb-ps", 4), ("rrdb-ps", 3)]
)
def test_receptive_radius(architecture: str, scale: int) -> None:
    module = network(architecture, num_feat=4, num_grow_ch=2, scale=scale).double()
    found = influence(module, {"rrdb-x2": 96, "rrdb-x1": 192}.get(architecture, 52), scale)
    # Never less; a bound, where pixels are put together before the first convolution.
    assert found <= module.receptive_radius < found + module.size_multiple


def test_radius_of_the_full_size() -> None:
    with torch.device("meta"):
        assert build_network("rrdb").receptive_radius == 349


def test_a_traced_graph_has_the_plain_form() -> None:
    module = network("rrdb")
    x = torch.rand(1, 3, 8, 12)
    with torch.no_grad():
        traced = torch.jit.trace(module, torch.rand(1, 3, 16, 16), check_trace=False)
        assert (traced(x) - module(x)).abs().max() < 1e-5


def test_an_empty_batch_goes_through() -> None:
    with torch.no_grad():
        assert network("rrdb")(torch.rand(0, 3, 8, 8)).shape == (0, 3, 32, 32)


def test_operators_that_have_changed_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = network("rrdb"), torch.rand(1, 3, 8, 8)
    expected = plain(module, x)

    def other(*_: Any) -> Tensor:
        raise TypeError("expected at most 3 arguments")

    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", other)
    fused._available.cache_clear()
    try:
        with torch.no_grad():
            assert not fused.possible(x, module.get_parameter("conv_first.weight"))
            assert torch.equal(module(x), expected)
    finally:
        monkeypatch.undo()
        fused._available.cache_clear()
