"""The records of a stream: a log that is only ever added to, as a stream has no end.

Each record is there, whole, once it is written; what a loss of power has torn is cut off by the
next writer.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from mambaad.documents import DocumentError, parse_json
from mambaad.errors import RunError
from mambaad.file_errors import cannot_write
from mambaad.files import check_regular
from mambaad.inspection.records import CycleRecord

_SYNC_SECONDS = 1.0


class RecordLog:
    """Adds records to a file; use :func:`record_log` to make one."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor, self._synced = path, descriptor, time.monotonic()

    def add(self, record: CycleRecord) -> None:
        """Write a record (RunError); it reaches the disk within a second or so."""
        line = (record.model_dump_json() + "\n").encode()
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self._descriptor, end)
            raise cannot_write(self.path, error) from error
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()


@contextmanager
def record_log(path: Path) -> Iterator[RecordLog]:
    """Open a log of records, or begin one.

    Raises:
        RunError: it cannot be written, or is none: the results of ``mambaad predict``, for one.
    """
    check_regular(path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        _mend(path, descriptor)
        yield RecordLog(path, descriptor)
    finally:
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def taken_times(path: Path) -> dict[str, str]:
    """When the files were taken that a log has records of, by path; empty without a log."""
    if not path.exists():
        return {}
    found = {}
    with path.open("rb") as lines:
        for line in lines:
            record = _parsed(line, path)
            if record and record.taken:
                found[record.path] = record.taken
    return found


def _mend(path: Path, descriptor: int) -> None:
    """Cut off a last line that is not whole, and refuse a file of other records."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        first = file.readline()
        if first.endswith(b"\n") and _parsed(first, path) is None:
            raise RunError(
                f"{path} has other records than those of mambaad watch; choose another --out"
            )
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(end - 2**16, 0)
            file.seek(start)
            place = file.read(end - start).rfind(b"\n")
            if place >= 0:
                end = start + place + 1
                break
            end = start
    os.ftruncate(descriptor, end)


def _parsed(line: bytes, path: Path) -> CycleRecord | None:
    try:
        return CycleRecord.model_validate(parse_json(line, str(path)))
    except (DocumentError, ValidationError):
        return None
