"""The manifest of a job: the images in their order, a row group of Parquet for each shard."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mambaad.errors import RunError
from mambaad.shards.stores import Place, first_line, retried

MANIFEST = "manifest.parquet"


@dataclass(frozen=True)
class Row:
    """One row of a manifest.

    ``path``: or URL, of the image. ``size``, ``mtime_ns``: of its file when it was listed, in
    bytes and in nanoseconds since 1970; None where they are not known. ``digest``: the SHA-256 of
    its file. ``problem``: why it is not inspected; None if it is. ``skipped``: whether nobody
    expects it to be (:class:`mambaad.inspection.records.Record`).
    """

    path: str
    size: int | None = None
    mtime_ns: int | None = None
    digest: str | None = None
    problem: str | None = None
    skipped: bool = False


_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("digest", pa.string()),
        ("problem", pa.string()),
        pa.field("skipped", pa.bool_(), nullable=False),
    ]
)


def write_manifest(place: Place, rows: Iterable[Row], shard_size: int) -> int:
    """Write the manifest of a job, whose shards are ``shard_size`` rows each but for the last.

    Args:
        place: of the job.
        rows: are taken as they are written, so that they need not fit into memory.
        shard_size: 1 or more.

    Returns:
        The number of rows.

    Raises:
        RunError: it cannot be written.
    """
    count, left = 0, iter(rows)
    with (
        place.sink(MANIFEST) as file,
        # Neither helps to read whole groups, and both lengthen what is read to find a group.
        pq.ParquetWriter(file, _SCHEMA, write_statistics=False, use_dictionary=False) as writer,
    ):
        while shard := list(islice(left, shard_size)):
            columns = zip(*map(astuple, shard), strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), row_group_size=2**30)
            count += len(shard)
    return count


def read_shard(place: Place, shard: int) -> list[Row]:
    """Read the rows of a shard.

    Raises:
        RunError: there is no such manifest, or it is damaged.
    """
    try:
        table = retried(lambda: _opened(place.url).read_row_group(shard), place.patience)
        table.validate(full=True)  # text is UTF-8
    except (OSError, pa.ArrowException, IndexError) as error:
        raise unreadable(place, first_line(error)) from error
    if not table.schema.equals(_SCHEMA):
        raise unreadable(place, "it has other columns than the manifest of a job")
    return [Row(*values) for values in zip(*(c.to_pylist() for c in table.columns), strict=True)]


def check_manifest(place: Place, digest: str, rows: int, shards: int) -> None:
    """Refuse a manifest that is not the one that a job began with (RunError)."""
    if digest_of_manifest(place) != digest:
        raise unreadable(place, "it has changed since the job began")
    try:
        with place.open(MANIFEST) as file:
            found = pq.read_metadata(file)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(place, first_line(error)) from error
    if (found.num_rows, found.num_row_groups) != (rows, shards):
        raise unreadable(
            place,
            f"it has {found.num_rows} rows in {found.num_row_groups} groups, expected {rows} in "
            f"{shards}",
        )


def digest_of_manifest(place: Place) -> str:
    """Compute the SHA-256 of a job's manifest (RunError: it cannot be read)."""
    try:
        return retried(lambda: place.digest(MANIFEST))
    except OSError as error:
        raise unreadable(place, first_line(error)) from error


def unreadable(place: Place, reason: str) -> RunError:
    """Make the error of a manifest that cannot be used."""
    return RunError(
        f"{place.name_of(MANIFEST)} cannot be read ({reason}); restore it, or begin again in "
        "another folder"
    )


@functools.lru_cache(maxsize=2)
def _opened(url: str) -> Any:
    """Open a manifest once for all of its shards: it begins with reading where they are."""
    return pq.ParquetFile(Place(url).open(MANIFEST))
