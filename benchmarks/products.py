"""How well the encoder tells products apart, and things that are none of them.

    python benchmarks/products.py DATA --encoder-weights FILE --json FILE

Of the embeddings of ``mambaad.models.prototypes`` and the rule of
``mambaad.inspection.calibration``: test images named wrong; test images called unknown; and, with
each class left out in turn, how much of it is called unknown, at several distances between a class
and its nearest neighbour.
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
from mambaad.data.read_ahead import load_batches
from mambaad.data.readers.mvtec import read_mvtec
from mambaad.data.transforms import Preprocess
from mambaad.files import check_writable, write_text
from mambaad.inspection.calibration import UNKNOWN
from mambaad.models.encoder import Encoder
from mambaad.models.prototypes import embedding
from mambaad.types import Sample

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

WAYS = (0.2, 0.3, UNKNOWN, 0.5, 0.6)


@torch.inference_mode()
def embeddings(encoder: Encoder, samples: Sequence[Sample], size: int) -> np.ndarray:
    batches = load_batches(samples, Preprocess(size, size), 8)
    return torch.cat([embedding(encoder(batch.images)) for batch in batches]).numpy()


def distances(embedded: np.ndarray, means: np.ndarray) -> np.ndarray:
    return np.linalg.norm(embedded[:, None] - means, axis=2)


def unknown(
    embedded: np.ndarray, good: Sequence[np.ndarray], means: np.ndarray, way: float
) -> np.ndarray:
    """Whether each image is of none of the classes whose good parts are given."""
    limits = []
    for i in range(len(good)):
        own = distances(good[i], means[i : i + 1]).max()
        others = [distances(g, means[i : i + 1]).min() for j, g in enumerate(good) if j != i]
        limits.append(own + way * max(min(others) - own, 0.0))
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
    classes = read_mvtec(arguments.data)
    good = [embeddings(encoder, c.train, arguments.size) for c in classes]
    test = [embeddings(encoder, c.test, arguments.size) for c in classes]
    bad = np.concatenate([[s.is_defective for s in c.test] for c in classes])
    means = np.stack([g.mean(axis=0) for g in good])
    named = np.concatenate([distances(t, means).argmin(axis=1) for t in test])
    true = np.concatenate([np.full(len(t), i) for i, t in enumerate(test)])
    found: dict[str, Any] = {"test_images": len(true), "named_wrong": int((named != true).sum())}
    for way in WAYS:
        lost = unknown(np.concatenate(test), good, means, way)
        left_out = {}
        for i, c in enumerate(classes):
            rest = [j for j in range(len(classes)) if j != i]
            foreign = np.concatenate([good[i], test[i]])
            is_found = unknown(foreign, [good[j] for j in rest], means[rest], way)
            left_out[c.name] = float(is_found.mean())
        found[f"way {way}"] = {
            "good_called_unknown": int(lost[~bad].sum()),
            "of_good": int((~bad).sum()),
            "defective_called_unknown": int(lost[bad].sum()),
            "of_defective": int(bad.sum()),
            "class_left_out_called_unknown": left_out,
        }
    found["encoder"] = arguments.encoder
    print(json.dumps(found, indent=2))
    write_text(arguments.json, json.dumps({**found, "machine": machine()}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"products: {error}")
