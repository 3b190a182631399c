"""How well the encoder separates products from each other and from unknown ones.

    python benchmarks/products.py DATA --encoder-weights FILE --json FILE

With the embeddings of ``mambaad.models.embedding`` and the rule of
``mambaad.inspection.calibration``, it counts test images named wrong, test images called unknown,
and, with each class left out in turn, the share of it called unknown, at several limits between a
class and its nearest neighbour.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mambaad
from mambaad.data.read_ahead import read_batches
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.files import check_writable, write_text
from mambaad.inspection.calibration import UNKNOWN
from mambaad.models.embedding import embedding
from mambaad.models.encoder import Encoder
from mambaad.models.normalise import normalise
from mambaad.types import Sample

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

FRACTIONS = (0.2, 0.3, UNKNOWN, 0.5, 0.6)


@torch.inference_mode()
def embeddings(encoder: Encoder, samples: Sequence[Sample], size: int) -> np.ndarray:
    batches = read_batches(samples, (size, size), 8)
    return torch.cat(
        [embedding(encoder(normalise(torch.from_numpy(batch.pixels)))) for batch in batches]
    ).numpy()


def distances(embedded: np.ndarray, means: np.ndarray) -> np.ndarray:
    return np.linalg.norm(embedded[:, None] - means, axis=2)


def unknown(
    embedded: np.ndarray, good: Sequence[np.ndarray], means: np.ndarray, fraction: float
) -> np.ndarray:
    """Tell for each image whether it is of none of the classes whose good parts are given."""
    limits = []
    for i in range(len(good)):
        own = distances(good[i], means[i : i + 1]).max()
        others = [distances(g, means[i : i + 1]).min() for j, g in enumerate(good) if j != i]
        limits.append(own + fraction * max(min(others) - own, 0.0))
    return (distances(embedded, means) > limits).all(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--encoder-weights", required=True, help="a file, or timm")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    check_writable(arguments.json)
    encoder = Encoder(arguments.encoder, arguments.encoder_weights)
    classes = MVTEC.read(arguments.data)
    good = [embeddings(encoder, c.train, arguments.size) for c in classes]
    test = [embeddings(encoder, c.test, arguments.size) for c in classes]
    bad = np.concatenate([[s.is_defective for s in c.test] for c in classes])
    means = np.stack([g.mean(axis=0) for g in good])
    named = np.concatenate([distances(t, means).argmin(axis=1) for t in test])
    true = np.concatenate([np.full(len(t), i) for i, t in enumerate(test)])
    results: dict[str, Any] = {"test_images": len(true), "named_wrong": int((named != true).sum())}
    for fraction in FRACTIONS:
        is_unknown = unknown(np.concatenate(test), good, means, fraction)
        left_out = {}
        for i, c in enumerate(classes):
            rest = [j for j in range(len(classes)) if j != i]
            foreign = np.concatenate([good[i], test[i]])
            is_rejected = unknown(foreign, [good[j] for j in rest], means[rest], fraction)
            left_out[c.name] = float(is_rejected.mean())
        results[f"way {fraction}"] = {
            "good_called_unknown": int(is_unknown[~bad].sum()),
            "of_good": int((~bad).sum()),
            "defective_called_unknown": int(is_unknown[bad].sum()),
            "of_defective": int(bad.sum()),
            "class_left_out_called_unknown": left_out,
        }
    results["encoder"] = arguments.encoder
    print(json.dumps(results, indent=2))
    write_text(arguments.json, json.dumps({**results, "machine": machine()}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"products: {error}")
