"""Networks in half precision: which one is chosen, what stays in float32, and that the caller's network stays whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from goldeye.errors import InvalidInput
from goldeye.networks import build_network
from goldeye.upscale import memory, precision
from goldeye.upscale.memory import free_memory, tile_bytes
from goldeye.upscale.precision import choose_precision, prepare_network

SMALL: dict[str, dict[str, Any]] = {
    "rrdb": {"num_feat": 16, "num_block": 1, "num_grow_ch": 8},
    "rrdb-x2": {"num_feat": 16, "num_block": 1, "num_grow_ch": 8},
    "rrdb-ps": {"num_feat": 16, "num_block": 1, "num_grow_ch": 8},
    "compact": {"num_feat": 16, "num_conv": 3},
    "srresnet": {"num_feat": 16, "num_block": 2},
    "rcan": {"num_feat": 16, "num_group": 1, "num_block": 2, "squeeze_factor": 4},
    "swinir-m": {"embed_dim": 24, "depths": (2,), "num_heads": (2,)},
}


def network(architecture: str) -> nn.Module:
    torch.manual_seed(1)
    return build_network(architecture, **SMALL[architecture]).eval()


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        ({"amx_bf16": True}, "bf16"),
        ({"avx512_bf16": True}, "bf16"),
        ({"bf16": True}, "bf16"),
        ({"avx512_f": True, "avx512_bf16": False}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_auto_on_a_cpu(monkeypatch: pytest.MonkeyPatch, abilities: Mapping[str, bool], expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert choose_precision("auto", torch.device("cpu")) == expected


@pytest.mark.parametrize(
    ("native", "capability", "expected"), [(True, (9, 0), "bf16"), (False, (7, 5), "fp16"), (False, (6, 1), "fp32")]
)
def test_auto_on_cuda(
    monkeypatch: pytest.MonkeyPatch, native: bool, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", torch.device("cuda")) == expected


def test_names() -> None:
    assert choose_precision("auto", torch.device("mps")) == "fp32"
    assert choose_precision("fp32", "cpu") == "fp32"
    assert choose_precision("bf16", "cpu") == "bf16"
    assert choose_precision("fp16", "cuda") == "fp16"
    with pytest.raises(InvalidInput, match="fp16 is not for a CPU"):
        choose_precision("fp16", "cpu")
    with pytest.raises(InvalidInput, match=r"precision 'bfloat'.*'bf16'"):
        choose_precision("bfloat", "cpu")


@pytest.mark.parametrize("architecture", SMALL)
def test_half_precision_is_close_and_leaves_the_network_alone(architecture: str) -> None:
    module, x = network(architecture), torch.rand(2, 3, 16, 24)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    names = [name for name, _ in module.named_modules()]
    exact, half = prepare_network(module, "fp32", "cpu"), prepare_network(module, "bf16", "cpu")
    with torch.inference_mode():
        expected, found, again = module(x), half(x), exact(x)
    assert found.dtype == torch.float32
    assert torch.equal(again, expected)
    assert 0 < (found - expected).abs().max() <= 0.02 * expected.abs().max()
    state = module.state_dict()
    assert all(torch.equal(state[key], value) and state[key].dtype == value.dtype for key, value in before.items())
    assert names == [name for name, _ in module.named_modules()]
    module(x).sum().backward()  # and it can be trained on
    assert all(p.grad is not None for p in module.parameters())


def test_what_stays_in_float32() -> None:
    half = prepare_network(network("rcan"), "bf16", "cpu")
    types = {name: p.dtype for name, p in half.named_parameters()}
    exact = {name for name, dtype in types.items() if dtype == torch.float32}
    assert exact == {f"network.{layer}.layer.{p}" for layer in ("conv_first", "conv_last") for p in ("weight", "bias")}
    assert dict(half.named_buffers())["network.mean"].dtype == torch.float32


def test_values_of_the_picture_are_not_rounded() -> None:
    """A network whose last layer gives 1/1000 steps: bfloat16 has steps of 1/256 near 1."""

    class Steps(nn.Module):
        full_precision = ("first", "last")

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)
            nn.init.zeros_(self.last.weight)
            self.last.bias.data = torch.tensor([0.901, 0.902, 0.903])

        def forward(self, x: Tensor) -> Tensor:
            assert self.first(x).dtype == torch.bfloat16
            out: Tensor = self.last(self.first(x))
            return out

    with torch.inference_mode():
        out = prepare_network(Steps(), "bf16", "cpu")(torch.rand(1, 3, 2, 2))
    assert torch.equal(out[0, :, 0, 0], torch.tensor([0.901, 0.902, 0.903]))


def test_other_networks_run_under_autocast() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    x = torch.rand(1, 3, 9, 7)
    with torch.inference_mode():
        expected, found = module(x), prepare_network(module, "bf16", "cpu")(x)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.02
    assert all(p.dtype == torch.float32 for p in module.parameters())


def test_compiling_without_a_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder

    def none() -> str:
        raise RuntimeError

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(InvalidInput, match=r"needs a C\+\+ compiler"):
        prepare_network(network("compact"), "fp32", "cpu", compile=True)


def test_compiled_is_asked_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: calls.append(self))
    monkeypatch.setattr(precision, "_check_compiler", lambda device: None)
    prepared = prepare_network(network("compact"), "fp32", "cpu", compile=True)
    assert calls == [prepared]


class Layers(nn.Module):
    """Makes tensors of known size: `wide` times the input's bytes live at most, and 3 at the end."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.wide = wide

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(5):
            torch.cat([x] * self.wide)  # freed each time
        return x + 1


def test_tile_bytes_counts_what_lives_at_once() -> None:
    result_and_copy = 2 * 3 * 4
    assert tile_bytes(Layers(7), scale=1, device="cpu") == 7 * 12 + result_and_copy
    assert tile_bytes(Layers(20), scale=1, device="cpu") == 20 * 12 + result_and_copy
    wide, narrow = build_network("compact", num_feat=64, num_conv=2), build_network("compact", num_feat=16, num_conv=2)
    assert tile_bytes(wide, scale=4, device="cpu") > tile_bytes(narrow, scale=4, device="cpu")


def test_tile_bytes_does_not_import_torch_s_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from goldeye.upscale.memory import tile_bytes\n"
        "assert tile_bytes(torch.nn.Conv2d(3, 3, 1), scale=1, device='cpu') > 0\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_free_memory_is_plausible() -> None:
    assert 2**20 < free_memory("cpu") < 2**45


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_s_limit_counts(tmp_path: Path, version: int) -> None:
    membership, group = tmp_path / "cgroup", tmp_path / "memory" / "a" / "b"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    membership.write_text("5:cpu:/x\n4:memory,hugetlb:/a/b\n")
    if version == 2:
        group, names = tmp_path / "a" / "b", ("memory.max", "memory.current", "inactive_file")
        membership.write_text("0::/a/b\n")
    group.mkdir(parents=True)
    for folder, limit in ((group, "max" if version == 2 else str(2**62)), (group.parent, "1000")):
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text("700\n")
        (folder / "memory.stat").write_text(f"anon 1\n{names[2]} 50\n")
    assert min(memory._cgroup_rests(membership, tmp_path)) == 350
    assert memory._cgroup_rests(tmp_path / "none", tmp_path) == []


def test_available_is_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    3 kB\n")
    assert memory._available(tmp_path / "meminfo") == 3072
