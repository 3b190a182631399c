"""Tensors in files, beside the safetensors package."""

import json

import numpy as np
import pytest
import safetensors.numpy
from safetensors import SafetensorError

from mambaad.artifacts.tensors import parse_tensors, save_tensors, tensors_content
from mambaad.errors import RunError

TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.weight": np.arange(6.0).reshape(2, 3),
    "count": np.asarray(3),
    "nothing": np.zeros((0, 3), np.uint8),
    "mask": np.array([True, False, True]),
    "é": np.ones(3, np.float16),
    "small": np.array([-1, 2], np.int8),
    "large": np.array([2**63], np.uint64),
}
ABOUT = {"k": [1, 2.5], "name": "Stahl, groß"}


def whole(tensors=TENSORS, about=ABOUT):
    return bytearray().join(tensors_content(tensors, about))


def test_the_bytes_are_those_of_safetensors():
    theirs = safetensors.numpy.save(TENSORS, {"about": json.dumps(ABOUT)})
    assert whole() == theirs


def test_they_are_read_back_without_a_copy():
    content = whole()
    tensors, about = parse_tensors(content, "x")
    assert about == ABOUT
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert np.array_equal(tensor, TENSORS[name])
        assert tensor.flags.writeable
    tensors["b"][0, 0] = 7
    assert parse_tensors(content, "x")[0]["b"][0, 0] == 7


def test_other_layouts_in_memory_are_written_in_order(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {"a": np.arange(6.0).reshape(2, 3).T})
    found = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    assert np.array_equal(found["a"], np.arange(6.0).reshape(2, 3).T)


def test_values_that_are_not_aligned_are_copied():
    header = {
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    text = json.dumps(header).encode()
    values = b"\1" + np.array([1.5, -2], np.float32).tobytes()
    tensors, about = parse_tensors(bytearray(len(text).to_bytes(8, "little") + text + values), "x")
    assert about == {}
    assert tensors["b"].tolist() == [1.5, -2]
    assert tensors["b"].flags.aligned


def header(**changes):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}
    text = json.dumps({"a": entry}).encode()
    return bytearray(len(text).to_bytes(8, "little") + text + bytes(8))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\1\2\3",
        b"\xff" * 100,
        bytes(8),
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}1",
        header(dtype="F8"),
        header(dtype=["F32"]),
        header(shape=[3]),
        header(shape=[-1, -2]),
        header(shape=[2.0]),
        header(shape=[True, 2]),
        header(shape=[2**62, 2**62]),
        header(shape=2),
        header(data_offsets=[0, 4]),
        header(data_offsets=[8, 16]),
        header(data_offsets=[-8, 0]),
        header(data_offsets=["0", "8"]),
        header(data_offsets=[0]),
        whole({"a": np.array([1, np.nan])}),
        whole({"a": np.array([1, np.inf], np.float16)}),
        whole({"a": np.array([np.inf, -np.inf], np.float32)}),
        whole({"a": np.array([2], np.uint8)}).replace(b"U8", b"BOOL").replace(b"\x00" * 0, b""),
        whole()[:-1],
        whole() + b"\0",
    ],
)
def test_what_is_damaged_is_one_line(content):
    with pytest.raises(RunError, match=r"^x\.safetensors is damaged, or no safe") as caught:
        parse_tensors(bytearray(content), "x.safetensors")
    assert "\n" not in str(caught.value)


def test_values_whose_sum_overflows_are_finite():
    tensors = {"a": np.full(4, 3e38, np.float32), "b": np.full(9, 6e4, np.float16)}
    assert np.array_equal(parse_tensors(whole(tensors), "x")[0]["a"], tensors["a"])


def test_whatever_changes_either_both_read_the_same_or_ours_refuses():
    random = np.random.default_rng(0)
    sound = whole({"a": TENSORS["b"], "c": TENSORS["small"]})
    accepted = 0
    for _ in range(500):
        content = bytearray(sound)
        for place in random.integers(len(content), size=random.integers(1, 4)):
            content[place] = random.integers(256)
        try:
            tensors, _ = parse_tensors(content, "x")
        except RunError:
            continue
        accepted += 1
        try:
            theirs = safetensors.numpy.load(bytes(content))
        except SafetensorError as error:
            raise AssertionError(bytes(content)) from error
        assert tensors.keys() == theirs.keys()
        for name, tensor in tensors.items():
            assert tensor.dtype == theirs[name].dtype
            assert np.array_equal(tensor, theirs[name])
    assert 0 < accepted < 400
