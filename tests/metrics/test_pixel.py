from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from adeval import EvalAccumulator
from skimage.measure import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from mambaad.errors import DataError
from mambaad.metrics.pixel import au_pro, pixel_metrics

# adeval makes all of multiprocessing pickle functions its own way, which breaks those whose types
# are checked while testing.
del ForkingPickler.reducer_override


def class_of_images(seed, images=6, size=48, levels=None):
    """Maps that roughly follow random masks of several blobs; the first images are good."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((images, size, size), dtype=bool)
    for mask in masks[2:]:
        for _ in range(rng.integers(1, 4)):
            y, x = rng.integers(0, size - 2, 2)
            h, w = rng.integers(1, size // 4, 2)
            mask[y : y + h, x : x + w] = True
    maps = rng.random(masks.shape) + 0.6 * masks * rng.random((images, 1, 1))
    if levels:
        maps = np.round(maps * levels) / levels
    return maps.astype(np.float32), masks


def brute_force_au_pro(maps, masks, limit=0.3):
    """Every threshold in turn, every region in turn, as the definition reads."""
    regions = []
    for i, mask in enumerate(masks):
        ids = label(mask, connectivity=2)
        regions += [(i, ids == r) for r in range(1, ids.max() + 1)]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        above = maps >= threshold
        rates.append(above[~masks].mean())
        overlaps.append(np.mean([above[i][region].mean() for i, region in regions]))
    area = 0.0
    for (x0, y0), (x1, y1) in zip(
        zip(rates, overlaps, strict=True), zip(rates[1:], overlaps[1:], strict=True), strict=False
    ):
        if x0 >= limit:
            break
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


@pytest.mark.parametrize("levels", [3, 20, 200])
@pytest.mark.parametrize("seed", range(3))
def test_au_pro_is_its_definition(seed, levels):
    maps, masks = class_of_images(seed, levels=levels)
    assert au_pro(maps, masks) == pytest.approx(brute_force_au_pro(maps, masks), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_au_pro_agrees_with_adeval(seed, monkeypatch):
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)  # adeval calls the old name
    maps, masks = class_of_images(seed, images=12, size=64)
    accumulator = EvalAccumulator(0.0, 2.0, float(maps.min()), float(maps.max()), nstrips=1000)
    accumulator.add_anomap_batch(maps, masks.astype(np.uint8))
    assert au_pro(maps, masks) == pytest.approx(float(accumulator._aupro()), abs=1e-3)


@pytest.mark.parametrize("levels", [2, 20, None])
@pytest.mark.parametrize("seed", range(3))
def test_the_others_are_scikit_learns(seed, levels):
    maps, masks = class_of_images(seed, levels=levels)
    values = pixel_metrics(maps, masks)
    labels, scores = masks.ravel(), maps.ravel()
    precision, recall, _ = precision_recall_curve(labels, scores)
    with np.errstate(invalid="ignore"):
        f1 = np.nanmax(2 * precision * recall / (precision + recall))
    assert values["pixel_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert values["pixel_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    assert values["pixel_f1_max"] == pytest.approx(f1, abs=1e-9)


def test_small_regions_count_as_much_as_large_ones():
    masks = np.zeros((1, 8, 8), dtype=bool)
    masks[0, 0, 0] = True  # a region of one pixel, at the border
    masks[0, 4:, 4:] = True  # one of 16
    found_small = np.zeros((1, 8, 8), dtype=np.float32)
    found_small[0, 0, 0] = 1
    # Half of the regions from a rate of 0 on, rising to all of them at a rate of 1.
    assert au_pro(found_small, masks) == pytest.approx(0.5 + 0.5 * 0.15)


def test_pixels_that_touch_at_a_corner_are_one_region():
    masks = np.zeros((1, 6, 6), dtype=bool)
    masks[0, 1, 1] = masks[0, 2, 2] = True
    masks[0, 5, 5] = True
    maps = np.zeros((1, 6, 6), dtype=np.float32)
    maps[0, 5, 5] = 1
    assert au_pro(maps, masks) == pytest.approx(0.5 + 0.5 * 0.15)


def test_perfect_maps_score_one():
    _, masks = class_of_images(0)
    values = pixel_metrics(masks.astype(np.float32), masks)
    assert list(values.values()) == pytest.approx([1, 1, 1, 1])


@pytest.mark.parametrize("value", [False, True])
def test_without_both_kinds_of_pixels_nothing_is_defined(value):
    masks = np.full((2, 4, 4), value)
    assert set(pixel_metrics(np.zeros((2, 4, 4), np.float32), masks).values()) == {None}


def test_nan_is_refused():
    maps, masks = class_of_images(0)
    maps[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="NaN"):
        pixel_metrics(maps, masks)
