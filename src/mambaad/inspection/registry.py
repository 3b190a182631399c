"""Which model a line inspects with: versions of bundles, in plain files.

A registry is a folder with a folder for each line, which has the bundles, ``1.mambaad``, ..., and
``line.json``: the versions, and which of them are in use. Writers take turns by a lock.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from mambaad.errors import ConfigError, RunError
from mambaad.files import file_digest, write_text, written_whole
from mambaad.inspection.bundle import SUFFIX, read_manifest

STATE, _LOCK = "line.json", ".lock"
_PATIENCE = 30.0  # seconds that a writer waits for another


class Version(BaseModel):
    """A bundle of a line: its number from 1, SHA-256, time (UTC), classes and a note."""

    number: int
    sha256: str
    added: str
    classes: list[str]
    note: str = ""


class Change(BaseModel):
    """A version was put into use, by ``promote`` or ``rollback``, at a time (UTC)."""

    by: Literal["promote", "rollback"]
    version: int
    at: str


class Line(BaseModel):
    """What ``line.json`` says.

    ``used``: the versions that were put into use and not rolled back, the one in use last.
    ``changes``: all that was done.
    """

    format: Literal[1] = 1
    versions: list[Version] = []
    used: list[int] = []
    changes: list[Change] = []

    @property
    def current(self) -> int | None:
        """The number of the version in use."""
        return self.used[-1] if self.used else None

    def get(self, number: int) -> Version:
        """The version of that number (RunError if there is none)."""
        for version in self.versions:
            if version.number == number:
                return version
        known = ", ".join(str(v.number) for v in self.versions) or "none"
        raise RunError(f"there is no version {number} of this line; there are: {known}")


class Registry:
    """The lines below a folder, which is made on first use.

    Every method raises RunError where files are damaged or cannot be written, and ConfigError for
    a line's name that cannot be a folder's.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def lines(self) -> dict[str, Line]:
        """All lines by name."""
        names = sorted(path.parent.name for path in self.root.glob(f"*/{STATE}"))
        return {name: self.read(name) for name in names}

    def read(self, line: str) -> Line:
        """A line; an empty one if there is none of that name."""
        path = self._folder(line) / STATE
        if not path.is_file():
            return Line()
        try:
            return Line.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise RunError(f"{path} is damaged; restore it from a copy") from error

    def add(self, line: str, bundle: Path, note: str = "") -> Version:
        """Copy a bundle, once verified, into the registry as the line's next version."""
        classes = read_manifest(bundle).classes
        with self._changing(line) as state:
            number = max((v.number for v in state.versions), default=0) + 1
            target = self._path(line, number)
            with written_whole(target) as temporary:
                shutil.copyfile(bundle, temporary)
            version = Version(
                number=number, sha256=file_digest(target), added=_now(), classes=classes, note=note
            )
            state.versions.append(version)
        return version

    def promote(self, line: str, number: int) -> None:
        """Put a version into use, if its file is what was added."""
        with self._changing(line) as state:
            self._check(line, state.get(number))
            state.used.append(number)
            state.changes.append(Change(by="promote", version=number, at=_now()))

    def rollback(self, line: str) -> int:
        """Put the version back into use that was before the one in use; returns its number."""
        with self._changing(line) as state:
            if len(state.used) < 2:
                raise RunError(f"line {line} has no version that was in use before")
            number = state.used[-2]
            self._check(line, state.get(number))
            state.used.pop()
            state.changes.append(Change(by="rollback", version=number, at=_now()))
        return number

    def current(self, line: str) -> Path:
        """The bundle in use."""
        number = self.read(line).current
        if number is None:
            raise RunError(
                f"line {line} has no version in use; see mambaad registry list, and promote one"
            )
        return self._path(line, number)

    def _check(self, line: str, version: Version) -> None:
        path = self._path(line, version.number)
        if not path.is_file() or file_digest(path) != version.sha256:
            raise RunError(f"{path} is not the bundle that was added; add it again")

    @contextmanager
    def _changing(self, line: str) -> Iterator[Line]:
        """The line, alone; what is changed of it is written."""
        folder = self._folder(line)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / _LOCK, timeout=_PATIENCE):
                state = self.read(line)
                yield state
                write_text(folder / STATE, state.model_dump_json(indent=2) + "\n")
        except Timeout as error:
            raise RunError(
                f"{folder} has been locked by another process for {_PATIENCE:.0f} s; try later"
            ) from error
        except OSError as error:
            raise RunError(f"{folder} cannot be written ({error.strerror})") from error

    def _folder(self, line: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", line):
            raise ConfigError(
                f"line '{line}': expected letters, digits, dots, dashes and underscores, up to 64"
            )
        return self.root / line

    def _path(self, line: str, number: int) -> Path:
        return self._folder(line) / f"{number}{SUFFIX}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
