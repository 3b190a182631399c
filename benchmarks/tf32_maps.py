"""What TF32 would change in a run's anomaly maps, computed on a CPU.

    python benchmarks/tf32_maps.py RUN DATA [--images N] [--json FILE]

TF32 rounds both factors of each product to 10 bits of mantissa, and sums in float32. Here the
inputs of convolutions, or also of the other matrix products, are rounded so, to the nearest even;
the sums are float32's. Compared are about N test images of each class, evenly spaced.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mambaad.artifacts.run_folder import read_config, read_data_summary
from mambaad.artifacts.snapshot import opened
from mambaad.data.checks import read_checked
from mambaad.data.read_ahead import read_batches
from mambaad.errors import MambaADError
from mambaad.files import check_writable, write_text
from mambaad.inference.weights import load_model
from mambaad.metrics.ranking import roc_auc
from mambaad.models import projection
from mambaad.models.normalise import normalise
from mambaad.models.scoring import measure

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

CONVOLUTIONS: tuple[Callable[..., Any], ...] = (F.conv2d, F.conv_transpose2d)
PRODUCTS = (F.linear, torch.matmul, torch.bmm, torch.Tensor.matmul)


def round_to_tf32(x: torch.Tensor) -> torch.Tensor:
    """Round float32 to 10 bits of mantissa, ties to even."""
    bits = x.contiguous().view(torch.int32)
    half = 0xFFF + ((bits >> 13) & 1)
    return ((bits + half) & ~0x1FFF).view(torch.float32)


class TF32(TorchFunctionMode):
    """Rounds the two factors of some functions."""

    def __init__(self, functions: tuple[Callable[..., Any], ...]) -> None:
        super().__init__()
        self.functions = functions

    def __torch_function__(self, function: Any, types: Any, given: Any = (), named: Any = None):
        if function in self.functions:
            given = [round_to_tf32(x) if _is_float32(x) else x for x in given[:2]] + [*given[2:]]
        return function(*given, **(named or {}))


def _is_float32(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype == torch.float32


@torch.inference_mode()
def maps_of(run: Path, samples: Any, functions: tuple[Callable[..., Any], ...]) -> np.ndarray:
    with opened(run) as trained:
        model, size = load_model(trained), read_config(trained).size
    found = []
    for batch in read_batches(samples, size, 1):
        with TF32(functions):
            found_maps = model(normalise(torch.from_numpy(batch.pixels)))
        found.append(measure(model, found_maps, size)[0].numpy())
    return np.concatenate(found)


def main() -> None:
    projection._HAS_ONEDNN = False  # linear maps as on a GPU: no convolutions
    parser = argparse.ArgumentParser(description="TF32's maps; see the top of the file.")
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    with opened(arguments.run) as trained:
        names = tuple(read_data_summary(trained)["classes"])
    classes = read_checked(arguments.data, names)
    samples = [s for c in classes for s in c.test[:: max(len(c.test) // arguments.images, 1)]]
    defective = np.array([s.is_defective for s in samples])
    exact = maps_of(arguments.run, samples, ())
    scores = exact.max((1, 2))
    results: dict[str, Any] = {
        "images": len(samples),
        "classes": [c.name for c in classes],
        "image_auroc": roc_auc(scores, defective),
    }
    for name, functions in {
        "convolutions": CONVOLUTIONS,
        "convolutions and products": CONVOLUTIONS + PRODUCTS,
    }.items():
        maps = maps_of(arguments.run, samples, functions)
        moved = np.abs(maps.max((1, 2)) - scores)
        results[name] = {
            "image_auroc": roc_auc(maps.max((1, 2)), defective),
            "score_moves_of_its_value_median": float(np.median(moved / scores)),
            "score_moves_of_its_value_most": float((moved / scores).max()),
            "score_moves_of_good_parts_deviation_most": float(
                moved.max() / scores[~defective].std()
            ),
            "map_moves_of_its_largest_most": float(
                (np.abs(maps - exact).max((1, 2)) / scores).max()
            ),
        }
    print(json.dumps(results, indent=2))
    if arguments.json:
        write_text(arguments.json, json.dumps({**results, "machine": machine()}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except MambaADError as error:
        sys.exit(f"tf32_maps: {error}")
