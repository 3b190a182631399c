"""``Inspector.inspect`` of what a Python program has, and of batches of it."""

import numpy as np
import pytest
import torch
from PIL import Image

import mambaad
from mambaad.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("users_checks_only")


@pytest.fixture(scope="module")
def inspector(trained_run):
    return mambaad.Inspector(trained_run)


@pytest.fixture(scope="module")
def path(parts):
    return parts / "nut" / "test" / "spot" / "000.png"


def same(a, b):
    return a.score == b.score and np.array_equal(a.anomaly_map, b.anomaly_map)


def forms(path):
    with Image.open(path) as image:
        image.load()
    pixels = np.asarray(image)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    return [str(path), path.read_bytes(), image, pixels, tensor, tensor / 255]


def test_every_form_and_any_mix_of_them_give_the_same(inspector, path):
    expected = inspector.inspect(path)
    found = [inspector.inspect(image) for image in forms(path)]
    assert all(same(one, expected) for one in found)
    for batch in (forms(path), tuple(forms(path))):
        together = inspector.inspect(batch)
        assert len(together) == len(batch)
        assert all(same(one, expected) for one in together)
    assert all(same(one, expected) for one in inspector.inspect_many(iter(forms(path))))
    pixels = np.asarray(Image.open(path))
    assert same(inspector.inspect(pixels[..., ::-1], color="bgr"), expected)
    assert same(inspector.inspect(pixels / 255, float_range=(0, 1)), expected)
    assert same(inspector.inspect(pixels.astype(np.uint16), bit_depth=8), expected)
    assert not same(inspector.inspect(pixels[..., ::-1]), expected)
    assert inspector.inspect([]) == []
    assert inspector.inspect(path, "bolt").product == "bolt"
    assert [p.product for p in inspector.inspect([path, pixels], product="bolt")] == ["bolt"] * 2


def test_a_batch_of_other_images_and_sizes_is_as_one_by_one(inspector, parts):
    paths = sorted((parts / "bolt" / "test").glob("*/*.png"))
    images = [np.asarray(Image.open(p))[:, i:] for i, p in enumerate(paths)]
    batch = inspector.inspect(images)
    assert all(same(a, inspector.inspect(b)) for a, b in zip(batch, images, strict=True))
    assert [p.image.shape for p in batch] == [image.shape for image in images]


@pytest.mark.parametrize(
    ("give", "error", "message"),
    [
        (lambda path: {"image": path}, ConfigError, "image is of type dict, expected a path"),
        (lambda path: [path, None], ConfigError, r"^images\[1\] is of type NoneType, expected"),
        (lambda path: [path, [path]], ConfigError, r"^images\[1\] is of type list, expected"),
        (lambda path: np.zeros((9, 9)), ConfigError, "float_range"),
        (lambda path: [path, path.parent / "absent.png"], DataError, "absent.png cannot be read"),
        (lambda path: path.parent, DataError, "spot cannot be read"),
        (lambda path: [path.read_bytes(), b"?"], DataError, r"^images\[1\] cannot be read as an"),
        (lambda path: (image for image in [path]), ConfigError, "image is of type generator"),
    ],
)
def test_the_rest_is_refused_in_one_line(inspector, path, give, error, message):
    with pytest.raises(error, match=message) as raised:
        inspector.inspect(give(path))
    assert "\n" not in str(raised.value)


def test_wrong_arguments_are_refused(inspector, path):
    with pytest.raises(
        ConfigError, match=r"000\.png is a file, which says itself what its channels"
    ):
        inspector.inspect(path, color="bgr")
    with pytest.raises(ConfigError, match="color: expected 'rgb' or 'bgr'"):
        list(inspector.inspect_many([path], color="BGR"))
    with pytest.raises(ConfigError, match="bit_depth: expected one of 8, 10, 12, 14, 16, got 9"):
        inspector.inspect(path, bit_depth=9)
    with pytest.raises(ConfigError, match="float_range: expected two numbers"):
        inspector.inspect(path, float_range="0,1")


def test_a_buffer_may_be_reused_after_its_inspection(inspector, path):
    buffer = np.asarray(Image.open(path)).copy()
    before = buffer.copy()
    prediction = inspector.inspect(buffer)
    drawn = prediction.draw()
    buffer[:] = 0
    assert np.array_equal(prediction.image, before)
    assert np.array_equal(prediction.draw(), drawn)
