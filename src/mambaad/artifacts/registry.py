"""The registry: which version of a model each inspection line uses, in plain files.

A registry has a folder for each line, with the bundles ``1.mambaad``, ..., and ``line.json``: the
versions, and which is in use. A lock makes writers take turns.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel

from mambaad.artifacts.bundle import SUFFIX, Manifest
from mambaad.errors import ConfigError, RunError
from mambaad.files import TEMPORARY, file_digest, write_text

STATE, _LOCK = "line.json", ".lock"
FORMAT: Literal[1] = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOCK_TIMEOUT = 30.0  # seconds that a writer waits for the lock


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
    history of the version in use.
    """

    format: Literal[1] = FORMAT
    versions: list[Version] = []
    used: list[int] = []
    changes: list[Change] = []

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
        if not path.is_file():
            return Line()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = content.get("format", FORMAT)
            if type(found) is int and found > FORMAT:  # True is an int too
                raise RunError(
                    f"{path} has format {found}, this version reads up to {FORMAT}; update mambaad"
                )
            if type(found) is not int:
                raise ValueError(f"format is {found!r}")
            return Line.model_validate(content)
        except RunError:
            raise
        except (OSError, ValueError, AttributeError, RecursionError) as error:
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
                copy.replace(self._path(line, number))
                version = Version(
                    number=number, sha256=digest, added=_now(), classes=classes, note=note
                )
                state.versions.append(version)
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
        """The path of the bundle in use."""
        number = self.read(line).current
        if number is None:
            raise RunError(
                f"line {line} has no version in use; promote one (mambaad registry list shows them)"
            )
        path = self._path(line, number)
        if not path.is_file():
            raise RunError(
                f"{path}, which is in use, does not exist; roll back, or restore it from a copy"
            )
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
            return Line(versions=[problem])

    @contextmanager
    def _copied(self, bundle: Path) -> Iterator[Path]:
        """Copy a bundle into the registry: the original may change during the check."""
        if not bundle.is_file():
            raise RunError(f"there is no bundle {bundle}; make one with mambaad bundle")
        copy = self.root / f".{uuid.uuid4().hex[:12]}{TEMPORARY}"
        try:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(bundle, copy)
                with copy.open("rb+") as file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise RunError(
                    f"{bundle} cannot be copied into {self.root} ({error.strerror or error}); "
                    "free some space, or choose another --root"
                ) from error
            yield copy
        finally:
            with suppress(OSError):
                copy.unlink()

    def _check(self, line: str, version: Version) -> None:
        path = self._path(line, version.number)
        if not path.is_file() or file_digest(path) != version.sha256:
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
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / _LOCK, timeout=_LOCK_TIMEOUT):
                state = self.read(line)
                yield state
                write_text(folder / STATE, state.model_dump_json(indent=2) + "\n")
        except Timeout as error:
            raise RunError(
                f"{folder} has been locked by another process for {_LOCK_TIMEOUT:.0f} s; "
                "try again later"
            ) from error
        except OSError as error:
            raise RunError(
                f"{folder} cannot be written ({error.strerror}); check its permissions"
            ) from error

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
