"""Images as a program has them are read exactly as the files that they come from."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mambaad.data.given import check_float_range, given_pixels
from mambaad.data.images import read_image
from mambaad.errors import ConfigError, DataError
from mambaad.types import Reading

pytestmark = pytest.mark.usefixtures("users_checks_only")

AUTO = Reading()
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
ALPHA = np.dstack([RGB, np.full((5, 7), 128, np.uint8)])
CHW = torch.from_numpy(RGB).permute(2, 0, 1)
DEEP = RGB[..., 0].astype(np.uint16) * 257
SUNK = DEEP // 16  # of 12 bits


def encoded(array, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (RGB, {}),
        (np.asfortranarray(RGB), {}),
        (RGB[::-1][::-1], {}),
        (RGB[..., ::-1], {"color": "bgr"}),
        (ALPHA, {}),
        (ALPHA[..., [2, 1, 0, 3]], {"color": "bgr"}),
        (RGB.astype(np.uint16) * 257, {}),
        (RGB.astype(">u2") * 257, {}),
        (RGB.astype(np.int64) * 257, {}),
        (RGB.astype(np.int64), {"bit_depth": 8}),
        (RGB / 255, {"float_range": (0, 1)}),
        ((RGB / 255).astype(np.float32), {"float_range": (0, 1)}),
        (RGB.astype(np.float32), {"float_range": (0, 255)}),
        (CHW, {}),
        (CHW / 255, {}),
        ((CHW / 255).half(), {}),
        ((CHW / 255).bfloat16(), {"within": 1}),  # of 8 bits of mantissa
        ((CHW / 255).double().requires_grad_(), {}),
        (CHW.flip(0), {"color": "bgr"}),
        (CHW * 2.0 - 255, {"float_range": (-255, 255)}),
        (encoded(RGB), {}),
        (bytearray(encoded(RGB)), {}),
        (memoryview(encoded(RGB)), {}),
        (Image.fromarray(RGB), {}),
        (Image.open(io.BytesIO(encoded(RGB))), {}),
        (Image.fromarray(ALPHA), {}),
    ],
)
def test_the_same_pixels_in_any_form(image, options):
    within = options.pop("within", 0)
    reading = Reading(bit_depth=options.pop("bit_depth", None))
    found = given_pixels(image, "image", reading, **options)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - RGB).max() <= within
    assert not np.shares_memory(found, RGB)


@pytest.mark.parametrize(
    "grey",
    [
        RGB[..., 0],
        RGB[..., :1],
        np.dstack([RGB[..., 0], RGB[..., 1]]),  # grey and alpha
        DEEP,
        CHW[0],
        CHW[:1],
        CHW[0] / 255,
        Image.fromarray(RGB[..., 0]),
        Image.fromarray(DEEP),
    ],
)
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_grey_is_repeated(grey, color):
    if isinstance(grey, Image.Image):
        color = "rgb"
    found = given_pixels(grey, "image", AUTO, color=color)
    assert np.array_equal(found, np.repeat(RGB[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("PNG", "L", {}),
        ("PNG", "1", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "LA", {}),
        ("PNG", "I;16", {}),
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {}),
        ("WEBP", "RGB", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "I;16", {}),
        ("TIFF", "F", {"float_range": (0, 255)}),
    ],
)
def test_what_pillow_decodes_is_read_as_its_file(form, mode, options, tmp_path):
    path = tmp_path / "image"
    source = Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    source.save(path, form)
    expected = read_image(path, Reading(**options))
    with Image.open(path) as image:
        assert np.array_equal(given_pixels(image, "image", AUTO, **options), expected)
    with Image.open(path) as image:
        assert np.array_equal(given_pixels(np.asarray(image), "image", AUTO, **options), expected)
    assert np.array_equal(given_pixels(path.read_bytes(), "image", Reading(**options)), expected)


@pytest.mark.parametrize(
    "modes", ["P", "CMYK", "YCbCr", "HSV", "RGBA P", "RGBA PA", "RGBA RGBa", "LA La"]
)
def test_other_modes_of_pillow_are_converted(modes):
    image = Image.new("RGB", (4, 3), (255, 255, 255))
    for mode in modes.split():
        image = image.convert(mode)
    assert (given_pixels(image, "image", AUTO) == 255).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_pillow_image_is_turned_as_its_file(form, orientation, tmp_path):
    path, exif = tmp_path / "image", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(path, form, exif=exif)
    with Image.open(path) as image:
        assert np.array_equal(given_pixels(image, "image", AUTO), read_image(path))


def test_the_bit_depth_of_training_counts():
    assert np.array_equal(
        given_pixels(SUNK, "image", Reading(bit_depth=12))[..., 0], np.rint(SUNK / 4095 * 255)
    )


GIF = io.BytesIO()
Image.new("L", (4, 4)).save(GIF, "GIF", save_all=True, append_images=[Image.new("L", (4, 4), 9)])


@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (None, {}, ConfigError, "cv2.imread gives None for a file that it cannot read"),
        ({"image": RGB}, {}, ConfigError, "image is of type dict, expected a path, bytes of an"),
        (5, {}, ConfigError, "image is of type int, expected a path"),
        (np.float32(5), {}, ConfigError, "image is of type float32"),
        (iter([RGB]), {}, ConfigError, "image is of type list_iterator"),
        (RGB[None], {}, ConfigError, r"of several images give a list: list\(images\)"),
        (CHW[None], {}, ConfigError, r"of several images give a list: list\(images\)"),
        (RGB.transpose(2, 0, 1), {}, ConfigError, r"give image\.transpose\(1, 2, 0\)"),
        (CHW.permute(1, 2, 0), {}, ConfigError, r"give image\.permute\(2, 0, 1\)"),
        (CHW.repeat(2, 1, 1), {}, ConfigError, r"shape \(6, 5, 7\), expected channels x height"),
        (np.zeros((5, 7, 5)), {}, ConfigError, r"has shape \(5, 7, 5\), expected height x width"),
        (np.zeros(5), {}, ConfigError, r"has shape \(5,\), expected height x width"),
        (np.zeros((0, 5, 3), np.uint8), {}, ConfigError, r"has shape \(0, 5, 3\)"),
        (RGB.astype(object), {}, ConfigError, "type object, expected uint8, uint16 or floats"),
        (RGB.astype(complex), {}, ConfigError, "type complex128, expected uint8"),
        (CHW.to_sparse(), {}, ConfigError, "sparse.* expected a plain one"),
        (RGB / 255, {}, ConfigError, r"say which are black and white, such as float_range=\(0, 1"),
        (RGB / 1.0, {"float_range": (0, 1)}, DataError, "expected 0 to 1; give it before it is"),
        (CHW / 50 - 2, {}, DataError, "expected 0 to 1; give it before it is normalised"),
        (RGB * np.nan, {"float_range": (0, 1)}, DataError, "values that are not finite"),
        (SUNK, {}, ConfigError, r"end at \d+: how many bits .* give bit_depth=8, 10, 12, 14 or 16"),
        (RGB.astype(int), {}, ConfigError, r"end at \d+: how many bits .* or uint8$"),
        (RGB.astype(int) - 300, {}, DataError, "has values from -.* expected 0 to 65535"),
        (RGB, {"color": "gbr"}, ConfigError, "color: expected 'rgb' or 'bgr', got 'gbr'"),
        (Image.fromarray(RGB), {"color": "bgr"}, ConfigError, "says itself what its channels are"),
        (encoded(RGB), {"color": "bgr"}, ConfigError, "says itself what its channels are"),
        (b"no image", {}, DataError, "image cannot be read as an image"),
        (b"", {}, DataError, "image cannot be read as an image"),
        (encoded(RGB)[:70], {}, DataError, "image cannot be read as an image"),
        (Image.open(io.BytesIO(encoded(RGB)[:70])), {}, DataError, "Pillow image that cannot be"),
        (Image.open(GIF), {}, DataError, r"has 2 pictures.* give image\.copy\(\)"),
        (Image.new("LAB", (3, 3)), {}, DataError, "CIELAB"),
        (Image.new("RGB", (0, 3)), {}, ConfigError, "is 0 x 3 pixels"),
        (Image.new("F", (3, 3)), {}, ConfigError, "say which are black and white"),
    ],
)
def test_the_rest_is_refused_in_one_line(image, options, error, message):
    with pytest.raises(error, match=message) as raised:
        given_pixels(image, "image", AUTO, **options)
    assert "\n" not in str(raised.value)


def test_too_many_pixels_are_not_decoded():
    for image in (encoded(RGB), Image.open(io.BytesIO(encoded(RGB)))):
        with pytest.raises(DataError, match="more than the 20 that may be read"):
            given_pixels(image, "image", Reading(max_pixels=20))


@pytest.mark.parametrize("bounds", [5, (0,), ("0", "1"), (1, 0), (0, float("inf")), (0, 0), "0,1"])
def test_a_range_is_two_numbers(bounds):
    with pytest.raises(ConfigError, match="float_range: expected"):
        check_float_range(bounds)
