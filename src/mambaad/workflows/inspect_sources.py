"""The images of ``mambaad inspect``: in folders and stores, by patterns, and in manifests."""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import fs

from mambaad.data.walk import Unread, is_image, is_visible, unread_file
from mambaad.documents import shortened
from mambaad.errors import ConfigError, DataError
from mambaad.file_errors import cannot_read
from mambaad.files import file_digest, open_regular, printable
from mambaad.shards.manifest import Row
from mambaad.shards.stores import (
    first_line,
    is_lasting,
    is_url,
    located,
    plain,
    read_url,
    retried,
)
from mambaad.workflows.predict_inputs import find_inputs

MANIFESTS = (".parquet", ".csv")
"""The suffixes of manifests."""
_COLUMNS = {
    "path": pa.string(),
    "size": pa.int64(),
    "mtime_ns": pa.int64(),
    "digest": pa.string(),
}
_SHA256 = re.compile("[0-9a-f]{64}")
_BLOCK = 2**22  # bytes of a CSV that are read at a time


def find_rows(
    sources: Sequence[str], out: Path | None, report: Path | None, *, digests: bool
) -> Iterator[Row]:
    """Yield a row for each image of sources, and for what is passed over beside them.

    First come the images of this machine, in the order of ``mambaad predict``, then those of each
    manifest and store, in the order in which they were given.

    Args:
        sources: paths of images, and of folders, which are searched at any depth; patterns such as
            ``line-*/*.png``; manifests; URLs of a store's files and folders.
        out, report: folders of results, which are left out.
        digests: compute the SHA-256 of files whose manifest has none.

    Raises:
        DataError: something that is not there or cannot be listed, or a manifest without paths.
        ConfigError: no store that pyarrow knows.
    """
    names = [plain(source) for source in sources]
    here = [path for name in names if not _is_elsewhere(name) for path in _matching(name)]
    rows: Iterator[Row] = _local(here, out, report) if here else iter(())
    for name in names:
        if name.lower().endswith(MANIFESTS):
            rows = itertools.chain(rows, _listed(name))
        elif is_url(name):
            rows = itertools.chain(rows, _stored(name))
    return map(_with_digest, rows) if digests else rows


def _is_elsewhere(name: str) -> bool:
    return is_url(name) or name.lower().endswith(MANIFESTS)


def _matching(name: str) -> list[Path]:
    """Return the paths that a pattern matches; or the one that it is."""
    if os.path.lexists(name) or not glob.has_magic(name):
        return [Path(name)]
    found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # of relative paths too
    if not found:
        raise DataError(f"{name} matches nothing; give images, folders or a manifest")
    return [Path(path) for path in found]


def _local(paths: list[Path], out: Path | None, report: Path | None) -> Iterator[Row]:
    inputs = find_inputs(paths, out, report)
    for one in inputs.unread:
        yield _passed_over(one)
    for path in inputs.targets:
        if (problem := _odd_name(path)) is not None:
            yield Row(printable(path), problem=problem)
            continue
        try:
            found = path.stat()
        except OSError:  # removed meanwhile: reading it says so
            yield Row(str(path))
            continue
        yield Row(str(path), found.st_size, found.st_mtime_ns)


def _odd_name(path: Path) -> str | None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return f"{printable(path)} has a name that is no UTF-8; rename it"
    return None


def _passed_over(one: Unread) -> Row:
    files = f" ({one.files} files)" if one.files > 1 else ""
    path = printable(one.path)
    return Row(path, problem=f"{path}{files} {one.reason}", skipped=one.is_usual)


def _with_digest(row: Row) -> Row:
    if row.digest is not None or row.problem is not None:
        return row
    try:
        digest = _digest_of(row.path)
    except (OSError, ConfigError, ValueError) as error:
        if is_url(row.path) and isinstance(error, OSError) and not is_lasting(error):
            raise _cannot_list(row.path, error) from error
        return row  # reading it says why
    return Row(row.path, row.size, row.mtime_ns, digest)


def _digest_of(path: str) -> str:
    if not is_url(path):
        return file_digest(Path(path))
    return hashlib.sha256(read_url(path)).hexdigest()


def _stored(url: str) -> Iterator[Row]:
    """List the files of a store at and below a URL, sorted."""
    try:
        system, path = retried(lambda: located(url))
        at = retried(lambda: system.get_file_info(path))
        if at.type == fs.FileType.File:
            yield Row(url, at.size, at.mtime_ns)
            return
        selector = fs.FileSelector(path, recursive=True)
        found = retried(lambda: system.get_file_info(selector))
    except OSError as error:
        raise _cannot_list(url, error) from error
    top, files = path.rstrip("/"), [info for info in found if info.type == fs.FileType.File]
    is_any = False
    for info in sorted(files, key=lambda info: info.path):
        below = PurePosixPath(info.path[len(top) :].lstrip("/"))
        name = f"{url.rstrip('/')}/{below}"
        is_any = is_any or is_image(Path(below.name))
        if not all(map(is_visible, below.parts)):
            yield Row(name, problem=f"{name} is hidden", skipped=True)
        elif is_image(Path(below.name)):
            yield Row(name, info.size, info.mtime_ns)
        else:
            one = unread_file(Path(below.name), is_file=True)
            yield Row(name, problem=f"{name} {one.reason}", skipped=one.is_usual)
    if not is_any:
        raise DataError(f"no images in {url}; give images or their folder")


def _cannot_list(url: str, error: OSError) -> DataError:
    return DataError(
        f"{url} cannot be listed ({first_line(error)}); check it, and the endpoint, region and "
        "credentials in the environment"
    )


def _listed(name: str) -> Iterator[Row]:
    """Read a manifest: relative paths in it lead from its folder."""
    batches = _parquet_batches(name) if name.lower().endswith(".parquet") else _csv_batches(name)
    folder = name.rpartition("/")[0]
    number = 0
    for batch in batches:
        columns = {key: batch.column(key).to_pylist() for key in batch.schema.names}
        empty = [None] * batch.num_rows
        wanted = [columns.get(key, empty) for key in _COLUMNS]
        for path, size, mtime_ns, digest in zip(*wanted, strict=True):
            number += 1
            if not path:
                raise DataError(f"{name}, row {number}: it has no path; add it, or remove the row")
            if "\0" in path:  # which no name has
                problem = f"{name}, row {number}: its path has the character 0; remove it"
                yield Row(printable(path), problem=problem)
                continue
            is_whole = not folder or is_url(path) or os.path.isabs(path)  # noqa: PTH117  # quick
            whole = plain(path) if is_whole else f"{folder}/{path}"
            yield _row(whole, size, mtime_ns, (digest or "").strip().lower() or None)
    if not number:
        raise DataError(f"{name} lists no images; give a manifest with a row for each")


def _row(path: str, size: int | None, mtime_ns: int | None, digest: str | None) -> Row:
    """A row of a manifest, with what it does not say of its file."""
    row = Row(path, size, mtime_ns, digest)
    if digest is not None and not _SHA256.fullmatch(digest):
        problem = f"{printable(path)} is listed with '{printable(digest)}', which is no SHA-256"
        return Row(path, problem=f"{problem}; correct the manifest, or leave the cell empty")
    if size is not None or is_url(path):
        return row
    try:
        found = os.stat(path)  # noqa: PTH116  # quick
    except OSError:  # reading it says why
        return row
    return Row(path, found.st_size, found.st_mtime_ns, digest)


def _parquet_batches(name: str) -> Iterator[Any]:
    with _manifest_errors(name), _open(name) as file:
        table = pq.ParquetFile(file)
        columns = _known(name, table.schema_arrow.names)
        schema = pa.schema([(key, _COLUMNS[key]) for key in columns])
        for batch in table.iter_batches(columns=columns):
            batch.validate(full=True)  # text is UTF-8
            yield pa.Table.from_batches([batch]).select(columns).cast(schema).combine_chunks()


def _csv_batches(name: str) -> Iterator[Any]:
    with _manifest_errors(name), _open(name) as file:
        reader = pyarrow.csv.open_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK),
            convert_options=pyarrow.csv.ConvertOptions(column_types=_COLUMNS),
        )
        columns = _known(name, reader.schema.names)
        for batch in reader:
            yield pa.Table.from_batches([batch]).select(columns)


def _known(name: str, columns: Sequence[str]) -> list[str]:
    if "path" not in columns:
        listed = shortened(", ".join(columns))
        raise DataError(
            f"{name} has the columns {listed}, expected 'path' among them; rename that of the "
            "images' paths"
        )
    known = [column for column in columns if column in _COLUMNS]
    if twice := [column for column in _COLUMNS if known.count(column) > 1]:
        raise DataError(f"{name} has the column '{twice[0]}' more than once; keep one")
    return known


def _open(name: str) -> Any:
    if not is_url(name):
        return open_regular(Path(name))
    system, path = located(name)
    return retried(lambda: system.open_input_file(path))


@contextmanager
def _manifest_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not pyarrow's
            raise DataError(cannot_read(name, error)) from error
        raise DataError(
            f"{name} cannot be read as a manifest ({first_line(error)}); give a CSV or Parquet "
            "file with a column 'path'"
        ) from error
