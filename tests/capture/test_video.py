"""Videos and cameras: real files, and a real stream on loopback that breaks off."""

import struct
import threading

import numpy as np
import pytest

from mambaad.capture.video import Video, without_password
from mambaad.errors import DataError
from tests.videos import RATE, camera, grey, write_video

pytest.importorskip("av")


def frames_of(video):
    return list(video.frames(threading.Event()))


def test_a_file_gives_each_frame_with_its_number_and_time(tmp_path):
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(30)]
    video = Video(write_video(tmp_path / "a.mkv", pixels))
    assert (video.is_live, video.is_endless) == (False, False)
    found = frames_of(video)
    assert [frame.index for frame in found] == list(range(30))
    assert [frame.seconds for frame in found] == pytest.approx(
        [i / RATE for i in range(30)], abs=1e-3
    )
    for frame, expected in zip(found, pixels, strict=True):  # ffv1 loses nothing
        assert np.array_equal(frame.pixels, expected)
    assert {(frame.session, frame.error, frame.source) for frame in found} == {
        (0, None, str(tmp_path / "a.mkv"))
    }
    assert len(frames_of(video)) == 30  # it can be read again


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_video_is_turned_as_it_says(tmp_path, quarters):
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = 250  # the upper left corner
    path = write_video(tmp_path / "a.mp4", [pixels] * 5, codec="mpeg4")
    # The matrix of the track header (ISO 14496-12, 8.3.2), in 16.16: so many quarters clockwise.
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
    one = 1 << 16
    content = path.read_bytes()
    place = content.index(b"tkhd") + 4 + 40
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    assert content[place : place + 36] == upright
    turned = struct.pack(
        ">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30
    )
    path.write_bytes(content[:place] + turned + content[place + 36 :])
    found = frames_of(Video(path))[0].pixels
    expected = np.rot90(pixels, -quarters)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 10


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_damaged_frames_have_an_error_until_the_next_key_frame(tmp_path, codec):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mp4", [noise] * 30, codec=codec)
    before = frames_of(Video(path))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 60] = b"\xa5" * 60
    path.write_bytes(content)
    found = frames_of(Video(path))
    assert len(found) == 30
    damaged = [frame.index for frame in found if frame.error]
    # One of every five is a key frame.
    assert damaged == list(range(damaged[0], damaged[0] + len(damaged)))
    assert 1 <= len(damaged) <= 5
    assert "damaged" in found[damaged[0]].error
    for one, other in zip(found, before, strict=True):
        assert one.pixels is None if one.error else np.array_equal(one.pixels, other.pixels)


def test_a_file_that_is_cut_off_is_said(tmp_path, capsys):
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(100)]
    path = write_video(tmp_path / "a.mkv", noise)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = [frame for frame in frames_of(Video(path)) if not frame.error]
    assert 40 <= len(found) < 60
    assert "states 4.0 s; it may be cut off" in capsys.readouterr().err


def test_what_is_no_video_is_refused(tmp_path):
    import av

    (tmp_path / "a.txt").write_text("no video")
    with pytest.raises(DataError, match=r"a.txt cannot be opened .*; give a video"):
        Video(tmp_path / "a.txt")
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="has no video"):
        Video(tmp_path / "a.wav")
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/a cannot be opened"):
        Video("rtsp://user:secret@127.0.0.1:9/a")


def test_too_large_a_frame_is_refused(tmp_path):
    video = Video(write_video(tmp_path / "a.mkv", grey([1, 2])), max_pixels=3000)
    assert [frame.pixels for frame in frames_of(video)] == [None, None]
    assert "--max-pixels" in frames_of(video)[0].error


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:p%40ss@camera:554/1?key=abc", "rtsp://camera:554/1"),
        ("http://camera/a", "http://camera/a"),
        ("/data/a@b.mp4", "/data/a@b.mp4"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_names_have_no_passwords(address, shown):
    assert without_password(address) == shown


@pytest.fixture
def live(tmp_path):
    """A second of a camera's stream."""
    path = write_video(tmp_path / "a.ts", grey([100] * 30), codec="mpeg2video")
    return path.read_bytes()


def test_a_lost_camera_is_reached_again(live, capsys):
    half = live[: len(live) // 2]
    with camera([half, b"", live, live], seconds=0.4) as (address, server):
        video = Video(address)
        assert (video.is_live, video.is_endless) == (True, True)
        stop, found = threading.Event(), []
        for frame in video.frames(stop):
            found.append(frame)
            if frame.session == 2:
                stop.set()
        assert server.connections == 4  # one was refused
    assert video.reconnections == 2
    assert [frame.index for frame in found] == list(range(len(found)))
    sessions = [frame.session for frame in found]
    assert sessions == sorted(sessions)
    assert set(sessions) == {0, 1, 2}
    assert sessions.count(1) > sessions.count(0) > 5
    taken = [frame.taken for frame in found]
    broken = sessions.index(1)
    assert taken[broken] - taken[broken - 1] > 1.0  # pauses of 0.5 and 1 s
    lines = capsys.readouterr().err
    assert lines.count("it is tried again") == 2
    assert "was reached again after" in lines


def test_a_camera_that_stays_lost_ends_in_an_error(live):
    with camera([live], seconds=0.2) as (address, _):
        frames = Video(address, reconnect=0.8).frames(threading.Event())
        with pytest.raises(DataError, match=r"was lost .* not reached again within 0.8 s"):
            list(frames)


def test_looking_for_a_lost_camera_can_be_stopped(live):
    with camera([live], seconds=0.2) as (address, _):
        stop = threading.Event()
        timer = threading.Timer(2.0, stop.set)
        timer.start()
        assert len(list(Video(address).frames(stop))) > 20
        timer.cancel()


def test_a_device_is_opened_by_its_format_and_is_a_camera():
    """FFmpeg's own test picture, an input device as cameras are."""
    import av

    if "lavfi" not in av.formats_available:
        pytest.skip("this FFmpeg has no test picture")
    video = Video("testsrc=size=64x48:rate=25:duration=1", format="lavfi", reconnect=0)
    assert (video.is_live, video.is_endless) == (True, True)
    frames = video.frames(threading.Event())
    found = [next(frames) for _ in range(25)]
    with pytest.raises(DataError, match=r"was lost \(it ended\); check the camera"):
        next(frames)
    assert [frame.index for frame in found] == list(range(25))
    assert {frame.pixels.shape for frame in found} == {(48, 64, 3)}
