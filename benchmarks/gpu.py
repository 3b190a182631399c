"""The scan, a training step, inference and a whole training on a GPU, in one call.

    python benchmarks/gpu.py [--json FILE] [--device cuda] [--rounds N]
                             [--data DIR --encoder-weights FILE --out DIR [--epochs N]]

Medians; what is compared is timed in turns in one run. Before anything is timed the kernels' values
and gradients are compared with the reference: wrong ones end the run. "released" is the released
arrangement, one permuted copy of the map for each direction and then mamba-ssm's scan, where that
package is installed, else our own kernel on each copy. --device cpu runs every line with smaller
sizes. With --data it also trains, recipes fast and paper, and evaluates (protocol exact). Figures
that need more than the GPU's memory are null.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import mambaad
from mambaad.artifacts.run_folder import read_log
from mambaad.config import make_config
from mambaad.files import check_writable, write_text
from mambaad.inference.compiled import begin_step, compile_system
from mambaad.models.build import build_system
from mambaad.models.mixers import ss2d as hss
from mambaad.ops.order_tables import order_table
from mambaad.ops.selective_scan.dispatch import selective_scan
from mambaad.ops.selective_scan.vectorised import selective_scan_vectorised
from mambaad.training.loss import squared_error_loss

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine
from released_scan import mamba_ssm_scan, permuted_copies

HAS_MAMBA_SSM = importlib.util.find_spec("mamba_ssm") is not None
RELEASED = mamba_ssm_scan if HAS_MAMBA_SSM else permuted_copies
LANES, SPECIAL = 128, 16  # float32 multiply-adds, and exponentials, a multiprocessor and clock
INPUTS = ("u", "proj", "dt_weight", "dt_bias", "A", "skip")


@dataclass(frozen=True)
class Sizes:
    """The sizes that are measured; smaller ones on a CPU."""

    stages: tuple[tuple[int, int], ...]  # side, D
    batch: int
    encoder: str
    rival: str  # RD4AD's encoder
    size: int
    batches: tuple[int, ...]
    sizes: tuple[int, ...]


ON_GPU = Sizes(
    ((64, 128), (32, 256), (16, 512), (8, 1024)),
    *(16, "resnet34", "wide_resnet50_2", 256, (1, 16, 64), (256, 512, 1024)),
)
ON_CPU = Sizes(
    ((16, 32), (8, 64), (4, 128), (2, 256)), *(2, "resnet18", "resnet18", 64, (1,), (64,))
)
STATES, DIRECTIONS = 16, 8


class Clock:
    """A measurement of actions on a device: their time and memory."""

    def __init__(self, device: torch.device, rounds: int) -> None:
        self.device, self.rounds = device, rounds

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, action: Callable[[], Any]) -> float:
        self.wait()
        started = time.perf_counter()
        action()
        self.wait()
        return time.perf_counter() - started

    def medians(self, actions: dict[str, Callable[[], Any]]) -> dict[str, float | None]:
        """Time actions in turns, after three calls of each, which compile and record."""
        times: dict[str, list[float]] = {name: [] for name in actions}
        fit = {name: action for name, action in actions.items() if self.fits(action)}
        for _ in range(self.rounds):
            for name, action in fit.items():
                times[name].append(self.seconds(action))
        return {name: statistics.median(t) if t else None for name, t in times.items()}

    def fits(self, action: Callable[[], Any]) -> bool:
        try:
            for _ in range(3):
                action()
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            return False
        return True

    def peak_mib(self, action: Callable[[], Any]) -> float | None:
        if self.device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        action()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device) / 2**20


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def scan_inputs(side: int, channels: int, batch: int, device: torch.device) -> dict[str, Any]:
    """Make random inputs of a stage's scan that require gradients."""
    torch.manual_seed(0)
    rank, length = max(channels // 32, 1), side * side  # R = C / 16, and D = 2 C
    inputs: dict[str, Any] = {
        "u": torch.randn(batch, length, channels),
        "proj": torch.randn(batch, length, DIRECTIONS * (rank + 2 * STATES)),
        "dt_weight": torch.randn(DIRECTIONS, channels, rank) * 0.1,
        "dt_bias": torch.rand(DIRECTIONS, channels) - 4,
        "A": -torch.rand(DIRECTIONS, channels, STATES) * 16,
        "skip": torch.ones(DIRECTIONS, channels),
    }
    inputs = {name: t.to(device).requires_grad_() for name, t in inputs.items()}
    return {**inputs, "order": order_table("hilbert", DIRECTIONS, side, side, device)}


def value_and_gradients(
    scan: Callable[..., torch.Tensor], inputs: dict[str, Any]
) -> list[torch.Tensor]:
    y = scan(*inputs.values())
    return [y, *torch.autograd.grad(y.square().sum(), [inputs[name] for name in INPUTS])]


def check(sizes: Sizes, device: torch.device) -> dict[str, dict[str, float]]:
    """Measure the largest relative errors of values and gradients, and changes from run to run.

    At the shapes that are timed, against PyTorch in float64; also for bfloat16 maps.
    """
    table = {}
    for (side, channels), dtype in itertools.product(
        sizes.stages, (torch.float32, torch.bfloat16) if device.type == "cuda" else (torch.float32,)
    ):
        inputs = scan_inputs(side, channels, sizes.batch, device)
        for name in ("u", "proj"):
            inputs[name] = inputs[name].detach().to(dtype).requires_grad_()
        exact = {n: t.detach().double().requires_grad_() for n, t in inputs.items() if n in INPUTS}
        exact_results = value_and_gradients(
            selective_scan_vectorised, {**exact, "order": inputs["order"]}
        )
        first, again = (value_and_gradients(selective_scan, inputs) for _ in range(2))
        errors, moved = {}, 0.0
        for name, *three in zip(("y", *INPUTS), first, again, exact_results, strict=True):
            ours, other, theirs = (t.detach().double() for t in three)
            scale = theirs.abs().max()
            errors[name] = float((ours - theirs).abs().max() / scale)
            moved = max(moved, float((ours - other).abs().max() / scale))
        if max(errors.values()) > (1e-3 if dtype == torch.float32 else 1e-2):
            sys.exit(f"gpu: the scan is wrong on this device, nothing is timed: {errors}")
        kind = str(dtype).removeprefix("torch.")
        table[f"{side}x{side}x{channels} {kind}"] = {**errors, "from_run_to_run": moved}
    return table


def limits(device: torch.device) -> dict[str, float] | None:
    """Measure a copy's bytes a second; compute multiply-adds and exponentials from the clock."""
    if device.type != "cuda":
        return None
    source = torch.empty(2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = Clock(device, 10).medians({"copy": lambda: target.copy_(source)})["copy"] or math.inf
    properties = torch.cuda.get_device_properties(device)
    # In kHz; not in every version of PyTorch.
    clock = 1000 * getattr(properties, "clock_rate", 0)
    cycles = properties.multi_processor_count * clock
    return {
        "bytes_per_s": 2 * 2**30 / copied,
        "multiply_adds_per_s": LANES * cycles,
        "exponentials_per_s": SPECIAL * cycles,
    }


def scan_table(sizes: Sizes, clock: Clock, peak: dict[str, float] | None) -> list[dict[str, Any]]:
    """Time each stage's scan, forward, backward and both, beside the released arrangement."""
    scans = {"ours": selective_scan, "released": RELEASED}
    results = []
    for side, channels in sizes.stages:
        inputs = scan_inputs(side, channels, sizes.batch, clock.device)
        plain = {name: t.detach() for name, t in inputs.items()}
        actions: dict[str, Callable[[], Any]] = {}
        half = {n: t.bfloat16() if n in ("u", "proj") else t for n, t in plain.items()}
        actions["ours_forward_bf16"] = functools.partial(selective_scan, *half.values())
        y = selective_scan(*inputs.values())
        actions["ours_backward"] = functools.partial(
            torch.autograd.grad,
            *(y, [inputs[name] for name in INPUTS], torch.randn_like(y)),
            retain_graph=True,
        )
        for name, scan in scans.items():
            actions[f"{name}_forward"] = functools.partial(scan, *plain.values())
            actions[f"{name}_both"] = functools.partial(value_and_gradients, scan, inputs)
        seconds = clock.medians(actions)
        values = sizes.batch * side**2 * channels
        states = values * DIRECTIONS * STATES
        read = 4 * (plain["u"].numel() + plain["proj"].numel() + values)
        row: dict[str, Any] = {
            "L": side**2,
            "D": channels,
            "batch": sizes.batch,
            **{f"{name}_ms": value and 1000 * value for name, value in seconds.items()},
            "least_bytes_forward": read,  # each map once, however many directions read it
            "states_per_s_forward": ratio(states, seconds["ours_forward"]),
            "released_over_ours_both": ratio(seconds["released_both"], seconds["ours_both"]),
        }
        spent = seconds["ours_forward"]
        if peak and spent:
            row["of_bandwidth"] = read / spent / peak["bytes_per_s"]
            # dt A, its exponential, dt u B, the state and its part of y.
            row["of_multiply_adds"] = 5 * states / spent / max(peak["multiply_adds_per_s"], 1)
            row["of_exponentials"] = states / spent / max(peak["exponentials_per_s"], 1)
        results.append(row)
    return results


@contextmanager
def released_arrangement() -> Iterator[None]:
    """Make the model's blocks use the released arrangement."""
    hss.selective_scan = RELEASED  # type: ignore[assignment]
    try:
        yield
    finally:
        hss.selective_scan = selective_scan


def training_step(
    system: str,
    encoder: str,
    sizes: Sizes,
    device: torch.device,
    *,
    half: bool,
    compilation: Any = "off",
) -> Callable[[], Any]:
    """Build a training step of the paper's recipe: forward, backward and update."""
    config = make_config({"system": system, "encoder": encoder, "size": str(sizes.size)})
    torch.manual_seed(0)
    model = build_system(config, "random").to(device).train()
    compile_system(model, compilation)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-4, fused=True)
    images = torch.randn(sizes.batch, 3, sizes.size, sizes.size, device=device)

    def step() -> None:
        begin_step(compilation)
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            features, reconstructed = model(images)
        loss = squared_error_loss(features, reconstructed).mean()
        loss.backward()
        loss.item()  # as training does, to see whether it is a number
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()

    return step


def training_table(sizes: Sizes, clock: Clock) -> dict[str, Any]:
    """Measure a step's seconds and peak memory: ours, the released arrangement, RD4AD."""
    plans: dict[str, tuple[str, str, bool, str]] = {
        "ours": ("mambaad", sizes.encoder, False, "off"),
        "ours_bf16": ("mambaad", sizes.encoder, True, "off"),
        "ours_bf16_compiled": ("mambaad", sizes.encoder, True, "default"),
        "ours_bf16_cuda_graphs": ("mambaad", sizes.encoder, True, "cuda-graphs"),
        "released": ("mambaad", sizes.encoder, False, "off"),
        "released_bf16": ("mambaad", sizes.encoder, True, "off"),
        "rd4ad": ("rd4ad", sizes.rival, False, "off"),
        "rd4ad_bf16": ("rd4ad", sizes.rival, True, "off"),
    }
    steps: dict[str, Callable[[], Any]] = {}
    torch.compiler.reset()
    for name, (system, encoder, half, compilation) in plans.items():
        step = training_step(
            system, encoder, sizes, clock.device, half=half, compilation=compilation
        )
        steps[name] = released_arrangement()(step) if name.startswith("released") else step
    seconds = clock.medians(steps)
    best = min((v for n, v in seconds.items() if n.startswith("ours") and v), default=None)
    released = min((v for n, v in seconds.items() if n.startswith("released") and v), default=None)
    return {
        **{f"{name}_s": value for name, value in seconds.items()},
        **{f"{n}_peak_mib": clock.peak_mib(step) for n, step in steps.items() if seconds[n]},
        "released_over_ours": ratio(seconds["released"], seconds["ours"]),
        "best_released_over_best_ours": ratio(released, best),
        "rd4ad_over_ours": ratio(seconds["rd4ad"], seconds["ours"]),
        "rd4ad_bf16_over_best_ours": ratio(seconds["rd4ad_bf16"], best),
    }


def inference_table(sizes: Sizes, clock: Clock) -> list[dict[str, Any]]:
    """Measure images a second and peak memory by size and batch: plain, half, compiled."""
    results = []
    for size in sizes.sizes:
        config = make_config({"encoder": sizes.encoder, "size": str(size)})
        models = {}
        for name, compilation in {
            "plain": "off",
            "compiled": "default",
            "graphs": "cuda-graphs",
        }.items():
            models[name] = build_system(config, "random").to(clock.device).eval()
            compile_system(models[name], compilation)  # type: ignore[arg-type]
        for batch in sizes.batches:
            torch.compiler.reset()  # recompilations are limited
            images = torch.randn(batch, 3, size, size, device=clock.device)

            @torch.inference_mode()
            def infer(model: Any, half: bool, images: torch.Tensor = images) -> None:
                begin_step("cuda-graphs")
                with torch.autocast(clock.device.type, torch.bfloat16, enabled=half):
                    model(images)

            actions = {
                f"{name}{'_bf16' if half else ''}": functools.partial(infer, model, half)
                for name, model in models.items()
                for half in (False, True)
            }
            seconds = clock.medians(dict(actions))
            results.append(
                {
                    "size": size,
                    "batch": batch,
                    **{f"{name}_images_per_s": ratio(batch, v) for name, v in seconds.items()},
                    **{
                        f"{name}_peak_mib": clock.peak_mib(actions[name])
                        for name in ("plain", "plain_bf16")
                        if seconds[name]
                    },
                }
            )
    return results


def whole_trainings(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Train both recipes on real data in bf16, and evaluate them."""
    results = {}
    for recipe in ("fast", "paper"):
        run = arguments.out / recipe
        settings: dict[str, Any] = {
            **{"encoder": "resnet18", "encoder_weights": arguments.encoder_weights},
            **{"recipe": recipe, "precision": "bf16-mixed"},
            **({"epochs": arguments.epochs} if arguments.epochs else {}),
        }
        mambaad.train(arguments.data, run, resume=(run / "config.json").is_file(), **settings)
        log = read_log(run)
        evaluation = mambaad.evaluate(run, arguments.data, device=str(device))
        results[recipe] = {
            "epochs": len(log),
            "minutes": sum(epoch["seconds"] for epoch in log) / 60,
            "waited_minutes": sum(epoch["waited"] for epoch in log) / 60,
            "gpu_percent": log[-1].get("gpu_percent"),
            "images_per_s": log[-1]["images_per_s"],
            "mean": evaluation.mean,
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Times on a GPU; see the top of the file.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--encoder-weights")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument(
        "--epochs", type=int, help="of each whole training, instead of its recipe's"
    )
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    device = torch.device(arguments.device)
    clock = Clock(device, arguments.rounds)
    sizes = ON_GPU if device.type == "cuda" else ON_CPU
    results: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "released_scan": "mamba-ssm" if HAS_MAMBA_SSM else "ours, on each copy",
        "sizes": vars(sizes),
        "machine": machine(),
    }
    parts: dict[str, Callable[[], Any]] = {
        "errors": lambda: check(sizes, device),
        "limits": lambda: limits(device),
        "scan": lambda: scan_table(sizes, clock, results["limits"]),
        "training_step": lambda: training_table(sizes, clock),
        "inference": lambda: inference_table(sizes, clock),
    }
    if arguments.data:
        parts["whole_trainings"] = lambda: whole_trainings(arguments, device)
    for name, part in parts.items():
        started = time.perf_counter()
        results[name] = part()
        print(f"{name} ({time.perf_counter() - started:.0f} s)", flush=True)
        print(json.dumps(results[name], indent=2), flush=True)
        if arguments.json:  # after each part, so that an error in a later one loses nothing
            write_text(arguments.json, json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"gpu: {error}")
