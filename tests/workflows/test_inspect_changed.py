"""Files of a job that have changed since they were written are refused by name."""

# ruff: noqa: F811  # fixtures by name

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from mambaad.artifacts.sealed import sealed
from mambaad.errors import RunError
from mambaad.shards.job import Job
from mambaad.workflows.inspect_page import chosen
from tests.workflows.test_inspect import (  # noqa: F401  # fixtures by name
    contents,
    images,
    job,
    undisturbed,
)


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
