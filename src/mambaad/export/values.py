"""How far an exported graph's values lie from mambaad's own, on images made for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from mambaad.artifacts.export_folder import RUNTIMES, ExportPrecision, Target
from mambaad.errors import ConfigError
from mambaad.inference.engine import Engine, Observation
from mambaad.inference.exported.engine import Session

CLOSE = 1e-5
"""How far maps, scores and distances in float32 may lie apart; for maps above 1, times their
largest value."""
_NONSENSE = 0.5
"""The same in other precisions, which round: only what is no longer the model is refused."""


def drawn_images(size: tuple[int, int]) -> UInt8[np.ndarray, "b h w 3"]:
    """Draw three images: noise, a gradient with a disc, and coarse blocks."""
    height, width = size
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    gradient = 255 * rows / height * np.ones((1, 1, 3))[..., 0]
    disc = np.hypot(rows - height / 2, columns - width / 3) < min(size) / 4
    shaded = np.stack([gradient, 255 * columns / width, 200 * disc], axis=2)
    blocks = random.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3))
    blocks = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    noise = random.integers(0, 256, (height, width, 3))
    return np.stack([noise, shaded, blocks]).astype(np.uint8)


def check_values(
    session: Session,
    reference: Engine,
    target: Target,
    precision: ExportPrecision,
    images: UInt8[np.ndarray, "b h w 3"],
) -> dict[str, float]:
    """Compare a graph with the model it was made of, image by image and as one batch.

    Args:
        session: the graph in its runtime.
        reference: the model in float32.
        target, precision: of the export.
        images: at their size; they are its first two for the batch.

    Returns:
        The number of ``images``, and the largest difference of ``maps``, ``scores`` and
        ``distances``.

    Raises:
        ConfigError: the values differ by more than the precision explains.
    """
    expected = reference.observe(images)
    largest = {"maps": 0.0, "scores": 0.0, "distances": 0.0}
    batches = [images[i : i + 1] for i in range(len(images))] + [images[:2]]
    firsts = [*range(len(images)), 0]
    for batch, first in zip(batches, firsts, strict=True):
        found = session.run(batch)
        for i in range(len(batch)):
            far = _differences(found, i, expected[first + i])
            largest = {name: float(np.maximum(value, far[name])) for name, value in largest.items()}
    scale = max(1.0, *(float(one.anomaly_map.max()) for one in expected))
    if precision != "float32":
        scale = max(float(one.anomaly_map.max()) for one in expected)
    limit = (CLOSE if precision == "float32" else _NONSENSE) * scale
    # Distances have another scale; those of int8 are calibrated again.
    of_distances = limit if precision == "float32" else float(np.finfo(np.float64).max)
    limits = {"maps": limit, "scores": limit, "distances": of_distances}
    # Written so that a NaN is refused.
    if not all(largest[name] <= most for name, most in limits.items()):
        raise ConfigError(
            f"{RUNTIMES[target]} computes other values than mambaad: maps differ by "
            f"{largest['maps']:.2g}, scores by {largest['scores']:.2g}, distances by "
            f"{largest['distances']:.2g}, expected at most {limit:.2g}; "
            "nothing was exported, choose another --to or --precision"
        )
    return {"images": float(len(images)), **largest}


def _differences(
    found: Mapping[str, np.ndarray], index: int, expected: Observation
) -> dict[str, float]:
    maps = [(found["anomaly_map"][index], expected.anomaly_map)]
    if expected.error_map is not None:
        maps.append((found["error_map"][index], expected.error_map))
    distances = np.zeros(0) if "distances" not in found else found["distances"][index]
    return {
        "maps": float(np.max([_apart(ours, theirs) for ours, theirs in maps])),
        "scores": abs(float(found["score"][index]) - expected.score),
        "distances": _apart(distances, expected.distances),
    }


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0))
