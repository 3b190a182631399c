"""What ``mambaad watch`` does beside inspecting: records, pictures, restarts, a full preview."""

import json
import os
import threading

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import mambaad
from mambaad.capture.plan import Plan
from mambaad.capture.triggers import Signals
from mambaad.errors import ConfigError, DataError
from mambaad.workflows.watch import calibrate_watch, watch
from mambaad.workflows.watch_lines import fire_lines
from mambaad.workflows.watch_view import blocks
from tests.videos import belt, camera, write_video


@pytest.fixture(scope="module")
def inspector(calibrated_run):
    return mambaad.Inspector(calibrated_run)


def records(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def test_a_lost_camera_leaves_one_record_for_each_part(inspector, tmp_path):
    video = write_video(tmp_path / "a.ts", belt([False] * 4), codec="mpeg2video")
    content = video.read_bytes()
    plan = Plan("change", frames=4)
    halves = [content[: len(content) // 2], content]
    with (
        camera(halves, seconds=0.5) as (address, _),
        pytest.raises(DataError, match="not reached again within 1 s"),
    ):
        watch(address, inspector, tmp_path / "out", plan, product="bolt", reconnect=1.0)
    found = records(tmp_path / "out")
    assert [one["cycle"] for one in found] == list(range(1, len(found) + 1))
    assert {one["source"] for one in found} == {address}
    whole = [one for one in found if not one["error"]]
    # Two of the first half, three of four of the whole: of the last one the source's end is open.
    assert 4 <= len(whole) <= 6
    assert all(len(one["frames"]) == 4 for one in whole)
    for one in found:
        if one["error"]:
            assert "the source was lost after" in one["error"]


def test_a_folder_goes_on_where_it_stopped(inspector, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, pixels in enumerate(belt([False], stays=3, gap=1)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
        os.utime(folder / f"{number}.png", (1000 + number, 1000.123456 + number))
    assert watch(folder, inspector, tmp_path / "out", most=3).parts == 3
    assert watch(folder, inspector, tmp_path / "out", most=2).parts == 2
    (folder / "0.png").write_bytes((folder / "1.png").read_bytes())  # another one of this name
    assert watch(folder, inspector, tmp_path / "out", most=1).parts == 1
    names = [os.path.basename(one["path"]) for one in records(tmp_path / "out")]  # noqa: PTH119
    assert names == ["0.png", "1.png", "2.png", "3.png", "4.png", "0.png"]


def test_pictures_are_kept_of_parts_that_do_not_pass(inspector, tmp_path):
    video = write_video(tmp_path / "a.mkv", [np.zeros((80, 72, 3), np.uint8)] * 2)  # too dark
    watched = watch(video, inspector, tmp_path / "out", product="bolt", pictures=True)
    assert watched.verdicts == {"BAD IMAGE": 2}
    heatmaps = sorted((tmp_path / "out").glob("*.heatmap.png"))
    assert len(heatmaps) == 2
    for heatmap in heatmaps:
        frame = heatmap.with_name(heatmap.name.removesuffix(".heatmap.png"))
        for path in (frame, heatmap):
            with Image.open(path) as picture:
                assert picture.size == (72, 80)
                assert (path is heatmap) == bool(np.asarray(picture).any())  # frames are black


def test_calibration_needs_an_end_a_product_and_good_parts(inspector, tmp_path):
    out = tmp_path / "cycles.json"
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(ConfigError, match="--calibrate needs --class, one of bolt, nut"):
        calibrate_watch(folder, inspector, out, Plan())
    with pytest.raises(ConfigError, match="has no end; say after how many parts"):
        calibrate_watch(folder, inspector, out, Plan(), product="bolt")
    dark = write_video(tmp_path / "a.mkv", [np.zeros((80, 72, 3), np.uint8)] * 4)
    with pytest.raises(DataError, match="gave no cycle of bolt to calibrate on"):
        calibrate_watch(dark, inspector, out, Plan(frames=2, trigger="every:2"), product="bolt")
    assert not out.exists()


def test_lines_are_signals(tmp_path):
    class Noted(Signals):
        serials: list = []  # noqa: RUF012

        def fire(self, serial=None):
            self.serials.append(serial)

    read, write = os.pipe()
    signals = Noted()
    thread = threading.Thread(target=fire_lines, args=(read, signals))
    thread.start()
    for piece in (b"A-1", b"7\r\n\nB\xff", b"\n", b"x" * 9000 + b"\n", b"last"):
        os.write(write, piece)
    os.close(write)
    thread.join(10)
    os.close(read)
    assert signals.serials == ["A-17", None, "B\\xff", "x" * 255, "last"]
    assert signals.is_over


def test_a_picture_is_drawn_with_half_blocks():
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0] = 255, 0, 0
    pixels[1] = 0, 0, 255
    text = blocks(pixels, 80, 20)
    assert text.plain == "▀▀▀▀▀▀\n" * 2
    style = text.get_style_at_offset(Console(), 0)
    assert (style.color.triplet, style.bgcolor.triplet) == ((255, 0, 0), (0, 0, 255))
    large = blocks(np.zeros((900, 1600, 3), np.uint8), 80, 20)
    lines = large.plain.splitlines()
    assert (len(lines), {len(line) for line in lines}) == (20, {71})
