"""A program's data set is listed, read and identified as one in files is."""

import numpy as np
import pytest
import torch
from PIL import Image

from mambaad.artifacts.fingerprint import known_parts, part_digests, summarise_data
from mambaad.data.checks import check_images, read_sample
from mambaad.data.parts import Part, Parts, as_source
from mambaad.errors import ConfigError, DataError
from mambaad.types import Reading

pytestmark = pytest.mark.usefixtures("users_checks_only")

AUTO = Reading()
RANDOM = np.random.default_rng(0)
IMAGES = [RANDOM.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(4)]
SPOT = np.zeros((6, 8), bool)
SPOT[2:4, 3:5] = True


def listed(data, wanted=None, **options):
    return as_source(data).classes(wanted, reading=AUTO, **options)


class Lazy:
    """As a data set of PyTorch: no ``Sequence``, and each image made when it is asked for."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.from_numpy(IMAGES[index]).permute(2, 0, 1) / 255, "nut"


def test_parts_are_listed_by_product():
    data = [Part(IMAGES[0], "nut"), (IMAGES[1], "bolt"), [IMAGES[2], "nut"], (IMAGES[3], "bolt")]
    bolt, nut = listed(data)
    assert (bolt.name, nut.name) == ("bolt", "nut")
    assert [str(sample.path) for sample in nut.train] == ["data[0]", "data[2]"]
    for sample, image in zip(nut.train + bolt.train, (0, 2, 1, 3), strict=False):
        pixels, mask = read_sample(sample)
        assert np.array_equal(pixels, IMAGES[image])
        assert mask is None
    assert [c.name for c in listed(data, ["nut"])] == ["nut"]
    (lazy,) = listed(Lazy())
    assert np.array_equal(read_sample(lazy.train[3])[0], IMAGES[3])


@pytest.mark.parametrize(
    "mask",
    [
        SPOT,
        SPOT[..., None],
        SPOT.astype(np.uint8),
        SPOT * np.uint8(255),
        SPOT.astype(int) * 3,
        SPOT.astype(float),
        torch.from_numpy(SPOT),
        torch.from_numpy(SPOT)[None].float(),
        Image.fromarray(SPOT),
        Image.fromarray(SPOT * np.uint8(255)),
    ],
)
def test_masks_in_any_form(mask):
    data = [
        Part(IMAGES[0], "nut", "spot", mask),
        (IMAGES[1], "nut", "good", mask * 0 > 1)
        if not isinstance(mask, Image.Image)
        else (IMAGES[1], "nut"),
    ]
    (c,) = listed(data, split="test")
    spotted, good = c.test
    assert np.array_equal(read_sample(spotted)[1].marked, SPOT)
    assert (spotted.is_defective, spotted.defect_type, good.is_defective) == (True, "spot", False)
    assert c.has_masks
    assert good.mask_path is None


def test_what_is_in_files_is_a_sample_of_files(tmp_path):
    path, mask = tmp_path / "a.png", tmp_path / "m.png"
    Image.fromarray(IMAGES[0]).save(path)
    Image.fromarray(SPOT).save(mask)
    data = [
        (path, "nut", "spot", str(mask)),
        (str(path), "nut", "spot", SPOT),
        (IMAGES[0], "nut", "spot", mask),
    ]
    (c,) = listed(data, split="test")
    assert [sample.held is None for sample in c.test] == [True, False, False]
    assert c.test[0].files == (path, mask)
    for sample in c.test:
        pixels, joined = read_sample(sample)
        assert np.array_equal(pixels, IMAGES[0])
        assert np.array_equal(joined.marked, SPOT)


def test_parts_are_known_by_their_pixels():
    def digests(*images):
        return part_digests(listed([(image, "nut") for image in images]))["nut"]

    first, second = digests(IMAGES[0], IMAGES[1])
    assert first != second
    again = digests(IMAGES[1].copy(), torch.from_numpy(IMAGES[0]).permute(2, 0, 1))
    assert again == [second, first]
    assert digests(IMAGES[0].reshape(8, 6, 3), IMAGES[1])[0] != first
    classes = listed([(image, "nut") for image in IMAGES[:2]])
    summary = summarise_data(classes, [type(c)(c.name, ()) for c in classes])
    new = listed([(image, "nut") for image in IMAGES[1:]])[0].train
    assert [str(path) for path in known_parts(summary, new)] == ["data[0]"]


def test_the_bit_depth_is_decided_by_all_parts():
    deep = [(IMAGES[i][..., 0].astype(np.uint16) * 16, "nut") for i in range(4)]
    told = []
    (c,), _ = check_images(listed(deep), tell=told.append)
    assert c.train[0].reading.bit_depth == 12
    expected = np.rint(deep[0][0] / 4095 * 255)
    assert np.array_equal(read_sample(c.train[0])[0][..., 0], expected)


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ([], {}, DataError, "the data have no parts; give some"),
        ([IMAGES[0]], {}, ConfigError, r"data\[0\] is of type ndarray, expected mambaad\.Part"),
        ([(IMAGES[0],)], {}, ConfigError, r"data\[0\] is of type tuple, expected"),
        ([(IMAGES[0], 3)], {}, ConfigError, r"the product of data\[0\] is 3, expected its name"),
        ([(IMAGES[0], "")], {}, ConfigError, r"the product of data\[0\] is '', expected its name"),
        ([(IMAGES[0], "nut", 1)], {}, ConfigError, r"the label of data\[0\] is 1, expected its"),
        ([(IMAGES[0], "nut")], {}, DataError, "one part of nut, expected at least 2"),
        ([(IMAGES[0], "nut", "spot")], {}, DataError, r"data\[0\] is labelled 'spot', expected"),
        ([(IMAGES[0], "nut")], {"wanted": ["x"]}, ConfigError, "classes: the data have no parts"),
        ([(None, "nut")], {}, ConfigError, r"data\[0\] is of type NoneType, expected a path"),
        ([(b"?", "nut")], {}, DataError, r"data\[0\] cannot be read as an image"),
        ([(IMAGES[0], "n", "good", SPOT)], {}, ConfigError, "labelled good, and its mask marks"),
        (5, {}, ConfigError, "expected a folder, or a sequence of mambaad.Part, got int"),
        ({"a": 1}, {}, ConfigError, "got dict"),
        (iter([]), {}, ConfigError, "got list_iterator; make a list"),
        (IMAGES[0], {}, ConfigError, "got ndarray"),
    ],
)
def test_what_is_no_data_set_is_refused_in_one_line(data, options, error, message):
    with pytest.raises(error, match=message) as raised:
        listed(data, **options)
    assert "\n" not in str(raised.value)


def test_unreadable_parts_are_left_out_on_request(capsys):
    data = [*((image, "nut") for image in IMAGES), (b"?", "nut")]
    assert len(listed(data, skip_unreadable=True)[0].train) == 4
    assert capsys.readouterr().err.startswith("left out: data[4] cannot be read as an image")


def test_a_mask_of_another_size_is_refused():
    (c,) = listed([(IMAGES[0], "nut", "spot", SPOT[1:])], split="test")
    with pytest.raises(DataError, match=r"the mask of data\[0\] is 5 x 8, expected 6 x 8 as its"):
        read_sample(c.test[0])


def test_parts_are_taken_one_at_a_time():
    """A data set may read one file, or a generator of random numbers, that threads must not."""

    class Careful(Lazy):
        busy = False

        def __getitem__(self, index):
            assert not self.busy
            self.busy = True
            torch.rand(200_000)
            self.busy = False
            return super().__getitem__(index)

    check_images(listed(Careful()))
    assert isinstance(as_source(Parts(Lazy())), Parts)
