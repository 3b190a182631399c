"""Manifests of a user that cannot be read: one line, short and printable."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mambaad.errors import DataError
from mambaad.workflows.inspect import inspect as job


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
