import io

import numpy as np
from PIL import Image

from mambaad.report.spool import MapSpool


def spotted(value, side=40):
    found = np.full((side, side), 0.2, np.float32)
    found[10:20, 10:20] = value
    return found


def opacities(spool, usual=None):
    return {
        name: np.asarray(Image.open(io.BytesIO(content)))[..., 3].astype(int)
        for name, content in spool.layers(usual)
    }


def test_the_most_unusual_place_is_seen_however_little_it_is():
    spool = MapSpool()
    spool.add("bolt", "a", spotted(0.21))
    spool.add("bolt", "b", spotted(0.205))
    spool.add("nut", "c", spotted(30.0))  # other classes have their own colours
    drawn = opacities(spool)
    assert drawn["a"][14, 14] > 190
    assert 60 < drawn["b"][14, 14] < 140
    assert drawn["c"][14, 14] > 190
    for layer in drawn.values():
        assert layer[30:, 30:].max() < 10


def test_one_part_far_out_leaves_the_others_visible():
    spool = MapSpool()
    for i in range(40):
        spool.add("bolt", f"{i}", spotted(0.3))
    spool.add("bolt", "far", spotted(100.0))
    assert opacities(spool)["0"][14, 14] > 190


def test_what_is_usual_in_good_parts_is_not_stretched():
    spool = MapSpool()
    spool.add("bolt", "a", spotted(0.21))
    assert opacities(spool, (0.2, 3.2))["a"].max() < 10


def test_large_maps_are_shrunk_and_keep_their_shape():
    spool = MapSpool()
    spool.add("bolt", "wide", np.random.default_rng(0).random((100, 400), np.float32))
    assert opacities(spool)["wide"].shape == (32, 128)


def test_a_map_of_one_value():
    spool = MapSpool()
    spool.add("bolt", "flat", np.zeros((8, 8), np.float32))
    assert opacities(spool)["flat"].max() == 0
