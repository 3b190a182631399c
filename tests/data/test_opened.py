"""Images that are opened to be compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from mambaad.data.opened import find_twins, note_odd_images, open_sample, open_samples
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.types import Sample
from tests.data.conftest import WriteImage


def test_an_image_with_its_mask(tmp_path: Path, write_image: WriteImage) -> None:
    image = write_image(tmp_path / "a.png", 8, 12)
    mask = tmp_path / "mask.png"
    for value in (0, 255):
        Image.fromarray(np.full((8, 12), value, np.uint8)).save(mask)
        opened = open_sample(Sample(image, "nut", "dent", mask))
        assert (opened.size, opened.problem, opened.covered) == ((8, 12), "", value / 255)
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(mask)
    problem = open_sample(Sample(image, "nut", "dent", mask)).problem
    assert problem.startswith(f"{mask} is 4 x 6, expected 8 x 12 as its image")


def test_equal_content_has_an_equal_digest(tmp_path: Path, write_image: WriteImage) -> None:
    image = write_image(tmp_path / "a.png", 8, 12)
    copy, other = tmp_path / "b.png", write_image(tmp_path / "c.png", 9, 12)
    shutil.copy(image, copy)
    a, b, c = open_samples([Sample(path, "nut") for path in (image, copy, other)])
    assert a.digest == b.digest != c.digest


def test_files_that_cannot_be_read_equal_no_other(tmp_path: Path) -> None:
    paths = [tmp_path / "gone.png", tmp_path / "empty.png", tmp_path / "also_empty.png"]
    for path in paths[1:]:
        path.write_bytes(b"")
    opened = list(open_samples([Sample(path, "nut") for path in paths]))
    assert len({image.digest for image in opened}) == 3
    assert [image.problem.split(" ", 1)[1] for image in opened] == [
        "cannot be read (No such file or directory); check the path",
        *["has no bytes; download it again"] * 2,
    ]


def test_twins_and_sizes(dataset: Path, write_image: WriteImage) -> None:
    nut = MVTEC.read(dataset, ["nut"])[0]
    # The images of the data set have the same pixels, so all are twins.
    images = list(open_samples((*nut.train, *nut.test)))
    problems, notes = find_twins(nut, images)
    assert notes == ["nut has 2 training images more than once"]
    assert [line.split(" is the same image as ")[0] for line in problems] == [
        str(sample.path) for sample in nut.test
    ]
    assert list(note_odd_images("nut", images)) == []
    write_image(nut.train[0].path, 20, 9)
    (note,) = note_odd_images("nut", list(open_samples((*nut.train, *nut.test))))
    assert note == "nut has images of 2 sizes (height x width), 8 x 12 to 20 x 9"
