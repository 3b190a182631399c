"""Images, maps and thumbnails: files below the data folder, named by digests and ids alone.

A part's image is first in ``spool/``, on disk before the part is accepted. If it is to be kept it
is linked to ``images/`` under its SHA-256; with its record on disk it leaves the spool. So what is
in the spool at the start tells which parts were in work when the service was killed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mambaad.errors import DataError
from mambaad.serve.store.rows import NewPart
from mambaad.serve.store.writer import StoreError, StoreFull

_ID = re.compile(r"[0-9a-f-]{36}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FORMAT = re.compile(r"[A-Z]{3,5}")
_KEPT = ("images", "maps", "thumbnails")
_AT_A_TIME = 500


class ImageChanged(DataError):
    """A stored image has not the SHA-256 of the part that was inspected."""


@dataclass(frozen=True)
class Retention:
    """Which images stay; see :class:`mambaad.serve.settings.ServeSettings`."""

    keep: str = "all"
    share: float = 0.0
    days: float | None = None
    gigabytes: float | None = None

    def keeps(self, part_id: str, verdict: str | None, in_review: bool) -> bool:
        """Whether a part's image is kept at first; the same whenever it is asked."""
        if self.keep == "all" or in_review or verdict != "PASS":
            return True
        # By the id's digest, so that a service that was killed decides as it did before.
        drawn = int.from_bytes(hashlib.sha256(part_id.encode()).digest()[:8], "big") / 2**64
        return self.keep == "share" and drawn < self.share


class ImageStore:
    """The files of parts (StoreFull, StoreError: they cannot be written).

    Args:
        folder: the service's data.
        min_free: bytes of the disk that are left alone: parts are refused before it is full.
        make: create what is not there; else it is only read.
    """

    def __init__(self, folder: Path, min_free: float = 0.0, *, make: bool = True) -> None:
        self.folder, self._min_free = folder, min_free
        # Between whether an image is of use to another part, and its removal, none may join it.
        self._lock = threading.Lock()
        if make:
            with _writing():
                for name in ("spool", *_KEPT):
                    (folder / name).mkdir(parents=True, exist_ok=True)

    def check_space(self) -> None:
        """Refuse to write where the disk is nearly full (StoreFull)."""
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise StoreError(f"the data folder cannot be read ({error.strerror})") from error
        if free < self._min_free:
            raise StoreFull(
                f"{free / 2**20:.0f} MiB of disk are free, {self._min_free / 2**20:.0f} are needed"
            )

    def spool(self, part: NewPart, content: bytes) -> None:
        """Write a part's image, flushed to disk."""
        path = self._spooled(part.id, part.sha256, part.format)
        with _writing():
            try:
                with path.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                _flush_folder(path.parent)
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def spooled(self, part: NewPart) -> bytes:
        """Read the image of a part that is not inspected yet (StoreError)."""
        try:
            content = self._spooled(part.id, part.sha256, part.format).read_bytes()
        except OSError as error:
            raise StoreError(f"part {part.id}: its image is gone ({error.strerror})") from error
        if hashlib.sha256(content).hexdigest() != part.sha256:
            raise StoreError(f"part {part.id}: its image was changed in the spool")
        return content

    def keep(self, part: NewPart, map: bytes | None, thumbnail: bytes | None) -> None:
        """Keep a spooled image, before its record is written."""
        target = self.image(part.sha256, part.format)
        with _writing():
            target.parent.mkdir(exist_ok=True)
            with self._lock:
                _link(self._spooled(part.id, part.sha256, part.format), target)
                os.utime(target)  # it may be there from an equal image
            for path, content in ((self.map(part.id), map), (self.thumbnail(part.id), thumbnail)):
                if content is not None:
                    path.parent.mkdir(exist_ok=True)
                    _write(path, content)

    def keep_thumbnail(self, part: NewPart, thumbnail: bytes | None) -> None:
        """Keep the thumbnail alone."""
        if thumbnail is not None:
            path = self.thumbnail(part.id)
            with _writing():
                path.parent.mkdir(exist_ok=True)
                _write(path, thumbnail)

    def release(self, part: NewPart) -> None:
        """Take a part out of the spool, after its record was written, or as it was refused."""
        with suppress(OSError):
            self._spooled(part.id, part.sha256, part.format).unlink(missing_ok=True)

    def discard(self, part: NewPart, is_used: Callable[[str], bool]) -> None:
        """Remove all files of a part that was not kept.

        Args:
            part: has no record and no job.
            is_used: whether any part with a record has an image of a digest.
        """
        with suppress(OSError):
            self._remove(part.id, part.sha256, part.format, is_used)
            self.release(part)

    def _remove(
        self, part_id: str, sha256: str, format: str, is_used: Callable[[str], bool]
    ) -> None:
        for path in (self.map(part_id), self.thumbnail(part_id)):
            path.unlink(missing_ok=True)
        with self._lock:
            others = (self.folder / "spool").glob(f"*.{sha256}.*")
            # First those in work: they have a record before they leave the spool.
            if all(other.name.startswith(part_id) for other in others) and not is_used(sha256):
                self.image(sha256, format).unlink(missing_ok=True)

    def read_image(self, sha256: str, format: str) -> bytes | None:
        """Read an image; None if it is not kept (ImageChanged: it is another than inspected)."""
        path = self.image(sha256, format)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            name = path.relative_to(self.folder).as_posix()
            raise ImageChanged(f"{name} is not the image that was inspected; restore it")
        return content

    def image(self, sha256: str, format: str) -> Path:
        """The path of an image, which may be gone."""
        _check(_DIGEST, sha256)
        _check(_FORMAT, format)
        return self.folder / "images" / sha256[:2] / f"{sha256}.{format.lower()}"

    def map(self, part_id: str) -> Path:
        """The path of a part's map, which may be gone."""
        return self._of_part("maps", part_id, "npz")

    def thumbnail(self, part_id: str) -> Path:
        """The path of a part's thumbnail, which may be gone."""
        return self._of_part("thumbnails", part_id, "jpg")

    def recover(
        self,
        is_waiting: Callable[[str], bool],
        is_kept: Callable[[str], bool],
        is_used: Callable[[str], bool],
    ) -> tuple[int, int]:
        """Tidy up after a service that was killed.

        Args:
            is_waiting: whether the part with an id is still to be inspected.
            is_kept: whether a part has a record.
            is_used: whether any part with a record has an image of a digest.

        Returns:
            The number of parts that wait, and of those that were never accepted, whose files are
            removed.
        """
        waiting = removed = 0
        with _writing():
            for path in sorted((self.folder / "spool").iterdir()):
                part_id, _, rest = path.name.partition(".")
                sha256, _, suffix = rest.partition(".")
                if is_waiting(part_id):
                    waiting += 1
                    continue
                if not is_kept(part_id):
                    removed += 1
                    self._remove(part_id, sha256, suffix.upper(), is_used)
                path.unlink()
            for folder in _KEPT:
                for leftover in (self.folder / folder).glob("*/*.tmp"):
                    leftover.unlink(missing_ok=True)
        return waiting, removed

    def reconcile(
        self, known: Callable[[str, list[str]], set[str]], before: float, go_on: Callable[[], bool]
    ) -> int:
        """Remove files that no part with a record has; returns their number.

        Args:
            known: of some names in a folder (``images``: digests; else ids of parts), those that
                parts with a record have.
            before: files that were written later are left alone (seconds since 1970).
            go_on: is asked from time to time.
        """
        removed = 0
        for folder in _KEPT:
            pattern = _DIGEST if folder == "images" else _ID
            for inner in sorted((self.folder / folder).iterdir()):
                if not go_on():
                    return removed
                paths = {
                    path.stem: path
                    for path, stat in _files_in(inner)
                    if stat.st_mtime < before and pattern.fullmatch(path.stem)
                }
                names = sorted(paths)
                kept = {
                    name
                    for start in range(0, len(names), _AT_A_TIME)
                    for name in known(folder, names[start : start + _AT_A_TIME])
                }
                if len(kept) == len(names):
                    continue
                with self._lock:
                    spooled = {
                        word
                        for path in (self.folder / "spool").iterdir()
                        for word in path.name.split(".")
                    }
                    for name in paths.keys() - kept - spooled:
                        with suppress(OSError):
                            if paths[name].stat().st_mtime < before:
                                paths[name].unlink()
                                removed += 1
        return removed

    def sweep(self, rule: Retention) -> int:
        """Remove images and maps that are too old or too many, the oldest first; their number."""
        files = [
            (stat.st_mtime, stat.st_size, path)
            for folder in ("images", "maps")
            for path, stat in _files(self.folder / folder)
        ]
        files.sort(reverse=True)
        oldest = time.time() - rule.days * 86_400 if rule.days else 0.0
        most = rule.gigabytes * 1e9 if rule.gigabytes else float("inf")
        removed = 0
        total = 0
        for modified, size, path in files:
            total += size
            if modified < oldest or total > most:
                with suppress(OSError):
                    path.unlink()
                    removed += 1
        return removed

    def _spooled(self, part_id: str, sha256: str, format: str) -> Path:
        for pattern, text in ((_ID, part_id), (_DIGEST, sha256), (_FORMAT, format)):
            _check(pattern, text)
        return self.folder / "spool" / f"{part_id}.{sha256}.{format.lower()}"

    def _of_part(self, folder: str, part_id: str, suffix: str) -> Path:
        _check(_ID, part_id)
        # The last digits are random, so that no folder gets many more than the others.
        return self.folder / folder / part_id[-2:] / f"{part_id}.{suffix}"


def _check(pattern: re.Pattern[str], text: str) -> None:
    if not pattern.fullmatch(text):
        raise StoreError(f"{text!r} names no file of the store")


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for inner in folder.iterdir():
        yield from _files_in(inner)


def _files_in(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.glob("*"):
        with suppress(OSError):
            yield path, path.stat()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOENT):
            raise
        _write(target, source.read_bytes())  # a file system without links


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, or not at all where the process is killed."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"the store has no space left ({reason})") from error
        raise StoreError(f"the store cannot be written ({reason})") from error
