"""A snapshot: the verified files of one generation of a run, of a bundle, or of an export.

    with opened(source) as run:
        config = read_config(run)

All files are opened at once and stay open, so that nothing that is written meanwhile, nor a rename
of the whole, changes what is read. Small files are read and verified then; tensors, when they are
read, and what was verified is what is used.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from mambaad.artifacts import export_folder
from mambaad.artifacts.bundle import Manifest, damaged_archive, read_archive
from mambaad.artifacts.export_folder import ExportManifest, is_export, parse_export
from mambaad.artifacts.manifest import (
    CONFIG,
    DATA,
    MANIFEST,
    NAMES,
    WEIGHTS,
    ListedFile,
    is_former,
    parse_manifest,
)
from mambaad.artifacts.signatures import (
    SIGNATURE,
    Signature,
    check_signature,
    parse_signature,
    required_key,
)
from mambaad.documents import MAX_JSON, DocumentError, parse_json
from mambaad.errors import RunError
from mambaad.file_errors import cannot_read
from mambaad.files import open_regular, printable
from mambaad.progress import warn

_TRIES = 20
"""How often a run is opened anew that is replaced while it is opened."""
_BETWEEN = 0.005  # seconds
_TOLD: set[Path] = set()


@dataclass
class _Member:
    """An open file of a snapshot: its name for messages, its size, and what its manifest lists.

    ``listed`` is None in a run of a former version.
    """

    name: str
    file: IO[bytes]
    size: int
    listed: ListedFile | None


class Snapshot:
    """The files of one generation of a run, of a bundle, or of an export, by their plain names.

    Attributes:
        source: the run folder, bundle or folder of an export.
        manifest: of a bundle; else None.
        signature: of a bundle that has one, verified only if that was required.
        export: the manifest of an exported model; else None.
    """

    def __init__(
        self,
        source: Path,
        members: Mapping[str, _Member],
        manifest: Manifest | None = None,
        signature: Signature | None = None,
        export: ExportManifest | None = None,
    ) -> None:
        self.source = source
        self.manifest = manifest
        self.signature = signature
        self.export = export
        self._members = members
        # An export has a graph in place of the weights, whose digest still names the model.
        self._digests: dict[str, str] = {WEIGHTS: export.weights} if export else {}
        # Those without digits in their names can be replaced by others of the same name.
        self._small = {name: self._read(name) for name in members if not _is_large(name)}

    def names(self) -> list[str]:
        """The names of all files."""
        return list(self._members)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._members

    def name(self, name: str) -> str:
        """Name a file in messages: by its path, or within its bundle."""
        if name in self._members:
            return self._members[name].name
        return f"{self.source}: {name}" if self.manifest else str(self.source / name)

    def size(self, name: str) -> int:
        """The size of a file in bytes."""
        return self._members[name].size

    def read(self, name: str) -> bytearray:
        """Read a file whole, and verify it.

        Raises:
            RunError: there is none, it cannot be read, or it is not what the manifest lists.
        """
        if name not in self._members:
            raise RunError(f"{self.source} has no {name}; restore it from a copy")
        small = self._small.get(name)
        return self._read(name) if small is None else small

    def json(self, name: str) -> Any:
        """Read a JSON file (RunError: see :meth:`read`; or it is no JSON)."""
        try:
            return parse_json(bytes(self.read(name)), self.name(name))
        except DocumentError as error:
            reason = str(error).removeprefix(self.name(name)).lstrip(":, ")
            raise self.damaged(name, reason) from error

    def digest(self, name: str) -> str:
        """The SHA-256 of a file, in hexadecimal, verified (RunError: see :meth:`read`)."""
        if name not in self._digests:
            self.read(name)
        return self._digests[name]

    def verify(self) -> None:
        """Verify every file (RunError: see :meth:`read`)."""
        for name in self.names():
            self.digest(name)

    def damaged(self, name: str, reason: str) -> RunError:
        """Make the error for a file that is not as it should be."""
        is_run = self.manifest is None and self.export is None
        hint = "restore the run from a copy" if is_run else "make it again from a sound run"
        return RunError(f"{self.name(name)} is damaged ({printable(reason)}); {hint}")

    def _read(self, name: str) -> bytearray:
        member = self._members[name]
        try:
            if member.listed and member.size != member.listed.size:
                raise self._changed(name, "its size")
            if not _is_large(name) and member.size > MAX_JSON:
                raise self.damaged(name, f"it has {member.size} bytes, at most {MAX_JSON} expected")
            content = bytearray(member.size)
            member.file.seek(0)
            if member.file.readinto(content) != member.size:  # type: ignore[attr-defined]
                raise self._changed(name, "its size")
        except (zipfile.BadZipFile, EOFError) as error:
            raise self._changed(name, " ".join(str(error).split())) from error
        except OSError as error:
            raise _unreadable(member.name, error) from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != self._digests.setdefault(
            name, member.listed.sha256 if member.listed else digest
        ):
            raise self._changed(name, "its SHA-256")
        return content

    def _changed(self, name: str, what: str) -> RunError:
        """The error for a file that is not what the manifest lists."""
        if self.manifest or self.export:
            return RunError(
                f"{self.source} is damaged: {name} has changed since it was made ({what}); copy "
                "it again"
            )
        return RunError(
            f"{self.name(name)} is not what {self.source / MANIFEST} lists ({what} differs); "
            "restore the run from a copy"
        )


@contextmanager
def opened(source: str | Path, signed_by: str | Path | None = None) -> Iterator[Snapshot]:
    """Open a run folder, a bundle or an export.

    Args:
        source: its path.
        signed_by: the file of a public key with whose private one it has to be signed; by default
            that of :func:`mambaad.artifacts.signatures.required`.

    Raises:
        RunError: neither of them, a damaged one, one of a newer version, or one without the
            signature.
        ConfigError: no public key.
    """
    source = Path(source)
    key = Path(signed_by) if signed_by else required_key()
    with ExitStack() as stack:
        if source.is_file():
            yield _open_bundle(source, key, stack)
            return
        run = _open_export(source, stack) if is_export(source) else _open_run(source, stack)
        if key:
            kind = "an export" if run.export else "a run folder"
            raise RunError(
                f"{source} is {kind}, which has no signature, and --require-signature {key} "
                "was given; give a bundle made with mambaad bundle --sign"
            )
        yield run


def read_manifest(source: Path) -> Manifest:
    """Read the manifest of a bundle, and verify every file against it.

    Raises:
        RunError: see :func:`opened`.
    """
    if not source.is_file():
        raise RunError(f"there is no bundle {source}; make one with mambaad bundle")
    with opened(source) as run:
        run.verify()
        assert run.manifest is not None  # since it is a file
        return run.manifest


def _open_bundle(source: Path, key: Path | None, stack: ExitStack) -> Snapshot:
    with damaged_archive(source):
        file = stack.enter_context(open_regular(source))
        archive = stack.enter_context(zipfile.ZipFile(file))
        manifest, content = read_archive(source, archive, _size_of(file))
        signature = None
        if SIGNATURE in archive.namelist():
            signature = parse_signature(archive.read(SIGNATURE), source)
        if key:
            check_signature(content, signature, key, source)
        run = Snapshot(
            source,
            {
                name: _Member(
                    f"{source}: {name}",
                    stack.enter_context(archive.open(name)),
                    archive.getinfo(name).file_size,
                    listed,
                )
                for name, listed in manifest.files.items()
            },
            manifest,
            signature,
        )
    classes = run.json(DATA)
    classes = classes.get("classes") if isinstance(classes, dict) else None
    if not isinstance(classes, dict) or manifest.classes != list(classes):
        raise RunError(
            f"{source} is damaged: its manifest has other classes than its {DATA}; make it again "
            "with mambaad bundle"
        )
    return run


def _open_export(path: Path, stack: ExitStack) -> Snapshot:
    folder = _Folder(path, stack)
    content = folder.manifest(export_folder.MANIFEST) or b""
    export = parse_export(content, path / export_folder.MANIFEST)
    files = {name: (name, file) for name, file in export.files.items()}
    members = _open_members(folder, files, export_folder.MANIFEST, stack)
    return Snapshot(path, members, export=export)


def _open_run(path: Path, stack: ExitStack) -> Snapshot:
    folder = _Folder(path, stack)
    content = folder.manifest()
    for _ in range(_TRIES):
        try:
            with ExitStack() as opening:
                run = Snapshot(path, _open_files(folder, content, opening))
                stack.push(opening.pop_all())
                return run
        except RunError:
            now = folder.manifest()
            if now == content:  # then nothing has been written meanwhile
                raise
            content = now
    raise RunError(f"{path} is written again and again; try again when nothing writes into it")


class _Folder:
    """An open folder: its files are opened in it, even if it is renamed meanwhile."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self._descriptor = None
        if os.open in os.supports_dir_fd:
            self._descriptor = _open_folder(path)
            stack.callback(os.close, self._descriptor)

    def open(self, name: str) -> BinaryIO:
        """Open one of its files (OSError)."""
        if self._descriptor is None:
            return open_regular(self.path / name)
        return open_regular(Path(name), self._descriptor)

    def manifest(self, name: str = MANIFEST) -> bytes | None:
        """The bytes of its manifest; None without one."""
        try:
            with self.open(name) as file:
                return file.read(MAX_JSON)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _unreadable(self.path / name, error) from error


def _open_folder(path: Path) -> int:
    for tries_left in reversed(range(_TRIES)):
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError as error:
            # Who replaces a folder by two renames may be between them.
            if not tries_left:
                raise _no_run(path) from error
            time.sleep(_BETWEEN)
        except NotADirectoryError as error:
            raise _no_run(path) from error
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
    raise AssertionError


def _open_files(folder: _Folder, content: bytes | None, stack: ExitStack) -> dict[str, _Member]:
    """Open the files that a manifest lists, or those of a run of a former version."""
    if content is None:
        files: Mapping[str, tuple[str, ListedFile | None]] = _former_files(folder.path)
    else:
        listed = parse_manifest(content, folder.path / MANIFEST).files
        files = {name: (file.file, file) for name, file in listed.items()}
    return _open_members(folder, files, MANIFEST, stack)


def _open_members(
    folder: _Folder,
    files: Mapping[str, tuple[str, ListedFile | None]],
    manifest: str,
    stack: ExitStack,
) -> dict[str, _Member]:
    """Open files of a folder; ``files``: names there, and what its manifest lists, by name."""
    members = {}
    for name, (stored, expected) in files.items():
        path = folder.path / stored
        try:
            file = stack.enter_context(folder.open(stored))
        except FileNotFoundError as error:
            raise RunError(
                f"{path} does not exist, which {folder.path / manifest} lists; restore the "
                f"{'run' if manifest == MANIFEST else 'export'} from a copy"
            ) from error
        except OSError as error:
            raise _unreadable(path, error) from error
        members[name] = _Member(str(path), file, _size_of(file), expected)
    return members


def _former_files(folder: Path) -> dict[str, tuple[str, None]]:
    present = {name: (name, None) for name in NAMES if (folder / name).exists()}
    if CONFIG not in present:
        raise _no_run(folder)
    if not is_former(folder):
        raise RunError(
            f"{folder} has no {MANIFEST}: restore it from a copy, or, if its training was ended "
            "before it began, start it again in a new folder"
        )
    if folder not in _TOLD:
        _TOLD.add(folder)
        warn(
            f"{folder} was made by a former version of mambaad, without digests of its files, so "
            "they cannot be verified; the next command that writes into it adds them"
        )
    return present


def _no_run(path: Path) -> RunError:
    return RunError(
        f"{path} is not a run folder (it has no {CONFIG}); give one that 'mambaad train --out' made"
    )


def _unreadable(path: str | Path, error: Exception) -> RunError:
    if isinstance(error, OSError):
        return RunError(cannot_read(path, error))
    return RunError(f"{path} cannot be read ({error}); check the path")  # such as one with a zero


def _is_large(name: str) -> bool:
    return not name.endswith((".json", ".jsonl"))


def _size_of(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size
