"""``mambaad inspect``: the records of predict, each once, whatever dies."""

from __future__ import annotations

import hashlib
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
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

import mambaad
from mambaad.artifacts.sealed import sealed
from mambaad.errors import ConfigError, RunError
from mambaad.shards.job import Job
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


@pytest.fixture
def copied(undisturbed, tmp_path):
    """A copy of the finished job."""
    return shutil.copytree(undisturbed.place.folder, tmp_path / "copy")


def resumed(copied, run, images):
    return job(run, [images], copied, maps=True, resume=True)


def test_a_job_whose_settings_are_lost_is_not_begun_over_its_results(
    copied, calibrated_run, trained_run, images
):
    before = contents(copied)
    (copied / "job.json").unlink()
    for run in (calibrated_run, trained_run):
        with pytest.raises(RunError, match=r"has results of a job, but no job\.json; restore it"):
            resumed(copied, run, images)
    del before["job.json"]
    assert contents(copied) == before


def test_settings_that_are_no_file_are_not_taken_for_none(copied, calibrated_run, images):
    (copied / "job.json").unlink()
    os.mkfifo(copied / "job.json")
    with pytest.raises(RunError, match=r"job\.json cannot be read \(.*no regular file"):
        resumed(copied, calibrated_run, images)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("job.json", r"job\.json: it has changed since it was written"),
        ("done/part-00000001.json", "part-00000001.json: it has changed since.*; remove it"),
        ("manifest.parquet", r"manifest\.parquet cannot be read \(it has changed since the job"),
    ],
)
def test_a_changed_file_of_a_job_is_refused(copied, calibrated_run, images, name, message):
    content = (copied / name).read_bytes()
    changed = content.replace(b"0", b"1", 1) if name.endswith(".json") else content[:-1] + b"2"
    assert changed != content
    (copied / name).write_bytes(changed)
    with pytest.raises(RunError, match=message):
        resumed(copied, calibrated_run, images)


def test_the_marker_of_another_shard_is_refused(copied, calibrated_run, images):
    shutil.copy(copied / "done" / "part-00000000.json", copied / "done" / "part-00000001.json")
    with pytest.raises(RunError, match=r"part-00000001\.json is the marker of shard 0; remove it"):
        resumed(copied, calibrated_run, images)


def test_a_manifest_of_other_shards_is_refused_before_anything_is_done(
    copied, calibrated_run, images
):
    table = pq.read_table(copied / "manifest.parquet")
    pq.write_table(table, copied / "manifest.parquet", row_group_size=1)
    fields = json.loads((copied / "job.json").read_text())
    del fields["sha256"]
    fields["manifest"] = hashlib.sha256((copied / "manifest.parquet").read_bytes()).hexdigest()
    (copied / "job.json").write_bytes(sealed(fields))
    (copied / "done" / "part-00000002.json").unlink()
    before = contents(copied)
    with pytest.raises(RunError, match="has 20 rows in 20 groups, expected 20 in 3"):
        resumed(copied, calibrated_run, images)
    assert contents(copied) == before


def test_changed_records_are_refused(copied, calibrated_run, images):
    path = copied / "jsonl" / "part-00000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"height":', b'"height" :', 1))
    summary = resumed(copied, calibrated_run, images)
    with pytest.raises(RunError, match=r"part-00000001\.jsonl cannot be read \(it has changed"):
        list(summary.records())
    path = copied / "parquet" / "part-00000000.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"2")
    with pytest.raises(RunError, match=r"part-00000000\.parquet cannot be read \(it has changed"):
        chosen(summary, 8)


def test_shards_that_do_not_fit_the_rows_are_no_job(undisturbed):
    fields = undisturbed.job.model_dump()
    for changed in ({"shards": 10**9}, {"rows": 10**12}, {"shard_size": 0}):
        with pytest.raises(ValidationError):
            Job.model_validate({**fields, **changed})


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


def test_odd_rows_of_a_manifest_have_their_errors(calibrated_run, images, tmp_path):
    names = [str(path) for path in sorted(images.glob("*.png"))[:4]]
    digests = [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in names]
    rows = [
        ("https://example.com/a.png", ""),
        (names[0], digests[0].upper()),
        (names[1], ""),
        (names[2], digests[0]),
        (names[3], "md5:abc"),
        (f"{names[0]}\0.png", ""),
        ("s3://a b/c.png", ""),
    ]
    paths, listed = zip(*rows, strict=True)
    pq.write_table(pa.table({"path": paths, "digest": listed}), tmp_path / "list.parquet")
    summary = job(calibrated_run, [tmp_path / "list.parquet"], tmp_path / "out", digests=True)
    errors = [record.error for record in summary.records()]
    assert summary.errors == 5
    assert "https://example.com is no store that can be opened" in errors[0]
    assert errors[1] is errors[2] is None
    assert "its digest is another one" in errors[3]
    assert "is listed with 'md5:abc', which is no SHA-256" in errors[4]
    assert "row 6: its path has the character 0" in errors[5]
    assert "s3://a b is no store" in errors[6]
    manifest = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert [row["digest"] for row in manifest[1:3]] == digests[:2]


def test_manifests_and_patterns_list_what_folders_do(calibrated_run, images, tmp_path):
    names = sorted(images.glob("*.png"))[:5]
    paths = pa.table({"path": [str(path) for path in names], "line": [1] * 5})
    pq.write_table(paths, tmp_path / "list.parquet")
    short = pa.table({"path": [os.path.relpath(path, tmp_path) for path in names]})
    pyarrow.csv.write_csv(short, tmp_path / "list.csv")
    found = {}
    for source in (images / "0[0-4].png", tmp_path / "list.parquet", tmp_path / "list.csv"):
        out = tmp_path / f"out{source.suffix}"
        summary = job(calibrated_run, [source], out, executor=Processes(1))
        found[source.suffix] = [
            (Path(r.path).resolve(), r.score, r.verdict) for r in summary.records()
        ]
        listed = pq.read_table(out / "manifest.parquet").to_pylist()
        assert [row["size"] for row in listed] == [path.stat().st_size for path in names]
    assert found[".png"] == found[".parquet"] == found[".csv"]
    assert [path for path, _, _ in found[".csv"]] == [path.resolve() for path in names]


def test_a_file_that_has_changed_is_not_inspected(calibrated_run, images, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    first, second = sorted(images.glob("*.png"))[:2]
    (folder / "a.png").write_bytes(first.read_bytes())
    (folder / "b.png").write_bytes(second.read_bytes())

    class Changing(Processes):
        def run(self, plan, shards):
            content = bytearray((folder / "a.png").read_bytes())
            content[-1] ^= 1
            (folder / "a.png").write_bytes(content)
            return super().run(plan, shards)

    summary = job(calibrated_run, [folder], tmp_path / "out", executor=Changing(1), digests=True)
    bad, good = summary.records()
    assert "has changed since it was listed (its digest is another one)" in bad.error
    assert good.error is None


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
