import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from mambaad.inspection.overlay import draw_outlines, heatmap_layer, heatmap_overlay, outline_layer

GREY = np.full((40, 60, 3), 128, np.uint8)


def test_low_places_show_the_image_unchanged():
    below = np.full((10, 15), 0.2, np.float32)
    assert np.array_equal(heatmap_overlay(GREY, below, (0.2, 0.8)), GREY)
    assert np.array_equal(heatmap_overlay(GREY, below - 1, (0.2, 0.8)), GREY)


def test_a_defect_is_drawn_where_it_is():
    anomaly_map = np.zeros((40, 60), np.float32)
    anomaly_map[10:20, 30:40] = 1
    drawn = heatmap_overlay(GREY, anomaly_map, (0.0, 1.0))
    changed = (drawn != GREY).any(axis=2)
    assert np.array_equal(changed, anomaly_map > 0)


def test_the_map_is_resized_to_the_image():
    anomaly_map = np.zeros((4, 6), np.float32)
    anomaly_map[:, 3:] = 1
    drawn = heatmap_overlay(GREY, anomaly_map, (0.0, 1.0))
    assert drawn.shape == GREY.shape
    assert np.array_equal(drawn[:, :20], GREY[:, :20])
    assert not np.array_equal(drawn[:, 45:], GREY[:, 45:])


@pytest.mark.parametrize("background", [0, 128])
def test_more_anomalous_is_brighter(background):
    # In greyscale too, so that it can be read without telling colours apart.
    image = np.full((1, 64, 3), background, np.uint8)
    anomaly_map = np.linspace(0, 1, 64, dtype=np.float32)[None]
    brightness = heatmap_overlay(image, anomaly_map, (0.0, 1.0))[0] @ [0.299, 0.587, 0.114]
    if background == 0:
        assert (np.diff(brightness) > -1).all()
    assert brightness[-1] > brightness[0] + 50


def test_bands_of_rows_are_drawn_as_the_whole(monkeypatch):
    random = np.random.default_rng(4)
    image = random.integers(0, 256, (50, 33, 3), dtype=np.uint8)
    anomaly_map = random.random((16, 16), dtype=np.float32)
    whole = heatmap_overlay(image, anomaly_map, (0.1, 0.9))
    monkeypatch.setattr("mambaad.inspection.overlay._BAND", 100)
    assert np.array_equal(heatmap_overlay(image, anomaly_map, (0.1, 0.9)), whole)


@pytest.mark.parametrize("side", [40, 500])
def test_outlines_are_a_dilation_without_the_region(side):
    mask = np.random.default_rng(1).random((20, 20)) < 0.03
    image = np.full((side, side + 10, 3), 7, np.uint8)
    inside = Image.fromarray(mask).resize((side + 10, side), Image.Resampling.NEAREST)
    inside = np.asarray(inside)
    square = np.ones((3, 3), bool)
    around = binary_dilation(inside, square, iterations=max(round(side / 200), 1))
    changed = (draw_outlines(image, mask) != image).any(axis=2)
    assert np.array_equal(changed, around & ~inside)


def test_a_layer_of_outlines_hides_nothing_within():
    mask = np.zeros((10, 10), bool)
    mask[2:5, 3:6] = True
    layer = outline_layer(mask, (100, 200), (1, 2, 3))
    drawn = layer[..., 3] > 0
    square = np.zeros((100, 200), bool)
    square[20:50, 60:120] = True
    assert np.array_equal(drawn, binary_dilation(square, np.ones((3, 3))) & ~square)
    assert (layer[drawn] == (1, 2, 3, 255)).all()
    assert not layer[~drawn].any()


def test_a_layer_laid_over_the_image_gives_the_overlay():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    anomaly_map = random.random((40, 60), dtype=np.float32)
    layer = Image.fromarray(heatmap_layer(anomaly_map, (0.2, 0.8)))
    laid = Image.alpha_composite(Image.fromarray(image).convert("RGBA"), layer).convert("RGB")
    expected = heatmap_overlay(image, anomaly_map, (0.2, 0.8))
    assert np.abs(np.asarray(laid, int) - expected.astype(int)).max() <= 2
