"""Seconds for a picture on this CPU: ours beside the plain call (plain_upscale.py), ONNX Runtime and OpenVINO.

All have the same random weights and run in this one session, each in a process of its own, since settings of the
allocator last for a process: the plain call has none, as its users run it. In a round each computes the picture once;
the order is turned round every time, a ratio is that of one round, and medians and ranges are over the rounds.

    python benchmarks/upscale.py [--cases rrdb:256 compact:512] [--pairs 5] [--quick] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CASES = ("rrdb:256", "rrdb:512", "compact:256", "compact:512", "swinir-m:128")
QUICK = ("rrdb:64", "compact:128", "swinir-m:64")
OURS = {"ours fp32": "fp32", "ours bf16": "bf16", "ours fp32 --compile": "fp32", "ours bf16 --compile": "bf16"}
PACKAGES = {"ONNX Runtime": "onnxruntime", "OpenVINO fp32": "openvino", "OpenVINO bf16": "openvino"}
PEERS = tuple(PACKAGES)
TARGETS = {
    ("rrdb", "ours fp32"): 2.0,
    ("rrdb", "ours bf16"): 3.7,
    ("compact", "ours fp32"): 2.1,
    ("compact", "ours bf16"): 4.0,
    ("swinir-m", "ours fp32"): 1.0,
    ("swinir-m", "ours fp32 --compile"): 1.3,
    ("swinir-m", "ours bf16"): 2.2,
}
TILES = [(0, 0), *((tile, pad) for tile in (256, 128, 64) for pad in (10, 16, 34))]

Run = Callable[[Any], Any]  # float32 (1, 3, H, W) → the result


# In the processes ---------------------------------------------------------------------------------------------------


def serve(way: str, architecture: str, folder: Path) -> None:
    """Answer requests, a line of JSON each: {"side", "tile", "pad"} → seconds, peak memory and where the result is."""
    if way.startswith("ours"):
        from goldeye.runtime import prepare_process

        prepare_process()
    import numpy as np
    import torch

    torch.set_grad_enabled(False)
    sides: dict[int, Any] = {}
    run = make(way, architecture, folder)
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("ceiling"):
            answer: dict[str, Any] = ceiling()
        else:
            side, tile, pad = request["side"], request.get("tile", 0), request.get("pad", 0)
            if side not in sides:
                sides[side] = torch.from_numpy(np.load(folder / f"picture-{side}.npy"))
            begin = time.perf_counter()
            result = run(sides[side]) if not tile else tiled(way, architecture, folder, run)(sides[side], tile, pad)
            answer = {"seconds": time.perf_counter() - begin, "memory": peak_memory()}
            if request.get("save"):
                np.save(folder / f"{way}.npy", np.asarray(result))
        print(json.dumps(answer), flush=True)  # noqa: T201


def make(way: str, architecture: str, folder: Path) -> Run:
    """The way to compute a picture."""
    import torch

    path = folder / f"{architecture}.onnx"
    if way.startswith("ours"):
        from goldeye.upscale.precision import choose_precision, prepare_network

        module = our_network(architecture, folder)
        return prepare_network(module, choose_precision(OURS[way], "cpu"), "cpu", compile=way.endswith("compile"))
    if way == "ONNX Runtime":
        import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"image": x.numpy()})[0]
    if way.startswith("OpenVINO"):
        import openvino  # type: ignore[import-untyped, import-not-found, unused-ignore]

        core = openvino.Core()
        hints = {"INFERENCE_PRECISION_HINT": "bf16" if way.endswith("bf16") else "f32", "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(core.read_model(path), "CPU", hints)
        return lambda x: compiled(x.numpy())[0]
    import plain_upscale

    network = plain_upscale.PLAIN[architecture]().eval()
    network.load_state_dict(torch.load(folder / f"{architecture}.pth", weights_only=True), strict=False)
    if way == "export":
        export(network, path)
    return network


def our_network(architecture: str, folder: Path) -> Any:
    import torch

    from goldeye.networks import build_network

    module = build_network(architecture).eval()
    module.load_state_dict(torch.load(folder / f"{architecture}.pth", weights_only=True))
    return module


def export(network: Any, path: Path) -> None:
    """ONNX of the plain network, of any size where it can be."""
    import torch

    side = int(path.with_suffix(".side").read_text())
    torch.onnx.export(
        network, (torch.rand(1, 3, side, side),), path, input_names=["image"], output_names=["result"], dynamo=True
    )


def tiled(way: str, architecture: str, folder: Path, run: Run) -> Callable[[Any, int, int], Any]:
    """The picture in tiles: Real-ESRGAN's loop, or ours."""
    if way == "plain":
        import plain_upscale

        return lambda x, tile, pad: plain_upscale.tiles(run, x, tile, pad)
    from goldeye.upscale.engine import Upscaler

    def ours(x: Any, tile: int, pad: int) -> None:
        picture = x[0].permute(1, 2, 0).numpy()

        def read(area: Any) -> Any:
            return picture[area.top : area.bottom, area.left : area.right]

        upscaler = _UPSCALERS.get((tile, pad)) or Upscaler(
            our_network(architecture, folder), scale=4, tile=tile, tile_pad=pad, precision=OURS[way]
        )
        _UPSCALERS[tile, pad] = upscaler
        for _ in upscaler.pieces(read, *picture.shape[:2]):
            pass

    return ours


_UPSCALERS: dict[tuple[int, int], Any] = {}


def ceiling() -> dict[str, float]:
    """GFLOP/s of the fastest 3x3 convolution among RRDBNet's and wider ones, channels last; best of 7 calls each."""
    import torch

    best: dict[str, float] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        for inputs, outputs in ((64, 64), (160, 32), (192, 64), (192, 192)):
            layout = torch.channels_last
            x = torch.randn(1, inputs, 256, 256).to(dtype).to(memory_format=layout)
            conv = torch.nn.Conv2d(inputs, outputs, 3, padding=1).to(dtype).to(memory_format=layout)
            conv(x)
            for _ in range(7):
                begin = time.perf_counter()
                conv(x)
                rate = 2 * 9 * 256**2 * inputs * outputs / (time.perf_counter() - begin) / 1e9
                best[name] = max(best.get(name, 0.0), rate)
    return best


def peak_memory() -> int:
    """Most bytes that this process has held; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


# In this process ----------------------------------------------------------------------------------------------------


class Worker:
    """A process that computes pictures in one way."""

    def __init__(self, way: str, architecture: str, folder: Path) -> None:
        self.way = way
        command = [sys.executable, __file__, "--serve", way, architecture, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Its answer to a request."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line.startswith("{"):  # compilers print too
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit(f"The process of '{self.way}' ended with status {self.process.wait()}.")

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def prepare(architecture: str, side: int, folder: Path, *, peers: bool) -> None:
    """Weights, a picture and, for the peers, an ONNX file."""
    import numpy as np
    import torch

    from goldeye.networks import build_network

    torch.manual_seed(0)
    torch.save(build_network(architecture).state_dict(), folder / f"{architecture}.pth")
    np.save(folder / f"picture-{side}.npy", np.random.default_rng(0).random((1, 3, side, side), np.float32))
    if peers:
        (folder / f"{architecture}.side").write_text(str(side))
        Worker("export", architecture, folder).close()


def ways(compiled: bool) -> list[str]:
    """What can be measured here: the plain call, the peers that are installed, ours."""
    peers = [way for way in PEERS if importlib.util.find_spec(PACKAGES[way])]
    return ["plain", *peers, *(way for way in OURS if compiled or not way.endswith("compile"))]


def measure(case: str, pairs: int, names: list[str]) -> list[str]:
    """Lines of the table for one case, the plain call first among `names`."""
    import numpy as np

    architecture, side = case.split(":")[0], int(case.split(":")[1])
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        prepare(architecture, side, folder, peers=any(name in PEERS for name in names))
        workers = [Worker(name, architecture, folder) for name in names]
        for worker in workers:  # the first call compiles and takes memory
            worker.ask(side=side, save=True)
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(pairs):
            for worker in workers if number % 2 == 0 else workers[::-1]:
                answers[worker.way].append(worker.ask(side=side))
        best = workers[names.index("ours fp32")].ask(ceiling=True)
        for worker in workers:
            worker.close()
        expected = np.load(folder / "plain.npy")
        differences = {name: float(np.abs(np.load(folder / f"{name}.npy") - expected).max()) for name in names}
    flops = operations(architecture, side)
    plain = [answer["seconds"] for answer in answers["plain"]]
    lines = []
    for name in names:
        seconds = [answer["seconds"] for answer in answers[name]]
        ratios = [a / b for a, b in zip(plain, seconds, strict=True)]
        kind = "bf16" if "bf16" in name else "fp32"
        share = flops / 1e9 / statistics.median(seconds) / best[kind]
        cells = [
            f"{architecture} {side}²",
            name,
            f"{statistics.median(seconds):.3f}",
            f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})",
            f"≥ {TARGETS[architecture, name]}" if (architecture, name) in TARGETS else "",
            f"{share:.0%} of {best[kind]:.0f}",
            f"{answers[name][-1]['memory'] / 2**20:.0f}",
            f"{differences[name]:.1e}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def operations(architecture: str, side: int) -> float:
    """Floating-point operations of the plain form, a multiplication with its addition counted as two."""
    import plain_upscale
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = plain_upscale.PLAIN[architecture]()
    least = 32  # operations grow with the pixels
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, least, least))
    return float(counter.get_total_flops() * (side / least) ** 2)


def tile_table(side: int, pairs: int) -> list[str]:
    """Compact in tiles: seconds of the tile loops beside the whole picture's, and the pixels computed."""
    names = ["plain", "ours fp32", "ours bf16"]
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        prepare("compact", side, folder, peers=False)
        workers = {name: Worker(name, "compact", folder) for name in names}
        lines = []
        for tile, pad in TILES:
            cells = ["whole" if not tile else f"{tile}, pad {pad}"]
            cells.append(f"{pixels(side, tile, pad):.2f}")
            for worker in workers.values():
                worker.ask(side=side, tile=tile, pad=pad)
                times = [worker.ask(side=side, tile=tile, pad=pad)["seconds"] for _ in range(pairs)]
                cells.append(f"{statistics.median(times):.3f}")
            lines.append("| " + " | ".join(cells) + " |")
        for worker in workers.values():
            worker.close()
    return lines


def pixels(side: int, tile: int, pad: int) -> float:
    """Pixels of all windows over those of the picture."""
    if not tile:
        return 1.0
    windows = [min(start + tile + pad, side) - max(start - pad, 0) for start in range(0, side, tile)]
    return (sum(windows) / side) ** 2


def start_up(architecture: str, pairs: int) -> str:
    """Seconds of the whole command on one picture of 64x64."""
    import torch
    from PIL import Image

    from goldeye.networks import build_network
    from goldeye.networks.weights import save_weights

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        torch.manual_seed(0)
        module = build_network(architecture)
        save_weights(folder / "w.safetensors", module, architecture=architecture, config={}, scale=4)
        Image.new("RGB", (64, 64), (90, 120, 60)).save(folder / "in.png")
        command = [sys.executable, "-m", "goldeye", "upscale", "in.png", "-o", "out.png", "-n", "w.safetensors"]
        times = []
        for _ in range(pairs + 1):
            begin = time.perf_counter()
            subprocess.run([*command, "--overwrite"], cwd=folder, check=True, capture_output=True)
            times.append(time.perf_counter() - begin)
    return f"- {architecture}: **{statistics.median(times[1:]):.2f}** s ({min(times[1:]):.2f} to {max(times[1:]):.2f})"


def machine() -> str:
    """What it ran on."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{model}, {os.cpu_count()} cores (load before the run: {load}); "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", nargs="+", metavar="ARCHITECTURE:SIDE")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small pictures, 2 pairs, nothing compiled")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--ways", nargs="+", choices=[*PEERS, *OURS], help="these only: all at once need much memory")
    parser.add_argument("--only-table", action="store_true", help="no tiles, no start-up")
    parser.add_argument("--tiles-side", type=int, default=384, help="of the picture that is cut into tiles")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write what is printed here")
    options = parser.parse_args()
    cases = options.cases or (QUICK if options.quick else CASES)
    pairs = 2 if options.quick else options.pairs
    written: list[str] = []

    def say(*lines: str) -> None:
        written.extend(lines)
        print("\n".join(lines), flush=True)  # noqa: T201

    now = datetime.datetime.now(tz=datetime.UTC)
    say(
        f"`python {' '.join([sys.argv[0], *sys.argv[1:]])}`, {now:%Y-%m-%d}, {machine()}",
        "",
        f"Speed over the plain call: the median of {pairs} pairs in both orders (range). Share: of the GFLOP/s of the "
        "fastest convolution measured beside it. Memory: most held by the process, MiB. Difference: largest, to the "
        "plain call's result.",
        "",
        "| picture | way | seconds | speed over plain | target | share of the convolution's | memory | difference |",
        "|---|---|---|---|---|---|---|---|",
    )
    names = ways(compiled=not (options.quick or options.no_compile))
    if options.ways:
        names = ["plain", *(name for name in names if name in options.ways)]
    if "ours fp32" not in names:
        names.append("ours fp32")  # which also measures the fastest convolution
    for case in cases:
        say(*measure(case, pairs, names))
    if not options.only_table:
        say(*more(pairs, 128 if options.quick else options.tiles_side))
    if options.markdown:
        options.markdown.write_text("\n".join(written) + "\n", encoding="utf-8")


def more(pairs: int, side: int) -> list[str]:
    """Tiles and start-up."""
    lines = ["", f"Compact on {side}² in tiles; pixels computed over pixels of the picture, and seconds:", ""]
    lines += ["| tile | pixels | plain loop | ours fp32 | ours bf16 |", "|---|---|---|---|---|"]
    lines += tile_table(side, pairs)
    lines += ["", "`goldeye upscale` of one picture of 64x64, start-up included:", ""]
    return lines + [start_up(architecture, pairs) for architecture in ("compact", "rrdb")]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
