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
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from mambaad.ops.selective_scan.dispatch import selective_scan
from mambaad.training.loss import squared_error_loss

sys.path.insert(0, str(Path(__file__).parent))
from gpu_clock import ON_CPU, ON_GPU, Clock, Sizes, ratio
from gpu_scan import HAS_MAMBA_SSM, RELEASED, check, limits, scan_table
from machine import machine


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
