import numpy as np
import pytest
from PIL import Image

from mambaad.errors import ConfigError, DataError
from mambaad.inspection.settings import read_product_settings

PRODUCTS, SIZE = ("bolt", "nut"), (32, 64)


@pytest.fixture
def given(tmp_path):
    mask = np.zeros((64, 128), np.uint8)
    mask[:, :64] = 255
    Image.fromarray(mask).save(tmp_path / "left.png")
    Image.fromarray(mask.T.copy()).save(tmp_path / "top.png")
    Image.fromarray(np.zeros((64, 128), np.uint8)).save(tmp_path / "black.png")

    def read(text):
        (tmp_path / "products.yaml").write_text(text)
        return read_product_settings(tmp_path / "products.yaml", PRODUCTS, SIZE)

    return read


def test_scale_area_and_masks(given):
    settings = given(
        "bolt: {mm_per_px: 0.1, min_area_mm2: 2, region_of_interest: left.png, ignore: top.png}\n"
        "nut: {min_area_px: 7}\n"
    )
    bolt, nut = settings["bolt"], settings["nut"]
    assert bolt.mm_per_px == 0.1
    assert bolt.min_area_px == pytest.approx(200)
    expected = np.zeros(SIZE, dtype=bool)
    expected[16:, :32] = True
    assert np.array_equal(bolt.inspected, expected)
    assert (nut.mm_per_px, nut.min_area_px, nut.inspected) == (None, 7, None)


def test_a_class_with_nothing_said(given):
    assert given("bolt:\n")["bolt"].min_area_px == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1, 2]", "not a mapping of classes"),
        ("bolt: {", "cannot be read"),
        ("washer: {}", "no class 'washer'; choose from bolt, nut"),
        ("bolt: {mm_per_px: 0}", r"bolt\.mm_per_px: Input should be greater than 0"),
        ("bolt: {area: 3}", r"bolt\.area: Extra inputs"),
        ("bolt: 3", "bolt: Input should be"),
        ("bolt: {min_area_mm2: 1}", "bolt: min_area_mm2 needs mm_per_px"),
        ("bolt: {mm_per_px: 1, min_area_mm2: 1, min_area_px: 1}", "exclude each other"),
        ("bolt: {region_of_interest: black.png}", "nothing of the image is inspected"),
    ],
)
def test_what_is_refused(given, text, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        given(text)
    assert "--products" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mask_that_is_not_there(given):
    with pytest.raises(DataError, match=r"absent\.png"):
        given("bolt: {ignore: absent.png}")
