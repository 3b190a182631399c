"""Triggers: what begins a part."""

import threading
import time

import numpy as np
import pytest

from mambaad.capture.frame import Frame
from mambaad.capture.plan import Plan
from mambaad.capture.triggers import LATEST, Begin, Change, Every, Signals, make_trigger
from mambaad.errors import ConfigError


def frame(index, level=0, taken=None, box=None, shape=(40, 60)):
    pixels = np.full((*shape, 3), 20, np.uint8)
    left, top, width, height = box or (0, 0, shape[1], shape[0])
    pixels[top : top + height, left : left + width] += np.uint8(level)
    return Frame(pixels, "source", index, index / 25, index / 25 if taken is None else taken)


def begins_at(trigger, frames):
    return [one.index for one in frames for _ in trigger.begins(one)]


def test_every_nth_frame():
    assert begins_at(Every(4), [frame(i) for i in range(10)]) == [0, 4, 8]


def test_a_part_begins_once_when_it_comes_into_the_picture():
    levels = [0, 0, 3, 0, 60, 60, 60, 9, 8, 0, 0, 60, 0]
    # 9 and 8 are below the level, but not below half of it: the part is still there.
    assert begins_at(Change(None, 15.0), [frame(i, v) for i, v in enumerate(levels)]) == [4, 11]


def test_only_the_region_counts():
    outside, inside = (0, 0, 30, 40), (30, 10, 20, 20)
    frames = [frame(0), frame(1, 200, box=outside), frame(2), frame(3, 30, box=inside)]
    assert begins_at(Change((30, 10, 20, 20), 12.0), frames) == [3]
    assert begins_at(Change(None, 12.0), frames) == [1]  # 30 in a sixth of the picture is 5


def test_light_that_moves_on_slowly_is_no_part():
    slowly = [frame(i, level) for i, level in enumerate(np.linspace(0, 100, 4000).astype(int))]
    assert begins_at(Change(None, 12.0), slowly) == []


def test_noise_neither_begins_a_part_nor_hides_that_one_has_gone():
    random = np.random.default_rng(0)

    def noisy(index, level):
        pixels = frame(index, level).pixels + random.normal(0, 12, (40, 60, 3))
        return Frame(pixels.clip(0, 255).astype(np.uint8), "source", index, 0.0, 0.0)

    levels = [0] * 20 + [40] * 5 + [0] * 5 + [40] * 5
    assert begins_at(Change(None, 12.0), [noisy(*one) for one in enumerate(levels)]) == [20, 30]


def test_a_lamp_that_fails_does_not_end_inspection(capsys):
    frames = [frame(0), *(frame(i, 100) for i in range(1, 600)), *(frame(i, 160) for i in (600, 1))]
    assert begins_at(Change(None, 12.0), frames) == [1, 600]
    assert "no part was seen meanwhile" in capsys.readouterr().err


def test_a_damaged_frame_changes_nothing():
    broken = Frame(None, "source", 1, 0.0, 0.0, error="damaged")
    assert begins_at(Change(None, 12.0), [frame(0), broken, frame(2, 50)]) == [2]


def test_a_region_outside_the_picture_is_refused():
    with pytest.raises(ConfigError, match=r"50,10,20,20 lies outside .* 60 x 40"):
        begins_at(Change((50, 10, 20, 20), 12.0), [frame(0)])


def test_a_signal_begins_a_part_with_the_first_frame_after_it():
    signals = Signals()
    begin = time.time()
    signals.fire("A")
    signals.fire()
    assert list(signals.begins(frame(0, taken=begin - 0.1))) == []
    soon = frame(1, taken=time.time() + 0.1)
    assert list(signals.begins(soon)) == [Begin("A"), Begin()]
    assert list(signals.begins(soon)) == []


def test_a_signal_without_a_frame_is_not_lost():
    signals = Signals()
    signals.fire("A")
    (late,) = signals.begins(frame(0, taken=time.time() + LATEST + 1))
    assert late.serial == "A"
    assert "after its signal" in late.error
    signals.fire("B")
    signals.close()
    assert not signals.is_over
    assert [one.serial for one in signals.rest()] == ["B"]
    assert signals.is_over


def test_signals_wait_when_thousands_have_no_frame():
    signals = Signals()
    thread = threading.Thread(target=lambda: [signals.fire(str(i)) for i in range(10_001)])
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()  # the last one waits
    served = list(signals.begins(frame(0, taken=time.time())))
    thread.join(10)
    assert not thread.is_alive()
    served += signals.rest()
    assert [one.serial for one in served] == [str(i) for i in range(10_001)]


def test_a_file_has_no_clock_for_signals():
    with pytest.raises(ConfigError, match="has no clock"):
        make_trigger(Plan("signal"), Signals(), is_live=False)
    with pytest.raises(ConfigError, match="give signals"):
        make_trigger(Plan("signal"), None, is_live=True)
    assert isinstance(make_trigger(Plan("every:3"), None, is_live=False), Every)
    assert isinstance(make_trigger(Plan("change"), None, is_live=False), Change)
