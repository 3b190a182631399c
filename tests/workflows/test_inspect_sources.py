"""What ``mambaad inspect`` refuses to list, and manifests that cannot be read: one short line."""

# ruff: noqa: F811  # fixtures by name

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
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


def test_paths_that_nothing_can_have_become_rows(calibrated_run, images, tmp_path):
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
