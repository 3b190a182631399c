"""The scan, a training step, inference and a whole training on a GPU, in one call.

    python benchmarks/gpu.py [--json FILE] [--device cuda] [--rounds N]
                             [--seconds N] [--parts PART...]
                             [--data DIR --encoder-weights FILE --out DIR [--epochs N]]

Medians; what is compared is timed in turns in one run. Before anything is timed the kernels' values
and gradients are compared with the reference: wrong ones end the run. "released" is the released
arrangement, one permuted copy of the map for each direction and then mamba-ssm's scan, where that
package is installed, else our own kernel on each copy. --device cpu runs every line with smaller
sizes. With --data it also trains, recipes fast and paper, and evaluates (protocol exact). Figures
that need more than the GPU's memory are null, and those for which --seconds leave no time.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import mambaad
from mambaad.artifacts.manifest import has_begun
from mambaad.artifacts.run_folder import read_log
from mambaad.artifacts.snapshot import opened
from mambaad.config import make_config
from mambaad.files import check_writable, write_text
from mambaad.inference.compiled import (
    compile_for_inference,
    compile_for_training,
    is_recorded,
)
from mambaad.inference.recorded import Recorder
from mambaad.models.build import build_system
from mambaad.models.mixers import ss2d as hss
from mambaad.ops.selective_scan.dispatch import selective_scan
from mambaad.progress import show_progress
from mambaad.training.loss import squared_error_loss

sys.path.insert(0, str(Path(__file__).parent))
from gpu_clock import ON_CPU, ON_GPU, Clock, Sizes, ratio
from gpu_scan import HAS_MAMBA_SSM, RELEASED, check, limits, scan_table
from machine import machine

BATCHES = 4
"""Batches that training steps take in turns."""


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
    kept: bool = False,
) -> Callable[[], float]:
    """Build a training step of the paper's recipe: forward, backward and update; returns the loss.

    Each step has a batch of its own. With ``kept`` the encoder's maps are computed once, as
    ``--cache-features`` does.
    """
    config = make_config({"system": system, "encoder": encoder, "size": str(sizes.size)})
    torch.manual_seed(0)
    model = build_system(config, "random").train()
    model.to(device, memory_format=torch.channels_last)  # as training does
    compile_for_training(model, compilation)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-4, fused=True)
    shape = (BATCHES, sizes.batch, 3, sizes.size, sizes.size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device)
    number = itertools.count()

    def half_precision() -> Any:
        return torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False)

    def encode(batch: torch.Tensor) -> list[torch.Tensor]:
        with half_precision():
            return model.encoder(batch)  # type: ignore[no-any-return]

    def gradients(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = list(given) if kept else encode(given[0])
        with half_precision():
            reconstructed = model.reconstruct(features)
        optimizer.zero_grad()
        loss = squared_error_loss(features, reconstructed).mean()
        loss.backward()
        return (loss.detach(),)

    records = is_recorded(compilation, device)
    recorder = Recorder(gradients, device if records else torch.device("cpu"), trained)
    batches = [[m.clone() for m in encode(b)] if kept else [b] for b in images]

    def step() -> float:
        which = next(number) % BATCHES
        torch.manual_seed(which)
        (loss,) = recorder(*batches[which])
        value = loss.item()  # as training does, to see whether it is a number
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()
        return value

    return step


def training_table(sizes: Sizes, clock: Clock, *, compiled: bool) -> dict[str, Any]:
    """Measure a step's seconds and peak memory: ours, the released arrangement, RD4AD."""
    ours, rd4ad = ("mambaad", sizes.encoder), ("rd4ad", sizes.rival)
    graphs: dict[str, Any] = {"half": True, "compilation": "cuda-graphs"}
    compilation: dict[str, Any] = {"half": True, "compilation": "default"}
    plans: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
        "rd4ad": (rd4ad, {"half": False}),
        "rd4ad_bf16": (rd4ad, {"half": True}),
    }
    if compiled:
        plans |= {"ours_bf16_compiled_features_kept": (ours, {**compilation, "kept": True})}
    else:
        plans |= {
            "rd4ad_bf16_cuda_graphs": (rd4ad, graphs),
            "ours": (ours, {"half": False}),
            "ours_bf16": (ours, {"half": True}),
            "ours_cuda_graphs": (ours, {**graphs, "half": False}),
            "ours_bf16_cuda_graphs": (ours, graphs),
            "ours_bf16_cuda_graphs_features_kept": (ours, {**graphs, "kept": True}),
            "released": (ours, {"half": False}),
        }
    steps: dict[str, Callable[[], Any]] = {}
    torch.compiler.reset()
    for name, (which, options) in plans.items():
        step = training_step(*which, sizes, clock.device, **options)
        steps[name] = released_arrangement()(step) if name == "released" else step
    seconds = clock.medians(steps)
    best = min((v for n, v in seconds.items() if n.startswith("ours") and v), default=None)
    return {
        **{f"{name}_s": value for name, value in seconds.items()},
        **{f"{n}_peak_mib": clock.peak_mib(step) for n, step in steps.items() if seconds[n]},
        "first_calls_s": {name: clock.first.get(name) for name in plans},
        "released_over_ours": ratio(seconds.get("released"), seconds.get("ours")),
        "released_over_best_ours": ratio(seconds.get("released"), best),
        "best_ours_over_rd4ad": ratio(best, seconds["rd4ad"]),
        "best_ours_over_rd4ad_bf16": ratio(best, seconds["rd4ad_bf16"]),
    }


def profile(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """List where the time of a training step in bfloat16 goes: kernels by their total, in ms."""
    step = training_step("mambaad", sizes.encoder, sizes, device, half=True)
    for _ in range(3):
        step()
    activity = torch.profiler.ProfilerActivity
    kinds = [activity.CPU, *([activity.CUDA] if device.type == "cuda" else [])]
    with torch.profiler.profile(activities=kinds) as found:
        step()
    name = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    rows = [
        (getattr(event, name) / 1000, event.count, event.key)
        for event in found.key_averages()
        if event.device_type.name.lower() == device.type  # operators have the times of theirs too
    ]
    rows = [row for row in sorted(rows, reverse=True) if row[0] > 0]
    return {
        "total_ms": sum(row[0] for row in rows),
        "calls": sum(row[1] for row in rows),
        "most": [{"ms": ms, "calls": calls, "kernel": key[:100]} for ms, calls, key in rows[:40]],
    }


def half_precision(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Compare losses after some steps of a training: in float32, twice, and in bfloat16."""
    losses = {}
    for name, half in {"float32": False, "float32_again": False, "bf16": True}.items():
        step = training_step(
            "mambaad", sizes.encoder, sizes, device, half=half, compilation="cuda-graphs"
        )
        history = [step() for _ in range(sizes.steps)]
        losses[name] = sum(history[-BATCHES:]) / BATCHES
    return {
        "steps": sizes.steps,
        **losses,
        "again_over_float32": losses["float32_again"] / losses["float32"],
        "bf16_over_float32": losses["bf16"] / losses["float32"],
    }


def inference_table(sizes: Sizes, clock: Clock, *, compiled: bool) -> list[dict[str, Any]]:
    """Measure images a second and peak memory by size and batch: plain, recorded, compiled."""
    results = []
    for size in sizes.sizes if not compiled else (sizes.size,):
        config = make_config({"encoder": sizes.encoder, "size": str(size)})
        model = build_system(config, "random").eval()
        model.to(clock.device, memory_format=torch.channels_last)
        compile_for_inference(model, "default" if compiled else "off")
        ends = (sizes.batches[0], sizes.batches[-1])
        for batch in dict.fromkeys(ends) if compiled else sizes.batches:
            if batch * size**2 > sizes.most_pixels:
                continue
            images = torch.randn(batch, 3, size, size, device=clock.device)
            actions: dict[str, Callable[[], Any]] = {}
            for name, half in (("bf16", True), ("float32", False)):

                def infer(
                    images: torch.Tensor, half: bool = half, model: Any = model
                ) -> tuple[torch.Tensor, ...]:
                    with torch.autocast(
                        clock.device.type, torch.bfloat16, enabled=half, cache_enabled=False
                    ):
                        features, reconstructed, _ = model(images)
                    return (*features, *reconstructed)

                recorder = Recorder(infer, clock.device)
                actions[f"{name}_recorded"] = functools.partial(recorder, images)
                if not compiled:
                    actions[name] = functools.partial(infer, images)
            with torch.inference_mode():
                seconds = clock.medians(actions)
                row: dict[str, Any] = {"size": size, "batch": batch}
                for name, value in seconds.items():
                    row[f"{name}_ms"] = value and 1000 * value
                    row[f"{name}_images_per_s"] = ratio(batch, value)
                    row[f"{name}_first_calls_s"] = clock.first.get(name)
                    row[f"{name}_peak_mib"] = clock.peak_mib(actions[name]) if value else None
            results.append(row)
            print(row, flush=True)
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
        mambaad.train(arguments.data, run, resume=has_begun(run), **settings)
        with opened(run) as trained:
            log = read_log(trained)
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
    parser.add_argument("--parts", nargs="+", metavar="PART", help="these only; by default all")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all figures")
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
    clock = Clock(device, arguments.rounds, arguments.seconds)
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
        "scan": lambda: scan_table(sizes, clock, results.get("limits")),
        "training_step": lambda: training_table(sizes, clock, compiled=False),
        "profile": lambda: profile(sizes, device),
        "inference": lambda: inference_table(sizes, clock, compiled=False),
        "half_precision": lambda: half_precision(sizes, device),
        "training_step_compiled": lambda: training_table(sizes, clock, compiled=True),
        "inference_compiled": lambda: inference_table(sizes, clock, compiled=True),
    }
    if arguments.data:
        parts["whole_trainings"] = lambda: whole_trainings(arguments, device)
    for name, part in parts.items():
        if arguments.parts and name not in arguments.parts:
            continue
        started = time.perf_counter()
        results[name] = part()
        print(f"{name} ({time.perf_counter() - started:.0f} s)", flush=True)
        print(json.dumps(results[name], indent=2), flush=True)
        if arguments.json:  # after each part, so that an error in a later one loses nothing
            write_text(arguments.json, json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    show_progress()
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"gpu: {error}")
