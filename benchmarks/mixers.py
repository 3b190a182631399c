"""Time of MambaAD with each state-space mixer, beside its encoder.

    python benchmarks/mixers.py [--json FILE] [--encoder NAME] [--threads N] [--rounds N]
                                [--largest SIZE]

Random weights: no time depends on them. Base and lite, every mixer in turn within each round, so
that what slows the machine down slows all of them; medians.

``encoder_ms``: the encoder as PyTorch runs it, one image of 256 px. ``forward_ms``: the model as
an Inspector holds it (packed), images to reconstructed features. ``forward_over_encoder``: their
ratio. ``step_s_per_image``: forward, backward and update at batch 4, the encoder's maps given, as
when they are kept between epochs. ``cost_per_pixel_N_over_256``: the same forward at N px, divided
by the ratio of pixels. Targets: forward over encoder 2.4 (better: 2.0), a step of base 0.2 s an
image (better: 0.15).
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mambaad.config import make_config
from mambaad.files import check_writable, write_text
from mambaad.inference.packed.pack import pack
from mambaad.models.build import build_system
from mambaad.models.mambaad import MambaAD
from mambaad.models.mixers.table import MIXERS
from mambaad.process import keep_freed_memory
from mambaad.progress import show_progress
from mambaad.recipes import VARIANTS
from mambaad.training.loss import cosine_loss

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine
from timing import medians, seconds

SIZE, LARGER = 256, (512, 1024)
BATCH = 4
QUICK = 5  # calls a round of what takes milliseconds

Combination = tuple[str, str]  # variant, mixer
COMBINATIONS = [(variant, mixer) for variant in VARIANTS for mixer in MIXERS]


def build(encoder: str, combination: Combination) -> Any:
    """Build the untrained model of a variant and a mixer."""
    variant, mixer = combination
    settings = {"encoder": encoder, "variant": variant, "mixer": mixer}
    return build_system(make_config(settings), "random")


def measure_forward(encoder: str, sizes: tuple[int, ...], rounds: int) -> dict[str, float]:
    """Measure seconds of the encoder and of each packed model, by size of the image."""
    actions: dict[str, Callable[[], Any]] = {}
    repeats: dict[str, int] = {}
    for size in sizes:
        image = torch.randn(1, 3, size, size)
        if size == SIZE:
            plain = build(encoder, COMBINATIONS[0]).encoder.eval()
            actions["encoder"] = functools.partial(plain, image)
        for combination in COMBINATIONS:
            # A model for each size: packing for another one takes time.
            model = pack(build(encoder, combination).eval())
            actions[f"{'_'.join(combination)}_{size}"] = functools.partial(model, image)
    for name in actions:
        repeats[name] = QUICK if name == "encoder" or name.endswith(f"_{SIZE}") else 1
    return medians(actions, rounds, repeats)


def training_step(model: MambaAD) -> Callable[[], None]:
    """Make a step of the recipe ``fast`` on features that are kept."""
    trained = [p for p in model.train().parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-4, fused=True)
    with torch.no_grad():
        features = model.encoder(torch.randn(BATCH, 3, SIZE, SIZE))

    def step() -> None:
        optimizer.zero_grad()
        cosine_loss(features, model.reconstruct(features)).mean().backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()

    return step


def measure_steps(encoder: str, rounds: int) -> dict[str, float]:
    """Measure seconds of a training step an image, each model in turn."""
    steps = {"_".join(c): training_step(build(encoder, c)) for c in COMBINATIONS}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
        step()
    for done in range(rounds):
        for name, step in steps.items():
            step()  # the cache holds another model's weights
            times[name].append(seconds(step) / BATCH)
        print(f"\rsteps, round {done + 1}/{rounds} ", end="", file=sys.stderr, flush=True)
    print("\r" + " " * 40, end="\r", file=sys.stderr)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(encoder: str, rounds: int, largest: int) -> dict[str, Any]:
    """Measure all figures, by variant and mixer."""
    sizes = (SIZE, *(size for size in LARGER if size <= largest))
    steps = measure_steps(encoder, rounds)
    forward = measure_forward(encoder, sizes, rounds)
    figures: dict[str, Any] = {"encoder_ms": 1000 * forward["encoder"]}
    for combination in COMBINATIONS:
        name = "_".join(combination)
        alone = forward[f"{name}_{SIZE}"]
        figures[name] = {
            "forward_ms": 1000 * alone,
            "forward_over_encoder": alone / forward["encoder"],
            "step_s_per_image": steps[name],
            **{
                f"cost_per_pixel_{size}_over_{SIZE}": forward[f"{name}_{size}"]
                / alone
                / (size / SIZE) ** 2
                for size in sizes[1:]
            },
        }
    return figures


def main() -> None:
    """Measure, print a table, and write it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--largest", type=int, default=LARGER[-1], help="of the sizes in pixels")
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    figures = measure(arguments.encoder, arguments.rounds, arguments.largest)
    print(f"encoder {figures['encoder_ms']:.1f} ms")
    for name, values in figures.items():
        if isinstance(values, dict):
            columns = "  ".join(f"{key} {value:.4g}" for key, value in values.items())
            print(f"{name:10} {columns}")
    if arguments.json:
        setup = {"size": SIZE, "encoder": arguments.encoder, "batch": BATCH}
        setup |= {"rounds": arguments.rounds}
        record = {**figures, "setup": setup, "machine": machine()}
        write_text(arguments.json, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    show_progress()
    main()
