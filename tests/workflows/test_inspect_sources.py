"""What ``mambaad inspect`` refuses to list, and manifests that cannot be read: one short line."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mambaad.errors import ConfigError, DataError
from mambaad.shards.processes import Processes
from tests.workflows.test_inspect import images, job  # noqa: F401  # images by name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name\na.png\n", "has the columns name, expected 'path' among them"),
        ("path\n", "lists no images"),
        ('path,size\n"",3\n', "row 1: it has no path"),
        ("path,size\na.png,large\n", "cannot be read as a manifest"),
    ],
)
def test_manifests_that_are_refused(trained_run, tmp_path, content, message):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        job(trained_run, [tmp_path / "list.csv"], tmp_path / "out")
    assert not (tmp_path / "out" / "job.json").exists()


def test_paths_that_nothing_can_have_become_rows(calibrated_run, images, tmp_path):  # noqa: F811
    odd = ["a\0b.png", "nowhere://bucket/a.png", "x" * 5000, str(images / "00.png")]
    pq.write_table(pa.table({"path": odd}), tmp_path / "list.parquet")
    source, one = [tmp_path / "list.parquet"], Processes(1)
    found = job(calibrated_run, source, tmp_path / "out", executor=one, digests=True)
    zero, store, long, whole = found.records()
    assert "its path has the character 0; remove it" in zero.error
    assert "is no store that can be opened" in store.error
    assert "cannot be read (File name too long)" in long.error
    assert whole.error is None
    assert found.errors == 3


def test_sources_that_are_not_there(trained_run, tmp_path):
    for source, message in (
        (tmp_path / "gone", "does not exist"),
        (tmp_path / "*.png", "matches nothing"),
        (tmp_path / "gone.csv", "cannot be read"),
        (tmp_path, "no images"),
    ):
        with pytest.raises(DataError, match=message):
            job(trained_run, [source], tmp_path / "out")
    with pytest.raises(ConfigError, match="is no store that can be opened"):
        job(trained_run, ["nowhere://images"], tmp_path / "out")


def test_a_manifest_with_a_column_twice_is_refused(trained_run, tmp_path):
    (tmp_path / "list.csv").write_text("path,path\na.png,b.png\n")
    twice = pa.Table.from_arrays([pa.array(["a.png"])] * 2, ["path", "path"])
    pq.write_table(twice, tmp_path / "list.parquet")
    for name in ("list.csv", "list.parquet"):
        with pytest.raises(DataError, match="has the column 'path' more than once; keep one"):
            job(trained_run, [tmp_path / name], tmp_path / "out")


def test_a_damaged_footer_is_said_in_printable_characters(trained_run, tmp_path):
    length = (64).to_bytes(4, "little")
    (tmp_path / "list.parquet").write_bytes(b"PAR1" + b"\x0f" * 64 + length + b"PAR1")
    with pytest.raises(DataError, match="cannot be read as a manifest") as raised:
        job(trained_run, [tmp_path / "list.parquet"], tmp_path / "out")
    assert str(raised.value).isprintable()


def test_what_a_manifest_quotes_is_short_and_printable(trained_run, tmp_path):
    (tmp_path / "list.csv").write_text(f"\x1b[31m,{'x' * 5000}\na,b\n")
    with pytest.raises(DataError) as raised:
        job(trained_run, [tmp_path / "list.csv"], tmp_path / "out")
    assert len(str(raised.value)) < 500 + len(str(tmp_path))
    assert "\x1b" not in str(raised.value)
    (tmp_path / "list.csv").write_text(f"path,size\na.png,{'y' * 5000}\n")
    with pytest.raises(DataError) as raised:
        job(trained_run, [tmp_path / "list.csv"], tmp_path / "out")
    assert len(str(raised.value)) < 500 + len(str(tmp_path))
