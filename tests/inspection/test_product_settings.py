import numpy as np
import pytest
from PIL import Image

from mambaad.errors import ConfigError, DataError
from mambaad.inspection.product_settings import read_product_settings

PRODUCTS, SIZE = ("bolt", "nut", "01"), (32, 64)


@pytest.fixture
def given(tmp_path):
    mask = np.zeros((64, 128), np.uint8)
    mask[:, :64] = 255
    Image.fromarray(mask).save(tmp_path / "left.png")
    Image.fromarray(mask.T.copy()).save(tmp_path / "top.png")
    Image.fromarray(np.zeros((64, 128), np.uint8)).save(tmp_path / "black.png")
    Image.fromarray(np.full((64, 128), 255, np.uint8)).save(tmp_path / "white.png")
    Image.fromarray(mask // 255).save(tmp_path / "labels.png")  # 0 and 1
    Image.fromarray(mask).save(tmp_path / "left.jpg")
    Image.fromarray(mask > 0).save(tmp_path / "bits.png")
    Image.fromarray(mask.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    edges = mask.copy()
    edges[:, 63:65] = (160, 90)  # as smoothing leaves them
    Image.fromarray(edges).save(tmp_path / "edges.png")
    edges[:, 64:71] = 90
    Image.fromarray(edges).save(tmp_path / "grey.png")
    spot = np.zeros((64, 128), np.uint8)
    spot[2, 4] = 255  # the map's pixels are read from odd rows and columns
    Image.fromarray(spot).save(tmp_path / "spot.png")
    colours = Image.fromarray(np.repeat(mask[..., None], 3, axis=2))
    for alpha, file in ((255, "opaque.png"), (0, "transparent.png")):
        colours.putalpha(Image.fromarray(np.where(mask > 0, 255, alpha).astype(np.uint8)))
        colours.save(tmp_path / file)

    def read(text):
        (tmp_path / "products.yaml").write_text(text)
        return read_product_settings(tmp_path / "products.yaml", PRODUCTS, SIZE)

    return read


def test_a_place_to_ignore_that_is_smaller_than_the_maps_pixels_keeps_one(given):
    inspected = given("bolt: {ignore: spot.png}")["bolt"].inspected
    assert np.argwhere(~inspected).tolist() == [[1, 2]]


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


def test_a_class_whose_name_is_a_number(given):
    assert given("01: {min_area_px: 3}")["01"].min_area_px == 3
    assert given("'01': {min_area_px: 3}")["01"].min_area_px == 3


def test_settings_may_be_shared(given):
    settings = given("bolt: &all {mm_per_px: 1, min_area_px: 3}\nnut: {<<: *all, mm_per_px: 2}")
    assert (settings["nut"].mm_per_px, settings["nut"].min_area_px) == (2, 3)


@pytest.mark.parametrize("name", ["left.jpg", "opaque.png", "bits.png", "deep.png", "edges.png"])
def test_masks_of_other_kinds_mean_the_same(given, name):
    ours = given(f"bolt: {{region_of_interest: {name}}}")["bolt"].inspected
    theirs = given("bolt: {region_of_interest: left.png}")["bolt"].inspected
    assert np.array_equal(ours, theirs)


def test_a_class_with_nothing_said(given):
    assert given("bolt:\n")["bolt"].min_area_px == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1, 2]", "expected a mapping of classes, got list"),
        ("bolt: {", "line 1: while parsing a flow node"),
        ("washer: {}", "no class 'washer'; choose from bolt, nut"),
        ("bolt: {mm_per_px: 0}", r"bolt\.mm_per_px: input should be greater than or equal"),
        ("bolt: {area: 3}", r"bolt\.area: there is no such field"),
        ("bolt: 3", "bolt: input should be"),
        ("bolt: 0", "bolt: input should be"),
        ("bolt: []", "bolt: input should be"),
        ("bolt: {mm_per_px: .nan}", r"line 1: expected finite numbers, got \.nan"),
        ("bolt: {mm_per_px: true}", r"bolt\.mm_per_px: input should be a number, got True"),
        ("bolt: {mm_per_px: 1.0e-7}", r"bolt\.mm_per_px: input should be greater"),
        ("bolt: {mm_per_px: 1001}", r"bolt\.mm_per_px: input should be less"),
        ("bolt: {min_area_px: 'inf'}", r"bolt\.min_area_px: input should be a finite"),
        ("bolt: {min_area_px: -1}", r"bolt\.min_area_px: input should be"),
        (
            "bolt: {mm_per_px: 1, min_area_mm2: 1.0e+30}",
            r"bolt\.min_area_mm2: input should be less",
        ),
        (
            "bolt: {mm_per_px: 2001-99-99}",
            r"bolt\.mm_per_px: input should be a valid number.*got '2001-99-99'",
        ),
        ("[" * 5000, "64 levels"),
        ("bolt: {mm_per_px: 1}\nnut: {}\nbolt: {}", "line 3: 'bolt' is given twice; keep one"),
        ("bolt: {mm_per_px: 1, mm_per_px: 2}", "'mm_per_px' is given twice"),
        ("1: {}", "no class '1'; choose from bolt, nut, 01"),
        ("bolt: {min_area_mm2: 1}", "bolt: min_area_mm2 needs mm_per_px"),
        ("bolt: {mm_per_px: 1, min_area_mm2: 1, min_area_px: 1}", "exclude each other"),
        ("bolt: {region_of_interest: black.png}", r"black\.png has no white pixels"),
        ("bolt: {ignore: black.png}", r"black\.png has no white pixels"),
        ("bolt: {ignore: white.png}", "no part of the image is inspected"),
        ("bolt: {ignore: grey.png}", r"grey\.png is neither black nor white in 6% of its pixels"),
        ("bolt: {ignore: labels.png}", r"labels\.png has no white pixels"),
        (
            "bolt: {region_of_interest: transparent.png}",
            r"transparent\.png is transparent in places",
        ),
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
