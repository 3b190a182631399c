import numpy as np
import pytest
from skimage.measure import label, regionprops
from sklearn.metrics import auc

from mambaad.metrics.ader_paper import ader_pixel_metrics
from mambaad.metrics.pixel import pixel_metrics
from tests.metrics.test_pixel import class_of_images


def published_au_pro(maps, masks):
    """The usual loop over 100 thresholds."""
    low, high = maps.min(), maps.max()
    rates, overlaps = [], []
    for threshold in [low + (high - low) * i / 100 for i in range(100)]:
        above = maps > threshold
        overlap = [
            above[i][tuple(region.coords.T)].mean()
            for i, mask in enumerate(masks)
            for region in regionprops(label(mask))
        ]
        overlaps.append(np.mean(overlap))
        rates.append(above[~masks].mean())
    rates, overlaps = np.array(rates), np.array(overlaps)
    overlaps, rates = overlaps[rates < 0.3], rates[rates < 0.3]
    return auc((rates - rates.min()) / (rates.max() - rates.min()), overlaps)


@pytest.mark.parametrize("seed", range(4))
def test_au_pro_over_100_thresholds(seed):
    maps, masks = class_of_images(seed)
    maps = maps.astype(np.float64)
    value = ader_pixel_metrics(maps, masks)["pixel_aupro"]
    assert value == pytest.approx(published_au_pro(maps, masks), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_f1_over_21_thresholds_of_the_scaled_map(seed):
    maps, masks = class_of_images(seed)
    scaled = (maps.astype(np.float64) - maps.min()) / (maps.max() - maps.min())
    best = 0
    for threshold in np.arange(21) / 20:
        above = scaled > threshold
        best = max(best, 2 * (above & masks).sum() / (above.sum() + masks.sum()))
    assert ader_pixel_metrics(maps, masks)["pixel_f1_max"] == pytest.approx(best, abs=1e-4)


def test_f1_of_a_constant_map_is_0():
    _, masks = class_of_images(0)
    assert ader_pixel_metrics(np.full(masks.shape, 0.3, np.float32), masks)["pixel_f1_max"] == 0


def test_f1_of_a_half_clipped_map_counts_what_is_strictly_above():
    # Scores at the top value are above 20 of the 21 thresholds, those at the lowest above none.
    maps, masks = class_of_images(1)
    clipped = np.clip(maps, np.median(maps), None)
    scaled = (clipped - clipped.min()) / (clipped.max() - clipped.min())
    counts = [
        ((scaled > t) & masks).sum() * 2 / ((scaled > t).sum() + masks.sum())
        for t in np.arange(21) / 20
    ]
    found = ader_pixel_metrics(clipped, masks)["pixel_f1_max"]
    assert found == pytest.approx(max(counts), abs=1e-4)


def test_area_and_precision_are_those_of_the_exact_protocol():
    maps, masks = class_of_images(5)
    for name in ("pixel_auroc", "pixel_ap"):
        assert ader_pixel_metrics(maps, masks)[name] == pixel_metrics(maps, masks)[name]


def test_without_defects_nothing_is_defined():
    maps, masks = class_of_images(0)
    assert set(ader_pixel_metrics(maps, np.zeros_like(masks)).values()) == {None}
