import numpy as np
import pytest

from mambaad.inspection.regions import find_regions


@pytest.fixture
def anomaly_map():
    m = np.zeros((20, 40), np.float32)
    m[2:6, 3:9] = 1.0  # 4 x 6, peak 3 at (5, 4)
    m[4, 5] = 3.0
    m[12:14, 20:22] = 1.0  # 2 x 2, peak 5 at the corner that touches another
    m[14, 22] = 5.0
    m[18, 38] = 1.5  # low: no peak above 2
    return m


def test_boxes_areas_and_peaks_in_pixels_of_the_image(anomaly_map):
    # The image is five times as high and twice as wide as the map.
    regions, mask = find_regions(anomaly_map, anomaly_map, 0.5, 2.0, (100, 80), mm_per_px=0.1)
    worst, other = regions
    assert worst.peak == 5.0
    assert worst.box == (40, 60, 46, 75)
    assert worst.area_px == pytest.approx(5 * 10)
    assert worst.peak_at == (45, 72)
    assert other.box == (6, 10, 18, 30)
    assert other.area_px == pytest.approx(24 * 10)
    assert other.area_mm2 == pytest.approx(2.4)
    assert other.peak_at == (11, 22)
    expected = anomaly_map >= 1
    expected[18, 38] = False
    assert np.array_equal(mask, expected)


def test_small_regions_are_left_out(anomaly_map):
    (only,), mask = find_regions(anomaly_map, anomaly_map, 0.5, 2.0, (20, 40), min_area=6)
    assert only.peak == 3.0
    assert only.area_mm2 is None
    assert mask.sum() == 24


def test_none_where_no_peak_is_high(anomaly_map):
    regions, mask = find_regions(anomaly_map, anomaly_map, 0.5, 5.0, (20, 40))
    assert regions == ()
    assert not mask.any()


def test_one_map_gives_the_outlines_and_another_the_peaks(anomaly_map):
    scored_map = anomaly_map / 2
    scored_map[18, 38] = 0  # and nothing of the place with a peak of 1.5
    (worst, other), mask = find_regions(anomaly_map, scored_map, 0.5, 1.4, (20, 40))
    assert (worst.peak, other.peak) == (2.5, 1.5)
    assert (worst.area_px, other.area_px) == (5, 24)  # as of the first map
    assert not mask[18, 38]
    regions, _ = find_regions(anomaly_map, scored_map, 0.5, 2.5, (20, 40))
    assert regions == ()


def test_an_outline_above_the_peak_threshold_is_not_used(anomaly_map):
    regions, mask = find_regions(anomaly_map, anomaly_map, 4.0, 2.0, (20, 40))
    assert [region.area_px for region in regions] == [1, 1]
    assert mask.sum() == 2


def test_places_that_are_not_inspected(anomaly_map):
    anomaly_map[:10] = -np.inf
    (only,), _ = find_regions(anomaly_map, anomaly_map, 0.5, 2.0, (20, 40))
    assert only.peak == 5.0


@pytest.mark.parametrize("shape", [(20, 40), (7, 11), (100, 80), (33, 47), (1, 1)])
def test_a_box_is_never_empty_and_holds_its_peak(shape):
    for row, column in np.ndindex(20, 40):
        m = np.zeros((20, 40), np.float32)
        m[row, column] = 3.0
        (region,), _ = find_regions(m, m, 0.5, 2.0, shape)
        left, top, right, bottom = region.box
        x, y = region.peak_at
        assert 0 <= left <= x < right <= shape[1]
        assert 0 <= top <= y < bottom <= shape[0]
        assert {type(value) for value in (*region.box, *region.peak_at)} == {int}
