"""How far an exported graph's values lie from mambaad's own, on images made for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from mambaad.artifacts.export_folder import RUNTIMES, ExportPrecision, Target
from mambaad.errors import ConfigError
from mambaad.inference.engine import Engine, Observation
from mambaad.inference.exported.engine import Session
from mambaad.inference.exported.one_line import one_line

CLOSE = 1e-5
"""How far values in float32 may lie apart; where they are above 1, times the largest."""
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
        reference: the model in float32; if it keeps evidence, that is compared too.
        target, precision: of the export.
        images: at their size; they are its first two for the batch.

    Returns:
        The number of ``images``, and the largest difference of ``maps``, ``scores``,
        ``distances``, ``scale_maps`` and ``embedding``.

    Raises:
        ConfigError: the values differ by more than the precision explains, or the runtime fails.
    """
    expected = reference.observe(images)
    largest = dict.fromkeys(("maps", "scores", "distances", "scale_maps", "embedding"), 0.0)
    batches = [images[i : i + 1] for i in range(len(images))] + [images[:2]]
    firsts = [*range(len(images)), 0]
    for batch, first in zip(batches, firsts, strict=True):
        found = _run(session, target, batch)
        for i in range(len(batch)):
            far = _differences(found, i, expected[first + i])
            # Of NumPy, as it keeps a NaN.
            largest = {name: float(np.maximum(value, far[name])) for name, value in largest.items()}
    limits = _limits(expected, precision)
    # Written so that a NaN is refused.
    if wrong := [name for name, most in limits.items() if not largest[name] <= most]:
        far_apart = ", ".join(
            f"{name.replace('_', ' ')} differ by {largest[name]:.2g}, expected at most "
            f"{limits[name]:.2g}"
            for name in wrong
        )
        raise ConfigError(
            f"{RUNTIMES[target]} computes other values than mambaad: {far_apart}; nothing was "
            "exported, choose another --to or --precision"
        )
    return {"images": float(len(images)), **largest}


def _run(session: Session, target: Target, images: np.ndarray) -> Mapping[str, np.ndarray]:
    try:
        return session.run(images)
    except MemoryError:
        raise
    except Exception as error:  # every runtime has errors of its own
        raise ConfigError(
            f"{RUNTIMES[target]} cannot run the exported model ({one_line(error)}); nothing was "
            "exported, choose another --to or --precision"
        ) from error


def _limits(expected: Sequence[Observation], precision: ExportPrecision) -> dict[str, float]:
    """How far values may lie apart, by name."""
    maps = max(float(one.anomaly_map.max()) for one in expected)
    evidence = [one.evidence for one in expected if one.evidence]
    scale_maps = max((float(one.scale_maps.max()) for one in evidence), default=0.0)
    embedding = max((float(np.abs(one.embedding).max()) for one in evidence), default=0.0)
    values = {"maps": maps, "scores": maps, "scale_maps": scale_maps, "embedding": embedding}
    if precision == "float32":
        limits = {name: CLOSE * max(1.0, value) for name, value in values.items()}
        return {**limits, "distances": limits["maps"]}
    # Distances have another scale; they are calibrated again.
    limits = {name: _NONSENSE * value for name, value in values.items()}
    return {**limits, "distances": float(np.finfo(np.float64).max)}


def _differences(
    found: Mapping[str, np.ndarray], index: int, expected: Observation
) -> dict[str, float]:
    maps = [(found["anomaly_map"][index], expected.anomaly_map)]
    if expected.error_map is not None:
        maps.append((found["error_map"][index], expected.error_map))
    distances = np.zeros(0) if "distances" not in found else found["distances"][index]
    evidence = expected.evidence
    return {
        "maps": float(np.max([apart(ours, theirs) for ours, theirs in maps])),
        "scores": abs(float(found["score"][index]) - expected.score),
        "distances": apart(distances, expected.distances),
        "scale_maps": apart(found["scale_maps"][index], evidence.scale_maps) if evidence else 0.0,
        "embedding": apart(found["embedding"][index], evidence.embedding) if evidence else 0.0,
    }


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of two arrays; infinite if their shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0))
