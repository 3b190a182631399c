"""Planning: the arithmetic against numbers worked out by hand, and a measurement."""

import json
import os
import shutil
import tempfile

import pytest

from mambaad.errors import ConfigError, DataError
from mambaad.workflows.plan import (
    Rates,
    check_asked,
    estimate,
    measure,
    numbers_of_workers,
    shares,
    to_json,
    workers_for,
    workers_of_store,
)

# 0.1 s an image on a core.
CORE = Rates("cpu", 10, False, 2.0, 0.01, 0.02, 0.06, 0.01, 0.0, 0.0)
# 0.005 s an image on a GPU, 0.04 s on a core beside it: 8 cores keep it busy.
GPU = Rates("cuda", 10, False, 2.0, 0.01, 0.02, 0.005, 0.01, 0.0, 0.0)


def test_hours_and_cost_are_those_of_the_cores():
    found = estimate(CORE, 3_600_000, 100, price=0.5)
    assert found.hours == pytest.approx(1.0)
    assert found.worker_hours == pytest.approx(100)
    assert found.cost == pytest.approx(50)
    assert found.waits == 0
    assert estimate(CORE, 3_600_000, 100).cost is None


def test_a_store_that_gives_less_makes_the_cores_wait():
    # 100 cores ask for 2000 MB/s.
    found = estimate(CORE, 3_600_000, 100, store_rate=500, price=0.5)
    assert found.hours == pytest.approx(4.0)
    assert found.cost == pytest.approx(200)
    assert found.waits == pytest.approx(0.75)
    assert workers_of_store(CORE, 500) == 25
    assert estimate(CORE, 3_600_000, 25, store_rate=500).waits == 0


def test_the_start_counts_and_no_more_workers_than_images_help():
    slow = Rates("cpu", 10, False, 2.0, 0.01, 0.02, 0.06, 0.01, 0.0, 36.0)
    assert estimate(slow, 10, 1000).hours == pytest.approx((36 + 0.1) / 3600)


@pytest.mark.parametrize(
    ("hours", "store", "needed"),
    [(1.0, None, 100), (0.999, None, 101), (1000, None, 1), (1.0, 1000, None), (2.0, 1000, 50)],
)
def test_the_fewest_cores_for_some_hours(hours, store, needed):
    assert workers_for(CORE, 3_600_000, hours, store_rate=store) == needed
    if needed:
        assert estimate(CORE, 3_600_000, needed, store_rate=store).hours <= hours + 1e-9


def test_a_gpu_has_cores_beside_it():
    assert GPU.by_worker == 0.005
    assert GPU.cores_beside == 8
    assert CORE.cores_beside == 1
    assert numbers_of_workers(GPU, 50) == [1, 10]


@pytest.mark.parametrize("rates", [CORE, GPU])
def test_shares_are_of_the_whole(rates):
    assert sum(shares(rates).values()) == pytest.approx(1)
    assert shares(rates)["decoding"] == pytest.approx(2 * shares(rates)["reading"])


@pytest.mark.parametrize("flag", ["--rate", "--price", "--hours"])
def test_numbers_that_are_none_are_refused(flag):
    values = {"--rate": (0.0, None, None), "--price": (None, -1.0, None)}
    with pytest.raises(ConfigError, match=flag):
        check_asked(1, *values.get(flag, (None, None, float("nan"))))


def test_what_is_measured_is_of_these_images(calibrated_run, parts, tmp_path):
    files = sorted(parts.rglob("test/*/*.png"))
    rates = measure(calibrated_run, [parts / "bolt" / "test", parts / "nut" / "test"])
    assert rates.measured == len(files) == 12
    assert rates.megabytes == pytest.approx(sum(f.stat().st_size for f in files) / 12 / 1e6)
    assert not rates.drawn
    assert min(rates.reading, rates.decoding, rates.inference, rates.writing) > 0
    written = json.loads(to_json(rates, 10**6, [estimate(rates, 10**6, 8)], price=None))
    assert written["estimates"][0]["workers"] == 8
    assert written["rates"]["images_per_s"] == pytest.approx(1 / rates.on_core)
    assert "price" not in written


def test_a_huge_file_is_not_read_whole(calibrated_run, parts, tmp_path):
    huge = tmp_path / "huge.png"
    huge.write_bytes(next(parts.rglob("*.png")).read_bytes())
    os.truncate(huge, 2**40)
    with pytest.raises(DataError, match=r"huge\.png cannot be read \(.*give a smaller file"):
        measure(calibrated_run, [huge])


def test_nothing_is_left_of_drawn_images(calibrated_run, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / ".0123456789ab.mambaad-tmp"  # as a killed command leaves it
    left.mkdir()
    (left / "0.png").write_bytes(b"x")
    measure(calibrated_run)
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_cannot_be_read_is_left_out_unless_it_is_all(calibrated_run, parts, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        measure(calibrated_run, [broken])
    shutil.copy(next(parts.rglob("*.png")), tmp_path / "whole.png")
    assert measure(calibrated_run, [tmp_path]).measured == 1
