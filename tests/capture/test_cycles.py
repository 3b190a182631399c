"""Frames become cycles: which frames a part has, and what breaks one off."""

import time

import numpy as np
import pytest

from mambaad.capture.cycles import MOST_BYTES, cycles_of
from mambaad.capture.frame import Frame
from mambaad.capture.plan import Plan
from mambaad.capture.triggers import Change, Every, Signals
from mambaad.errors import ConfigError

DARK, BRIGHT = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 200, np.uint8)


def frames(levels, session=0, first=0):
    for index, level in enumerate(levels, start=first):
        pixels = BRIGHT if level else DARK
        yield Frame(pixels, "cam", index, index / 25, time.time(), session)


def indices(cycles):
    return [[frame.index for frame in cycle.frames] for cycle in cycles]


def test_frames_are_taken_by_delay_and_step():
    plan = Plan("change", frames=3, step=2, delay=1)
    (cycle,) = cycles_of(frames([0, 0, 1, 1, 1, 1, 1, 1, 1, 0]), Change(None, 12.0), plan, "cam")
    assert indices([cycle]) == [[3, 5, 7]]
    assert (cycle.number, cycle.source, cycle.serial, cycle.error) == (1, "cam", None, None)


def test_cycles_may_overlap_and_keep_their_order():
    plan = Plan("every:2", frames=3)
    found = list(cycles_of(frames([0] * 9), Every(2), plan, "cam"))
    assert indices(found) == [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8]]
    assert [cycle.number for cycle in found] == [1, 2, 3, 4]


def test_a_stretch_at_the_end_is_left_out_and_said(capsys):
    found = list(cycles_of(frames([0] * 8), Every(3), Plan("every:3", frames=3), "cam"))
    assert indices(found) == [[0, 1, 2], [3, 4, 5]]
    assert "the last 2 frames are too few for a part of 3 frames" in capsys.readouterr().err


def test_a_part_that_the_end_breaks_off_has_an_error():
    plan = Plan("change", frames=3)
    (cycle,) = cycles_of(frames([0, 0, 1, 1]), Change(None, 12.0), plan, "cam")
    assert indices([cycle]) == [[2, 3]]
    assert cycle.error == "the source ended after 2 of 3 frames"


def test_a_part_that_a_loss_breaks_off_takes_no_frames_from_after_it():
    def stream():
        yield from frames([0, 0, 1, 1])
        yield from frames([0, 0, 1, 1, 1], session=1, first=4)

    plan = Plan("change", frames=3)
    broken, whole = cycles_of(stream(), Change(None, 12.0), plan, "cam")
    assert broken.error == "the source was lost after 2 of 3 frames"
    assert indices([broken, whole]) == [[2, 3], [6, 7, 8]]
    assert whole.error is None


def test_a_damaged_frame_is_an_error_of_its_part_alone():
    def stream():
        for frame in frames([0] * 6):
            if frame.index == 1:
                yield Frame(None, "cam", 1, 0.0, 0.0, error="cam, frame 1: it is damaged")
            else:
                yield frame

    plan = Plan("every:3", frames=3)
    assert [cycle.error for cycle in cycles_of(stream(), Every(3), plan, "cam")] == [
        "cam, frame 1: it is damaged",
        None,
    ]


def test_every_signal_gives_one_cycle_whatever_happens():
    signals = Signals()

    def stream():
        yield from frames([0] * 2)
        signals.fire("A")
        yield from frames([0] * 3, first=2)
        signals.fire("B")
        signals.fire("C")
        yield from frames([0], first=5)
        signals.fire("D")

    plan = Plan("signal", frames=2)
    found = list(cycles_of(stream(), signals, plan, "cam"))
    assert [cycle.serial for cycle in found] == ["A", "B", "C", "D"]
    assert indices(found) == [[2, 3], [5], [5], []]
    assert [bool(cycle.error) for cycle in found] == [False, True, True, True]
    assert [cycle.number for cycle in found] == [1, 2, 3, 4]


def test_it_ends_when_no_signal_can_come():
    signals = Signals()

    def endless():
        signals.fire("A")
        signals.close()
        for index in range(10_000):
            yield from frames([0], first=index)
        raise AssertionError

    found = list(cycles_of(endless(), signals, Plan("signal", frames=4), "cam"))
    assert indices(found) == [[0, 1, 2, 3]]


def test_parts_that_take_too_much_memory_are_refused():
    large = np.broadcast_to(np.uint8(0), (4000, 4000, 3))  # takes none itself
    count = MOST_BYTES // large.nbytes + 2
    stream = (Frame(large, "cam", i, 0.0, 0.0) for i in range(count))
    with pytest.raises(ConfigError, match="take more than 512 MiB; give fewer"):
        list(cycles_of(stream, Every(1000), Plan("every:1000", frames=1000), "cam"))
