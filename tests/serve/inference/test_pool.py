"""The pool: real inspections in real processes, which are killed."""

import io
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest

from mambaad.data.images import read_image
from mambaad.errors import RunError
from mambaad.inference.explain import Explainer
from mambaad.inspection.inspector import Inspector
from mambaad.serve.inference.pool import InferencePool, PoolClosed, QueueFull
from mambaad.serve.inference.worker import Plan, Task
from tests.serve.inference.growing import GrowingPlan


def make_pool(source, kind=Plan, **options):
    defaults = {"processes": 1, "queue": 8, "part_seconds": 60.0}
    return InferencePool(kind(source, threads=1), **{**defaults, **options})


@pytest.fixture(scope="module")
def pool(line):
    made = make_pool(line)
    yield made
    made.close()


def test_a_part_is_inspected_as_the_inspector_does(pool, line, many_parts, good, defective):
    inspector = Inspector(line)
    path = many_parts / "bolt" / "test" / "spot" / "000.png"
    result = pool.submit(Task(defective, None, "a name")).result(60)
    record, expected = json.loads(result.record), inspector.inspect(path)
    assert (record["path"], record["score"]) == ("a name", expected.score)
    assert record["verdict"] == expected.verdict.value
    with np.load(io.BytesIO(result.map)) as kept:
        assert (kept["map"] == expected.anomaly_map).all()
        assert tuple(kept["range"]) == expected.heatmap_range
        assert (kept["regions"] == expected.region_mask).all()
        inspector = Inspector(line, keep_trained=True)
        explained = Explainer(inspector.engine.trained, inspector.size).explain(read_image(path))
        assert tuple(kept["at"]) == explained.at
        assert kept["shares"] == pytest.approx(explained.scale_shares, abs=1e-4)
        assert tuple(kept["strides"]) == explained.strides
        assert kept["embedding"].dtype == np.float16
    assert result.thumbnail.startswith(b"\xff\xd8")
    assert result.worker_ms > 0
    assert (result.attempts, result.bundle) == (1, pool.loaded.digest)
    given = json.loads(pool.submit(Task(good, "bolt")).result(60).record)
    assert given["product_given"] is True
    assert set(pool.loaded.products) == {"bolt", "nut"}


def test_what_is_no_image_is_refused(pool, good):
    for content, reason in ((b"\x89PNG\r\n\x1a\nno", "cannot be read"), (good[:300], "cannot be")):
        result = pool.submit(Task(content)).result(60)
        assert reason in result.refused
        assert result.map is None
        assert json.loads(result.record)["error"] == result.refused
    assert "not trained on" in pool.submit(Task(good, "screw")).result(60).refused


def test_a_process_that_dies_is_replaced_and_its_part_inspected_again(pool, good):
    before = pool.restarts
    os.kill(pool.pids[0], signal.SIGSTOP)  # so that it is killed with a part in its hands
    futures = [pool.submit(Task(good, None, str(n))) for n in range(3)]
    deadline = time.monotonic() + 20
    while pool.waiting > 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(pool.pids[0], signal.SIGKILL)
    results = [future.result(120) for future in futures]
    assert [json.loads(result.record)["path"] for result in results] == ["0", "1", "2"]
    assert [json.loads(result.record)["error"] for result in results] == [None] * 3
    assert [result.attempts for result in results] == [2, 1, 1]
    assert pool.restarts == before + 1


def test_a_process_that_grows_is_replaced_once_another_is_loaded(line, good):
    pool = make_pool(line, GrowingPlan, growth=12.0)
    try:
        (first,) = pool.pids
        deadline = time.monotonic() + 120
        done = 0
        while pool.restarts == 0 and time.monotonic() < deadline:
            result = pool.submit(Task(good)).result(60)
            assert (result.attempts, result.refused) == (1, None)
            done += 1
            assert len(pool.pids) == 1  # somebody inspects all the while
        assert pool.restarts == 1
        assert done >= 2
        assert pool.pids != [first]
        assert not is_running(first)
    finally:
        pool.close()


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_grew_stays_where_no_other_can_be_loaded(line, good, tmp_path, capsys):
    copy = tmp_path / "copy.mambaad"
    shutil.copy(line, copy)
    pool = make_pool(copy, growth=-1e6)  # any has grown by more
    try:
        before = pool.pids
        copy.write_bytes(b"no bundle")
        deadline = time.monotonic() + 60
        while "and stays: " not in capsys.readouterr().err and time.monotonic() < deadline:
            assert pool.submit(Task(good)).result(60).refused is None
        assert time.monotonic() < deadline
        assert (pool.pids, pool.restarts) == (before, 0)
    finally:
        pool.close()


def test_a_full_queue_refuses(pool, good):
    os.kill(pool.pids[0], signal.SIGSTOP)
    futures = []

    def fill():
        while True:
            futures.append(pool.submit(Task(good)))

    try:
        with pytest.raises(QueueFull) as caught:
            fill()
        assert caught.value.retry_after >= 1
        assert len(futures) in (8, 9)  # one may be in work
    finally:
        os.kill(pool.pids[0], signal.SIGCONT)
    assert all(future.result(60).refused is None for future in futures)


def test_a_part_that_never_ends_is_an_error(line, good):
    pool = make_pool(line, part_seconds=1.0)
    try:
        futures = [pool.submit(Task(good, None, "a"))]
        os.kill(pool.pids[0], signal.SIGSTOP)
        deadline = time.monotonic() + 120
        stopped = set()
        while not futures[0].done() and time.monotonic() < deadline:
            for pid in set(pool.pids) - stopped:
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
            time.sleep(0.001)
        result = futures[0].result(1)
        assert result.attempts == 2
        assert "in 2 attempts: took longer than 1 s" in json.loads(result.record)["error"]
        for pid in pool.pids:
            os.kill(pid, signal.SIGCONT)
    finally:
        pool.close()


def test_another_bundle_takes_over_without_a_lost_part(line, uncalibrated, good, tmp_path):
    pool = make_pool(line, queue=100)
    futures = [pool.submit(Task(good, None, str(n))) for n in range(10)]
    before = pool.loaded.digest
    with pytest.raises(RunError):
        pool.switch(Plan(tmp_path / "nothing.mambaad", threads=1))
    refused = []
    with pytest.raises(ValueError, match="no"):
        pool.switch(Plan(uncalibrated, threads=1), lambda _: refused.append(int("no")))
    assert pool.loaded.digest == before
    loaded = pool.switch(Plan(uncalibrated, threads=1))
    futures += [pool.submit(Task(good, None, str(n))) for n in range(10, 20)]
    results = [future.result(60) for future in futures]
    assert [json.loads(result.record)["path"] for result in results] == [str(n) for n in range(20)]
    assert results[0].bundle == before
    assert {result.bundle for result in results[10:]} == {loaded.digest} != {before}
    assert len(pool.pids) == 1
    pool.close()
    with pytest.raises(PoolClosed):
        pool.submit(Task(good))


def test_a_process_that_dies_with_nothing_to_do_costs_no_part_an_attempt(line, good):
    pool = make_pool(line, processes=2)
    try:
        dead = pool.pids
        for pid in dead:
            os.kill(pid, signal.SIGKILL)
        results = [pool.submit(Task(good, "bolt")) for _ in range(2)]
        for result in results:
            found = result.result(60)
            assert json.loads(found.record)["error"] is None
        wait_until(lambda: len(pool.pids) == 2 and not set(pool.pids) & set(dead))
        assert pool.restarts == 2
    finally:
        pool.close()


def test_a_process_that_takes_no_image_is_killed_in_time(line, good):
    pool = make_pool(line, part_seconds=2.0)
    try:
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        large = good + bytes(2**21)  # more than a pipe holds
        result = pool.submit(Task(large, "bolt")).result(60)
        assert result.attempts == 2
        assert json.loads(result.record)["error"] is None
    finally:
        pool.close()


def wait_until(holds, seconds=60.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
