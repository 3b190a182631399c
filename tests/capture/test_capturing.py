"""The capture's thread and queue: back-pressure, drops that are counted, and the end."""

import threading
import time

import numpy as np
import pytest

from mambaad.capture.capturing import MOST_WAITING, Capturing
from mambaad.capture.frame import Frame, Given
from mambaad.capture.plan import Plan
from mambaad.capture.triggers import Every
from mambaad.errors import ConfigError, DataError
from mambaad.types import Reading

PIXELS = np.zeros((8, 8, 3), np.uint8)


class Source:
    """Gives frames as fast as they are taken, and notes how many it gave."""

    name, is_live, is_endless, reconnections = "source", False, False, 0

    def __init__(self, count, error=None):
        self._count, self._error = count, error
        self.given, self.is_closed = 0, False

    def frames(self, stop: threading.Event):
        try:
            for index in range(self._count):
                if stop.is_set():
                    return
                self.given = index + 1
                yield Frame(PIXELS, self.name, index, 0.0, 0.0)
            if self._error:
                raise self._error
        finally:
            self.is_closed = True


def settled(value, seconds=0.3):
    """A number once it no longer changes."""
    before = None
    while before != value():
        before = value()
        time.sleep(seconds)
    return before


def test_every_part_waits_for_the_inspection():
    source = Source(100)
    with Capturing(source, Every(1), Plan()) as capturing:
        cycles = iter(capturing)
        first = next(cycles)
        # One in the inspection's hand, those that wait, and one that finds no room.
        assert settled(lambda: source.given) == 1 + MOST_WAITING["every-part"] + 1
        rest = list(cycles)
    numbers = [cycle.number for cycle in (first, *rest)]
    assert numbers == list(range(1, 101))
    assert capturing.dropped == 0
    assert capturing.waited > 0.2


def test_live_drops_the_oldest_and_counts_them():
    source = Source(100)
    with Capturing(source, Every(1), Plan(), "live") as capturing:
        settled(lambda: source.given)
        assert source.given == 100  # it did not wait
        rest = list(capturing)
    assert [cycle.number for cycle in rest] == [100]
    assert rest[0].dropped == capturing.dropped == 99


def test_large_parts_wait_by_their_bytes():
    large = np.broadcast_to(np.uint8(0), (8000, 8000, 3))  # 183 MiB, which take none
    given = []

    class Large(Source):
        def frames(self, stop):
            for index in range(10):
                given.append(index)
                yield Frame(large, "source", index, 0.0, 0.0)

    with Capturing(Large(10), Every(1), Plan()) as capturing:
        assert settled(lambda: len(given)) == 3  # two fit into 512 MiB, and one finds no room
        assert len(list(capturing)) == 10


def test_an_error_of_the_source_comes_after_what_it_gave():
    with Capturing(Source(3, DataError("it is gone")), Every(1), Plan()) as capturing:
        cycles = iter(capturing)
        assert [next(cycles).number for _ in range(3)] == [1, 2, 3]
        with pytest.raises(DataError, match="it is gone"):
            next(cycles)


def test_leaving_stops_the_thread_and_lets_go_of_the_source():
    source = Source(10**9)
    with Capturing(source, Every(1), Plan()) as capturing:
        next(iter(capturing))
    assert source.is_closed
    assert "capture" not in {thread.name for thread in threading.enumerate()}


def test_a_programs_frames_are_copied_and_a_bad_one_has_an_error():
    buffer = np.zeros((8, 8, 3), np.uint8)

    def camera():
        for level in (10, 20):
            buffer[:] = level
            yield buffer
        yield b"no image"

    source = Given(camera(), Reading())
    with Capturing(source, Every(1), Plan()) as capturing:
        found = [cycle.frames[0] for cycle in capturing]
    assert [int(frame.pixels.max()) for frame in found[:2]] == [10, 20]
    assert found[2].pixels is None
    assert "image 2" in found[2].error


def test_an_unknown_policy_is_refused():
    with pytest.raises(ConfigError, match="--policy: expected every-part or live, got 'some'"):
        Capturing(Source(1), Every(1), Plan(), "some")
