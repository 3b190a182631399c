import io

import numpy as np
from PIL import Image

from mambaad.inspection.overlay import heatmap_overlay
from mambaad.report.pictures import FOUND, heat_file, image_file, outline_file, shot_inside


def opened(content, kind):
    image = Image.open(io.BytesIO(content))
    assert image.format == kind
    return image


def test_pictures_are_shrunk_and_never_enlarged():
    wide = np.zeros((300, 1500, 3), np.uint8)
    assert opened(image_file(wide), "JPEG").size == (640, 128)
    mask = np.ones((30, 150), bool)
    assert opened(outline_file(mask, (300, 1500)), "PNG").size == (640, 128)
    assert opened(image_file(wide[:50, :80]), "JPEG").size == (80, 50)


def test_the_layer_over_the_photograph_is_the_heatmap():
    rows, columns = np.mgrid[:64, :64]
    image = np.stack([rows * 2, columns * 2, rows + columns], axis=2).astype(np.uint8)
    anomaly_map = np.exp(-((rows - 20) ** 2 + (columns - 40) ** 2) / 200).astype(np.float32)
    layer = opened(heat_file(anomaly_map, (0.1, 0.9)), "WEBP").convert("RGBA")
    laid = Image.alpha_composite(Image.fromarray(image).convert("RGBA"), layer).convert("RGB")
    expected = heatmap_overlay(image, anomaly_map, (0.1, 0.9)).astype(int)
    # WebP loses some; where nothing is coloured, nothing is changed.
    assert np.abs(np.asarray(laid, int) - expected).mean() < 5
    assert np.abs(np.asarray(laid, int) - image)[50:, :20].max() <= 2


def test_outlines_surround_the_region():
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    layer = np.asarray(opened(outline_file(mask, (40, 40)), "PNG"))
    line = layer[..., 3] > 0
    assert line[9, 9:21].all()
    assert not line[10:20, 10:20].any()
    assert (layer[line][:, :3] == FOUND).all()


def test_what_a_picture_does_not_have_is_empty():
    image, low = np.zeros((10, 20, 3), np.uint8), np.zeros((4, 4), np.float32)
    shot = shot_inside(image, low, (0, 1), found=np.zeros((4, 4), bool))
    assert (shot.outline, shot.truth, shot.ratio) == ("", "", 2.0)
    assert shot.image.startswith("data:image/jpeg;base64,")
    assert shot.heat.startswith("data:image/webp;base64,")
