"""A folder that fills, as a source of frames."""

import os
import shutil
import threading
import time

import numpy as np
import pytest
from PIL import Image

from mambaad.capture.folder import Folder
from mambaad.errors import DataError
from mambaad.types import Reading


def save(path, level, changed=None):
    Image.fromarray(np.full((6, 5, 3), level, np.uint8)).save(path)
    if changed:
        os.utime(path, (changed, changed))


class Reader:
    """Takes frames in a thread, until it has as many as are waited for."""

    def __init__(self, folder):
        self.stop, self.found = threading.Event(), []
        self._thread = threading.Thread(target=self._read, args=(folder,))
        self._thread.start()

    def _read(self, folder):
        for frame in folder.frames(self.stop):
            self.found.append(frame)

    def wait(self, count, seconds=30):
        deadline = time.monotonic() + seconds
        while len(self.found) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(self.found) == count

    def end(self):
        self.stop.set()
        self._thread.join()


@pytest.fixture
def reader(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    save(folder / "b.png", 10, changed=1_000_000)
    save(folder / "a.png", 20, changed=1_000_001)
    (folder / "notes.txt").write_text("no image")
    reader = Reader(Folder(folder, Reading()))
    yield reader
    reader.end()


def test_files_come_once_in_the_order_of_their_times(reader, tmp_path):
    reader.wait(2)
    save(tmp_path / "in" / "c.png", 30)
    reader.wait(3)
    save(tmp_path / "in" / "a.png", 40)  # another one of this name
    reader.wait(4)
    time.sleep(1.0)
    found = reader.found
    assert [int(frame.pixels[0, 0, 0]) for frame in found] == [10, 20, 30, 40]
    assert [os.path.basename(frame.path) for frame in found] == [  # noqa: PTH119
        "b.png", "a.png", "c.png", "a.png",
    ]  # fmt: skip
    assert [frame.index for frame in found] == [0, 1, 2, 3]
    assert found[0].taken == 1_000_000


def test_a_file_that_is_no_image_has_an_error(reader, tmp_path):
    reader.wait(2)
    (tmp_path / "in" / "broken.bmp").write_bytes(b"BM" + bytes(100))
    reader.wait(3)
    assert reader.found[2].pixels is None
    assert "broken.bmp" in reader.found[2].error


def test_a_folder_that_is_gone_is_looked_for_again(reader, tmp_path, capsys):
    reader.wait(2)
    shutil.move(tmp_path / "in", tmp_path / "away")
    time.sleep(0.6)
    save(tmp_path / "away" / "d.png", 50)
    shutil.move(tmp_path / "away", tmp_path / "in")
    reader.wait(3)
    assert reader.found[2].session == 1
    lines = capsys.readouterr().err
    assert lines.count("it is looked for again") == 1
    assert "is there again" in lines


def test_known_files_are_passed_over(tmp_path):
    save(tmp_path / "a.png", 10, changed=1000)
    save(tmp_path / "b.png", 20, changed=2000)
    known = {(str(tmp_path / "a.png"), 1000.0)}
    reader = Reader(Folder(tmp_path, Reading(), lambda *file: file in known))
    reader.wait(1)
    reader.end()
    assert [frame.taken for frame in reader.found] == [2000.0]


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a folder; create it"):
        Folder(tmp_path / "none", Reading())
