import numpy as np
import pytest

from mambaad.metrics.names import METRICS
from mambaad.metrics.pixel import pixel_metrics
from mambaad.metrics.protocols import ClassMetrics, mean_over_classes
from mambaad.metrics.ranking import roc_auc
from tests.metrics.test_pixel import class_of_images


def collect(protocol, maps, masks, labels, *, has_masks=True):
    metrics = ClassMetrics(protocol, has_masks)
    for anomaly_map, mask, is_defective in zip(maps, masks, labels, strict=True):
        shown = mask if is_defective and has_masks else None
        metrics.update(anomaly_map, float(anomaly_map.max()), bool(is_defective), shown)
    return metrics.compute()


def test_exact_is_the_pure_functions_on_all_images():
    maps, masks = class_of_images(0)
    labels = masks.any((1, 2))
    values = collect("exact", maps, masks, labels)
    assert tuple(values) == METRICS
    assert values["image_auroc"] == roc_auc(maps.max((1, 2)).astype(float), labels)
    for name, value in pixel_metrics(maps, masks).items():
        assert values[name] == value
    assert values["mad"] == pytest.approx(np.mean([values[m] for m in METRICS[:-1]]))


def test_a_class_without_masks_has_image_metrics_only():
    maps, masks = class_of_images(1)
    values = collect("exact", maps, masks, masks.any((1, 2)), has_masks=False)
    assert values["image_ap"] is not None
    assert values["pixel_auroc"] is values["pixel_aupro"] is values["mad"] is None


def test_a_defect_that_vanished_counts_as_good_in_the_published_protocol_only():
    maps, masks = class_of_images(2)
    labels = masks.any((1, 2))
    labels[0] = True  # defective, but nothing of its mask was left
    exact = collect("exact", maps, masks, labels)
    paper = collect("ader-paper", maps, masks, labels)
    assert exact["image_auroc"] == roc_auc(maps.max((1, 2)).astype(float), labels)
    labels[0] = False
    assert paper["image_auroc"] == roc_auc(maps.max((1, 2)).astype(float), labels)


def test_mean_over_classes_leaves_out_what_a_class_does_not_have():
    full = dict.fromkeys(METRICS, 0.8)
    image_only = {
        **dict.fromkeys(METRICS),
        "image_auroc": 0.6,
        "image_ap": 0.6,
        "image_f1_max": 0.6,
    }
    mean = mean_over_classes([full, image_only])
    assert mean["image_auroc"] == pytest.approx(0.7)
    assert mean["pixel_ap"] == pytest.approx(0.8)
    assert mean["mad"] == pytest.approx((3 * 0.7 + 4 * 0.8) / 7)
    assert mean_over_classes([image_only])["mad"] is None
