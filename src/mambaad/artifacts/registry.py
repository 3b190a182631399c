"""The registry: which version of a model each inspection line uses, in plain files.

A registry has a folder for each line, with the bundles ``1.mambaad``, ..., and ``line.json``: the
versions, and which is in use. A lock makes writers take turns.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from mambaad.artifacts.bundle import SUFFIX, Manifest
from mambaad.documents import MAX_JSON, parse_json
from mambaad.errors import ConfigError, RunError
from mambaad.file_errors import cannot_read, cannot_write
from mambaad.files import (
    file_digest,
    locked,
    open_regular,
    read_regular,
    temporary_beside,
    write_text,
)

STATE = "line.json"
FORMAT: Literal[1] = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WAIT = 30.0  # seconds that a writer waits for another, whose change is short


class Version(BaseModel):
    """A bundle of a line: its number, from 1, SHA-256, time (UTC), classes and a note."""

    number: int
    sha256: str
    added: str
    classes: list[str]
    note: str = ""


class Change(BaseModel):
    """A change of the version in use, by ``promote`` or ``rollback``, and its time (UTC)."""

    by: Literal["promote", "rollback"]
    version: int
    at: str


class Line(BaseModel):
    """The content of ``line.json``.

    ``used``: the versions put into use and not rolled back, the current one last. ``changes``: the
    history of the version in use. ``adding``: the number of a version while its bundle is put into
    the folder; a bundle of that number is what a kill has left.
    """

    format: Literal[1] = FORMAT
    versions: list[Version] = []
    used: list[int] = []
    changes: list[Change] = []
    adding: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check_numbers(self) -> Line:
        numbers = [version.number for version in self.versions]
        if len(set(numbers)) < len(numbers) or min(numbers, default=1) < 1:
            raise ValueError("its versions are not numbered one by one")
        if not set(self.used) <= set(numbers):
            raise ValueError("a version in use is none of its versions")
        if self.adding in numbers:
            raise ValueError("a version that is being added is one of its versions")
        return self

    @property
    def current(self) -> int | None:
        """The number of the version in use; None if there is none."""
        return self.used[-1] if self.used else None

    def get(self, number: int) -> Version:
        """The version of that number (RunError if there is none)."""
        for version in self.versions:
            if version.number == number:
                return version
        known = ", ".join(str(v.number) for v in self.versions) or "none"
        raise RunError(f"there is no version {number} of this line; choose from: {known}")


class Registry:
    """The lines below a folder, which is made on first use.

    Every method raises RunError where files are damaged or cannot be written, and ConfigError for
    a line's name that cannot be a folder's.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def lines(self) -> dict[str, Line]:
        """All lines by name; one that cannot be read has a version 0, whose note says why."""
        names = sorted(path.parent.name for path in self.root.glob(f"*/{STATE}"))
        return {name: self._read_or_note(name) for name in names if _NAME.fullmatch(name)}

    def read(self, line: str) -> Line:
        """Read a line; an empty one if there is none of that name."""
        path = self._folder(line) / STATE
        try:
            content = parse_json(read_regular(path, MAX_JSON), str(path))
            found = content.get("format", FORMAT)
            if type(found) is int and found > FORMAT:  # True is an int too
                raise RunError(
                    f"{path} has format {found}, this version reads up to {FORMAT}; update mambaad"
                )
            if type(found) is not int:
                raise ValueError(f"format is {found!r}")
            return Line.model_validate(content)
        except FileNotFoundError:
            return Line()
        except RunError:
            raise
        except OSError as error:
            raise RunError(cannot_read(path, error)) from error
        except (ValueError, AttributeError) as error:
            raise RunError(f"{path} is damaged; restore it from a copy") from error

    def add(
        self, line: str, bundle: Path, note: str = "", *, check: Callable[[Path], Manifest]
    ) -> Version:
        """Add a bundle to a line as its next version, if the copy passes a check.

        Args:
            line: its name; created if it does not exist.
            bundle: the file to copy.
            note: shown in the list of versions.
            check: reads the copy's manifest, or refuses the copy (RunError), as
                :func:`mambaad.workflows.bundle.check_bundle` does for one that would not load.
        """
        self._folder(line)
        with self._copied(bundle) as copy:
            try:
                classes = check(copy).classes
            except RunError as error:
                raise RunError(str(error).replace(str(copy), str(bundle))) from error
            digest = file_digest(copy)
            with self._changing(line, make=True) as state:
                number = max((v.number for v in state.versions), default=0) + 1
                while os.path.lexists(self._path(line, number)):  # which nothing here has put there
                    number += 1
                state.adding = number
                self._write(line, state)
                copy.replace(self._path(line, number))
                version = Version(
                    number=number, sha256=digest, added=_now(), classes=classes, note=note
                )
                state.versions.append(version)
                state.adding = None
        return version

    def promote(self, line: str, number: int) -> None:
        """Put a version into use, if its file is unchanged; does nothing if it is in use."""
        with self._changing(line) as state:
            self._check(line, state.get(number))
            if number == state.current:  # otherwise a rollback would return to the same version
                return
            state.used.append(number)
            state.changes.append(Change(by="promote", version=number, at=_now()))

    def rollback(self, line: str) -> int:
        """Put the previous version back into use; returns its number."""
        with self._changing(line) as state:
            used = list(state.used)
            while used and used[-1] == state.current:
                used.pop()
            if not used:
                raise RunError(
                    f"line {line} has no version that was in use before; promote another"
                )
            number = used[-1]
            self._check(line, state.get(number))
            state.used = used
            state.changes.append(Change(by="rollback", version=number, at=_now()))
        return number

    def current(self, line: str) -> Path:
        """The path of the bundle in use, which is verified."""
        state = self.read(line)
        number = state.current
        if number is None:
            raise RunError(
                f"line {line} has no version in use; promote one (mambaad registry list shows them)"
            )
        path = self._path(line, number)
        if not path.is_file():
            raise RunError(
                f"{path}, which is in use, does not exist; roll back, or restore it from a copy"
            )
        self._check(line, state.get(number))
        return path

    def path(self, line: str, number: int) -> Path:
        """The path of a version, after checking that it is the bundle that was added."""
        self._check(line, self.read(line).get(number))
        return self._path(line, number)

    def _read_or_note(self, line: str) -> Line:
        try:
            return self.read(line)
        except RunError as error:
            problem = Version(number=0, sha256="", added="", classes=[], note=str(error))
            return Line.model_construct(versions=[problem])

    @contextmanager
    def _copied(self, bundle: Path) -> Iterator[Path]:
        """Copy a bundle into the registry: the original may change during the check."""
        if not bundle.is_file():
            raise RunError(f"there is no bundle {bundle}; make one with mambaad bundle")
        try:
            original = open_regular(bundle)
        except OSError as error:
            raise RunError(cannot_read(bundle, error)) from error
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with temporary_beside(self.root / bundle.name) as copy:
                with original, copy.open("wb") as file:
                    shutil.copyfileobj(original, file, 2**20)
                    file.flush()
                    os.fsync(file.fileno())
                yield copy
        except OSError as error:
            raise cannot_write(self.root, error) from error

    def _check(self, line: str, version: Version) -> None:
        path = self._path(line, version.number)
        try:
            is_the_same = path.is_file() and file_digest(path) == version.sha256
        except OSError as error:
            raise RunError(cannot_read(path, error)) from error
        if not is_the_same:
            raise RunError(f"{path} is not the bundle that was added; restore it from a copy")

    @contextmanager
    def _changing(self, line: str, *, make: bool = False) -> Iterator[Line]:
        """Lock a line, yield it for changes, and write it."""
        folder = self._folder(line)
        if not make and not (folder / STATE).is_file():
            raise RunError(
                f"there is no line {line} in {self.root}; add it, or choose from "
                "mambaad registry list"
            )
        with locked(folder, make=True, wait=_WAIT):
            state = self.read(line)
            if state.adding is not None:
                with suppress(OSError):
                    self._path(line, state.adding).unlink()
                state.adding = None
            yield state
            self._write(line, state)

    def _write(self, line: str, state: Line) -> None:
        text = state.model_dump_json(indent=2, exclude_none=True)
        write_text(self._folder(line) / STATE, text + "\n")

    def _folder(self, line: str) -> Path:
        if not _NAME.fullmatch(line):
            raise ConfigError(
                f"line '{line}': expected letters, digits, dots, dashes and underscores, up to 64"
            )
        return self.root / line

    def _path(self, line: str, number: int) -> Path:
        return self._folder(line) / f"{number}{SUFFIX}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
