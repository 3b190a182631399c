"""Time and memory of the whole model beside its encoder, the peers and the reference scan.

    python benchmarks/model_speed.py [--json FILE] [--threads N] [--rounds N]

Medians over rounds in which everything is timed, so that what slows the machine down slows all of
it down. Random weights: no time depends on them. Peers (anomalib's RD4AD, EfficientAD,
PatchCore) with `pip install '.[peers]'`, else null. Memory is the peak of a process of its own
that builds the model and takes one image. Training: see training_speed.py, which this runs.

``encoder``: a stock ResNet of timm, as PyTorch runs it. ``forward``: the model as an Inspector
holds it (batch norms folded, weights packed), images to reconstructed features, batch 1.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mambaad.files import check_writable, write_text
from mambaad.inference.packed.pack import pack
from mambaad.models.build import build_model
from mambaad.models.mixers import ss2d as hss
from mambaad.ops.orders import directional_orders
from mambaad.ops.selective_scan.dispatch import selective_scan
from mambaad.ops.selective_scan.reference import selective_scan_reference
from mambaad.recipes import VARIANTS

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine
from peers import PATCHES, peers
from released_scan import released_scan
from timing import medians, seconds

SIZE, LARGE_SIZE = 256, 1024
STAGES = ((64, 128, 3), (32, 256, 6), (16, 512, 4), (8, 1024, 3))  # side, D, HSS blocks
STATES, DIRECTIONS = 16, 8
QUICK = 5  # calls a round of what takes milliseconds
PEERS = ("rd4ad", "efficientad", "patchcore")

ONE_IMAGE = """
import sys, torch
from pathlib import Path
from mambaad.inference.packed.pack import pack
from mambaad.models.build import build_model
torch.set_num_threads(int(sys.argv[2]))
model = pack(build_model("resnet34", "random").eval())
with torch.inference_mode():
    model(torch.randn(1, 3, int(sys.argv[1]), int(sys.argv[1])))
# Not ru_maxrss: a new process begins with that of the one that started it.
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024)
"""


def peak_mib(size: int, threads: int) -> float | None:
    """Measure peak memory of a process that takes one image of this size (Linux only)."""
    if sys.platform != "linux":
        return None
    command = [sys.executable, "-c", ONE_IMAGE, str(size), str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def scan_inputs(side: int, channels: int, directions: int, states: int) -> tuple[Any, ...]:
    """Make random inputs of a scan over a square map, as in one of the model's stages."""
    torch.manual_seed(0)
    rank, length = channels // 32, side * side
    order = directional_orders("hilbert", directions, side, side)
    return (
        torch.randn(1, length, channels),
        torch.randn(1, length, directions * (rank + 2 * states)),
        torch.randn(directions, channels, rank) * 0.1,
        torch.rand(directions, channels) - 4,
        -torch.rand(directions, channels, states) * 16,
        torch.ones(directions, channels),
        torch.tensor(order),
    )


@torch.inference_mode()
def slow_models(image: torch.Tensor) -> dict[str, float]:
    """Time the same model over the reference scan, and over the released arrangement."""
    model = build_model("resnet34", "random").eval()
    results = {}
    for name, scan in (("own", selective_scan_reference), ("released", released_scan)):
        print(f"\rmodel over the {name} reference scan ...", end="", file=sys.stderr, flush=True)
        hss.selective_scan = scan  # type: ignore[assignment]
        given = model(image[..., :64, :64]).reconstructed  # to warm up
        results[name] = seconds(lambda: model(image))
        hss.selective_scan = selective_scan
        ours = model(image[..., :64, :64]).reconstructed
        for a, b in zip(given, ours, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    print("\r" + " " * 50, end="\r", file=sys.stderr)
    return results


def measure(rounds: int) -> dict[str, float | None]:
    """Measure all figures, medians over the rounds."""
    threads = torch.get_num_threads()
    image, large_image = torch.randn(1, 3, SIZE, SIZE), torch.randn(1, 3, LARGE_SIZE, LARGE_SIZE)
    stock, stock18 = (build_model(name, "random").encoder for name in ("resnet34", "resnet18"))
    plain = build_model("resnet34", "random").eval()
    model = pack(build_model("resnet34", "random").eval())
    half = pack(build_model("resnet34", "random").eval(), "bfloat16")
    small: Any = dict(VARIANTS["lite"])
    lite = pack(build_model("resnet18", "random", **small).eval())
    half_lite = pack(build_model("resnet18", "random", **small).eval(), "bfloat16")
    scans = {side: scan_inputs(side, width, DIRECTIONS, STATES) for side, width, _ in STAGES}
    networks: dict[str, Callable[[torch.Tensor], Any]] = {
        "encoder": stock,
        "encoder_prepared": model.encoder,
        "forward_unprepared": plain,
        "forward": model,
        "forward_bf16": half,
        "encoder18": stock18,
        "lite": lite,
        "lite_bf16": half_lite,
        **peers(SIZE),
    }
    actions: dict[str, Callable[[], Any]] = {
        **{name: functools.partial(network, image) for name, network in networks.items()},
        **{f"scan{s}": functools.partial(selective_scan, *given) for s, given in scans.items()},
    }
    # A model of its own: packing for another size takes time.
    large = pack(build_model("resnet34", "random").eval())
    actions["large"] = lambda: large(large_image)
    slow = ("large", *PEERS)
    median = medians(actions, rounds, {name: QUICK for name in actions if name not in slow})

    scan = scans[64]
    with torch.inference_mode():
        reference = seconds(lambda: selective_scan_reference(*scan))
    references = slow_models(image)
    training = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("training_speed.py")),
            "--quiet",
            "--threads",
            str(threads),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    train = json.loads(training.stdout)
    forward = median["forward"]
    milliseconds = {
        f"{name}_ms": 1000 * value
        for name, value in median.items()
        if not name.startswith(("scan", "large"))
    }
    return {
        **milliseconds,
        "forward_over_encoder": forward / median["encoder"],
        "forward_over_prepared_encoder": forward / median["encoder_prepared"],
        "forward_bf16_over_encoder": median["forward_bf16"] / median["encoder"],
        "lite_over_encoder": median["lite"] / median["encoder18"],
        "lite_bf16_over_encoder": median["lite_bf16"] / median["encoder18"],
        **{
            f"{name}_over_forward": median[name] / forward if name in median else None
            for name in PEERS
        },
        "reference_model_ms": 1000 * references["released"],
        "own_reference_model_ms": 1000 * references["own"],
        "speedup_over_reference_model": references["released"] / forward,
        "speedup_over_own_reference_model": references["own"] / forward,
        "forward_1024_ms": 1000 * median["large"],
        "cost_per_pixel_1024_over_256": median["large"] / forward / (LARGE_SIZE / SIZE) ** 2,
        "peak_mib_256": peak_mib(SIZE, threads),
        "peak_mib_1024": peak_mib(LARGE_SIZE, threads),
        "scan_ms": 1000 * median["scan64"],
        "scan_reference_ms": 1000 * reference,
        "scan_speedup_over_reference": reference / median["scan64"],
        **{
            f"state_updates_per_s_{side}": side**2
            * width
            * DIRECTIONS
            * STATES
            / median[f"scan{side}"]
            for side, width, _ in STAGES
        },
        "state_updates_per_s": sum(
            blocks * side**2 * width * DIRECTIONS * STATES for side, width, blocks in STAGES
        )
        / sum(blocks * median[f"scan{side}"] for side, _, blocks in STAGES),
        **train,
    }


def main() -> None:
    """Measure, print a table, and write it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    torch.set_num_threads(arguments.threads)
    figures = measure(arguments.rounds)
    setup = {
        "size": SIZE,
        "encoder": "encoder, forward, peak: resnet34, batch 1; encoder18, lite, training: resnet18",
        "scan": "L 4096, D 128, K 8, N 16, batch 1",
        "patchcore": f"{PATCHES} patches",
        "rounds": arguments.rounds,
    }
    for name, value in figures.items():
        print(f"{name:34} " + ("-" if value is None else f"{value:12.4g}"))
    if arguments.json:
        record = {**figures, "setup": setup, "machine": machine()}
        write_text(arguments.json, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
