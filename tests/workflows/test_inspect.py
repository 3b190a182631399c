"""``mambaad inspect``: the records of predict, each once, whatever dies."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import mambaad
from mambaad.errors import ConfigError, RunError
from mambaad.shards.processes import Processes
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.inspect import inspect
from mambaad.workflows.inspect_page import chosen, write_page

TIME = "2026-01-01T00:00:00+00:00"


def job(source, sources, out, **options):
    """Inspect in shards of eight, as one job does them that nothing disturbs."""
    options = {"shard_size": 8, "time": TIME, "executor": Processes(2), **options}
    return inspect(source, sources, out, **options)


def contents(out: Path) -> dict[str, bytes]:
    """What all files of a job have, by their paths in its folder."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def without_time(lines: str) -> list[dict]:
    return [{**json.loads(line), "time": None} for line in lines.splitlines()]


@pytest.fixture(scope="module")
def images(many_parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nineteen images, one of them damaged, beside a file that nobody expects to be one."""
    folder = tmp_path_factory.mktemp("images")
    for number, path in enumerate(sorted(many_parts.glob("nut/t*/*/*.png"))[::2]):
        (folder / f"{number:02}.png").write_bytes(path.read_bytes())
    (folder / "07a.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("on Monday")
    return folder


@pytest.fixture(scope="module")
def undisturbed(calibrated_run: Path, images: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("jobs") / "undisturbed"
    return job(calibrated_run, [images], out, maps=True)


def test_the_records_are_those_of_predict(undisturbed, calibrated_run, images, tmp_path):
    mambaad.predict(calibrated_run, images, tmp_path / "predicted")
    expected = without_time((tmp_path / "predicted" / "predictions.jsonl").read_text())
    out = undisturbed.place.folder
    lines = "".join(path.read_text() for path in sorted((out / "jsonl").iterdir()))
    assert without_time(lines) == expected
    assert {json.loads(line)["time"] for line in lines.splitlines()} == {TIME}
    rows = pq.read_table(out / "parquet").to_pylist()
    assert [row["path"] for row in rows] == [record["path"] for record in expected]
    for row, record in zip(rows, without_time(lines), strict=True):
        assert all(row[name] == value for name, value in record.items() if name != "time")


def test_maps_are_those_of_predict_with_16_bits(undisturbed, calibrated_run, images, tmp_path):
    mambaad.predict(calibrated_run, images, tmp_path / "predicted")
    out = undisturbed.place.folder
    maps = np.concatenate([np.load(path) for path in sorted((out / "maps").iterdir())])
    records = list(undisturbed.records())
    assert maps.dtype == np.float16
    assert len(maps) == len(records)
    for found, record in zip(maps, records, strict=True):
        path = tmp_path / "predicted" / f"{Path(record.path).name}.map.npy"
        if record.error is None:
            assert np.array_equal(found, np.load(path).astype(np.float16))
        else:
            assert np.isnan(found).all()


def test_the_summary_counts(undisturbed):
    records = list(undisturbed.records())
    assert undisturbed.rows == len(records) == 20
    assert undisturbed.errors == 1
    assert undisturbed.skipped == 1
    for verdict, number in undisturbed.by_verdict.items():
        assert number == sum(r.verdict == verdict and r.error is None for r in records)
    assert sum(undisturbed.by_verdict.values()) == 18


def test_a_dead_worker_changes_nothing(undisturbed, calibrated_run, images, tmp_path):
    executor, killed = Processes(2), []

    def kill() -> None:
        while len(killed) < 3:
            for pid in executor.pids[len(killed) :]:
                time.sleep(0.3)
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.01)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    summary = job(calibrated_run, [images], tmp_path / "out", executor=executor, maps=True)
    assert len(executor.pids) > 2
    assert contents(tmp_path / "out") == contents(undisturbed.place.folder)
    assert summary.verdicts == undisturbed.verdicts


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mambaad", "inspect", *map(str, arguments)]


def test_a_killed_job_is_resumed(undisturbed, calibrated_run, images, tmp_path):
    out = tmp_path / "out"
    arguments = (calibrated_run, images, "--out", out, "--shard-size", 8, "--time", TIME, "--maps")
    killed = subprocess.Popen(command(*arguments, "--workers", 1), stderr=subprocess.DEVNULL)
    while not list(out.glob("done/*")) and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    had = contents(out / "done")
    assert 0 < len(had) < 3
    finished = [out / "jsonl" / f"{Path(name).stem}.jsonl" for name in had]
    written = [path.stat().st_mtime_ns for path in finished]
    with pytest.raises(RunError, match="go on with it by --resume"):
        job(calibrated_run, [images], out, maps=True)
    summary = job(calibrated_run, [images], out, maps=True, resume=True)
    assert contents(out) == contents(undisturbed.place.folder)
    assert summary.verdicts == undisturbed.verdicts
    assert [path.stat().st_mtime_ns for path in finished] == written  # not done again


def test_a_finished_job_is_not_done_again(undisturbed, calibrated_run, images):
    before = {p: p.stat().st_mtime_ns for p in undisturbed.place.folder.rglob("*.*")}
    again = job(calibrated_run, [images], undisturbed.place.folder, maps=True, resume=True)
    assert again.inspected == 0
    assert again.verdicts == undisturbed.verdicts
    assert {p: p.stat().st_mtime_ns for p in undisturbed.place.folder.rglob("*.*")} == before


def test_another_job_is_not_resumed(undisturbed, calibrated_run, trained_run, images, tmp_path):
    out = undisturbed.place.folder
    for options, flag in (
        ({"maps": False}, "--maps"),
        ({"maps": True, "shard_size": 7}, "--shard-size"),
        ({"maps": True, "product": "nut"}, "--class"),
        ({"maps": True, "time": "2020-01-01"}, "--time"),
    ):
        with pytest.raises(ConfigError, match=rf"^{flag}: "):
            job(calibrated_run, [images], out, resume=True, **options)
    with pytest.raises(ConfigError, match=r"^SOURCE: "):
        job(calibrated_run, [tmp_path], out, resume=True, maps=True)
    with pytest.raises(ConfigError, match=r"^BUNDLE: "):
        job(trained_run, [images], out, resume=True, maps=True)


def test_a_job_is_not_resumed_by_a_model_that_was_calibrated_again(
    undisturbed, calibrated_run, many_parts, images, tmp_path
):
    again = shutil.copytree(calibrated_run, tmp_path / "again")
    calibrate(again, many_parts, target_fpr=0.2, review_fpr=0.3)
    with pytest.raises(ConfigError, match=r"^BUNDLE: "):
        job(again, [images], undisturbed.place.folder, resume=True, maps=True)


_CUSTOMIZED = """
import os, time
import mambaad.data.images as images
decode = images.decode
def deadly(path, most):
    if path.name == "03.png":
        os._exit(9)
    if path.name == "12.png":
        time.sleep(1000)
    return decode(path, most)
images.decode = deadly
"""


def test_an_image_that_kills_workers_becomes_a_row(undisturbed, calibrated_run, images, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(_CUSTOMIZED)
    places = os.pathsep.join([str(tmp_path), *sys.path])
    arguments = (calibrated_run, images, "--out", tmp_path / "out", "--shard-size", 8)
    done = subprocess.run(
        command(*arguments, "--time", TIME, "--image-seconds", 5),
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "16 images" in done.stdout
    lines = [p.read_text() for p in sorted((tmp_path / "out" / "jsonl").iterdir())]
    records = {Path(r["path"]).name: r for r in without_time("".join(lines))}
    assert "2 attempts: the worker ended" in records.pop("03.png")["error"]
    assert "2 attempts: took longer than 5 s" in records.pop("12.png")["error"]
    expected = {Path(r.path).name: r.model_dump(mode="json") for r in undisturbed.records()}
    assert records == {name: {**expected[name], "time": None} for name in records}
    assert len(records) == 18


_SLOW = """
import time
import mambaad.shards.stores as stores
write = stores.Place.write
def slow(self, name, content):
    time.sleep(6 * name.startswith("jsonl"))
    write(self, name, content)
stores.Place.write = slow
"""


def test_a_slow_disk_is_not_blamed_on_the_last_image(undisturbed, calibrated_run, images, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(_SLOW)
    done = subprocess.run(
        command(calibrated_run, images, "--out", tmp_path / "out", "--image-seconds", 3),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (tmp_path / "out" / "jsonl" / "part-00000000.jsonl").read_text()
    expected = [{**r.model_dump(mode="json"), "time": None} for r in undisturbed.records()]
    assert without_time(lines) == expected, done.stderr


_HELD_UP = """
import os, time
import mambaad.inspection.inspector as inspector
begin = inspector.Inspector.__init__
def once(self, *arguments, **named):
    try:
        os.close(os.open(PLACE + "/loaded", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        time.sleep(1000)
    begin(self, *arguments, **named)
inspector.Inspector.__init__ = once
"""


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_nobody_waits_for_workers_that_load(calibrated_run, images, tmp_path, is_interrupted):
    program = _HELD_UP.replace("PLACE", repr(str(tmp_path)))
    (tmp_path / "sitecustomize.py").write_text(program)
    if is_interrupted:  # the first one does not load either
        (tmp_path / "loaded").touch()
    job = subprocess.Popen(
        command(calibrated_run, images, "--out", tmp_path / "out", "--shard-size", 8),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if is_interrupted:
        while not (tmp_path / "out" / "job.json").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        job.send_signal(signal.SIGINT)
    out, said = job.communicate(timeout=500)
    if is_interrupted:
        assert job.returncode == 130
        assert "resume with: mambaad inspect" in said
    else:
        assert "18 images" in out, said


def test_the_sample_has_the_worst_and_is_the_same_again(undisturbed):
    places = chosen(undisturbed, 8)
    assert places == chosen(undisturbed, 8)
    assert len(set(places)) == 8
    records = list(undisturbed.records())
    flagged = [i for i, r in enumerate(records) if r.verdict in ("FAIL", "REVIEW")]
    rank = {i: (records[i].verdict == "FAIL", records[i].score) for i in flagged}
    worst = sorted(flagged, key=rank.__getitem__)[-4:]
    assert {8 * shard + row for shard, row in places} >= set(worst)
    everything = chosen(undisturbed, 100)
    assert len(everything) == 19  # all but what is passed over


def test_the_page_is_of_the_records_wherever_it_is_made(
    calibrated_run, images, tmp_path, monkeypatch
):
    folder, elsewhere = tmp_path / "here" / "images", tmp_path / "elsewhere"
    folder.mkdir(parents=True)
    elsewhere.mkdir()
    good, bad = sorted(images.glob("*.png"))[:2]
    (folder / "a.png").write_bytes(good.read_bytes())
    (folder / "b.png").write_bytes(b"no image")
    monkeypatch.chdir(folder.parent)
    run, out = Path(calibrated_run).resolve(), tmp_path / "out"
    job(run, ["images"], out)
    (folder / "b.png").write_bytes(bad.read_bytes())  # what failed is not inspected again
    monkeypatch.chdir(elsewhere)
    summary = job(run, ["images"], out, resume=True)
    html = write_page(summary, run, tmp_path / "page", 2).read_text()
    assert len(list((tmp_path / "page" / "pictures").glob("??????.jpg"))) == 1
    assert "b.png cannot be read as an image" in html
    table = re.sub(r"<[^>]+>", " ", html[html.index("All images") : html.index("on this page")])
    *_, unknown, everything = re.findall(r"(?:unknown|all) [\d\s]+", table)
    assert unknown.split()[-1] == "1"
    assert everything.split()[:2] == ["all", "2"]
    assert everything.split()[-1] == "1"
