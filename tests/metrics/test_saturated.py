"""AU-sPRO against its definition, threshold by threshold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from mambaad.metrics.pixel import au_pro
from mambaad.metrics.saturated import SaturatedOverlap


def by_definition(maps, regions, limit: float) -> float:
    """The curve's points at every threshold, joined by straight lines, as the paper has it."""
    normal = [
        ~np.any([r for r, _ in of] or [np.zeros(m.shape, bool)], axis=0)
        for m, of in zip(maps, regions, strict=True)
    ]
    points = [(0.0, 0.0)]
    for threshold in sorted({float(v) for m in maps for v in m.ravel()}, reverse=True):
        false = sum((m >= threshold)[n].sum() for m, n in zip(maps, normal, strict=True))
        found = [
            min((m >= threshold)[r].sum() / s, 1)
            for m, of in zip(maps, regions, strict=True)
            for r, s in of
        ]
        points.append((false / sum(n.sum() for n in normal), float(np.mean(found))))
    x, y = np.array(points).T
    inside = x < limit
    x = np.append(x[inside], limit)
    y = np.append(y[inside], np.interp(limit, *np.array(points).T))
    return float(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2) / limit)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_against_the_definition(seed: int, limit: float) -> None:
    random = np.random.default_rng(seed)
    maps = random.normal(size=(4, 9, 11)).astype(np.float32)
    if seed % 3 == 0:
        maps = np.round(maps, 1)  # ties
    regions = []
    overlap = SaturatedOverlap()
    for anomaly_map in maps:
        of = []
        for _ in range(random.integers(0, 3)):  # they may overlap
            region = np.zeros((9, 11), bool)
            row, column = random.integers(0, 6, 2)
            region[row : row + 3, column : column + 4] = True
            of.append((region, float(random.integers(1, 13))))
            anomaly_map[region] += 1
        regions.append(of)
        overlap.add(anomaly_map, of)
    assert overlap.area(limit) == pytest.approx(by_definition(maps, regions, limit), abs=1e-9)


def test_with_the_regions_areas_it_is_au_pro() -> None:
    random = np.random.default_rng(0)
    maps = random.normal(size=(5, 12, 12)).astype(np.float32)
    masks = random.random((5, 12, 12)) < 0.15
    overlap = SaturatedOverlap()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        regions, count = label(mask, np.ones((3, 3)))
        parts = [regions == i for i in range(1, count + 1)]
        overlap.add(anomaly_map, [(part, float(part.sum())) for part in parts])
    assert overlap.area(0.3) == pytest.approx(au_pro(maps, masks), abs=1e-9)


def test_a_saturated_region_counts_as_found() -> None:
    anomaly_map = np.zeros((4, 5), np.float32)
    region = np.zeros((4, 5), bool)
    region[1, :4] = True
    anomaly_map[1, :2] = 1  # half of it
    half, whole = SaturatedOverlap(), SaturatedOverlap()
    half.add(anomaly_map, [(region, 2.0)])
    whole.add(anomaly_map, [(region, 4.0)])
    assert half.area(0.05) == pytest.approx(1)
    assert whole.area(0.05) == pytest.approx(0.5 + 0.5 * 0.05 / 2)


def test_undefined() -> None:
    overlap = SaturatedOverlap()
    assert overlap.area(0.05) is None
    overlap.add(np.zeros((2, 2), np.float32), [])
    overlap.add(np.zeros((2, 2), np.float32), [(np.zeros((2, 2), bool), 1.0)])
    assert overlap.area(0.05) is None
