"""Writing a run: files that belong together change together, by the rename of one manifest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from mambaad.artifacts.export_folder import is_export
from mambaad.artifacts.manifest import (
    FIRST,
    MANIFEST,
    NAMES,
    RUN_FORMAT,
    VERSION,
    RunFile,
    RunManifest,
    is_former,
    parse_manifest,
    stored_name,
)
from mambaad.artifacts.tensors import Content
from mambaad.documents import MAX_JSON, parse_json
from mambaad.errors import RunError
from mambaad.file_errors import cannot_read
from mambaad.files import open_regular, read_regular, write_text, written_whole


def commit(folder: Path, files: Mapping[str, Content], removed: Collection[str] = ()) -> None:
    """Make the next generation of a run, with some files changed and others removed.

    It is there whole or not at all: a crash, a full disk or a kill leaves the earlier one. Files
    that no manifest lists any more are deleted afterwards.

    The caller holds the folder's lock (:func:`mambaad.files.locked`), or is a child of who does.

    Args:
        folder: the run's.
        files: contents by plain names; those that are as they were are not written again.
        removed: plain names, some of which may be absent.

    Raises:
        RunError: the folder cannot be read or written, or is an export, which does not change.
    """
    if is_export(folder):
        raise RunError(
            f"{folder} is an export, which is not changed; change the run that it was made of, and "
            "export again"
        )
    before = _last_generation(folder)
    listed = dict(before.files) if before else {}
    if before is None and is_former(folder):
        listed, versions = _former_files(folder)
        files = {VERSION: [versions], **files}
    listed = {name: file for name, file in listed.items() if name not in removed}
    for name, content in files.items():
        found = _listed(name, content, keeps_name=name in FIRST and name not in listed)
        if name in listed and listed[name].sha256 == found.sha256:
            continue
        with written_whole(folder / found.file) as temporary, temporary.open("wb") as file:
            file.writelines(content)
        listed[name] = found
    if before is None or listed != before.files:
        after = RunManifest(generation=before.generation + 1 if before else 1, files=listed)
        write_text(folder / MANIFEST, after.model_dump_json(indent=2) + "\n")
    _remove_unlisted(folder, {file.file for file in listed.values()})


def _last_generation(folder: Path) -> RunManifest | None:
    path = folder / MANIFEST
    try:
        return parse_manifest(read_regular(path, MAX_JSON), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(cannot_read(path, error)) from error


def _listed(name: str, content: Content, *, keeps_name: bool) -> RunFile:
    digest = hashlib.sha256()
    for part in content:
        digest.update(part)
    sha256 = digest.hexdigest()
    file = name if keeps_name else stored_name(name, sha256)
    return RunFile(file=file, size=sum(map(len, content)), sha256=sha256)


def _former_files(folder: Path) -> tuple[dict[str, RunFile], bytes]:
    """List the files of a run of a former version, and add the format to its versions."""
    listed, versions = {}, b""
    try:
        for name in NAMES:
            if (folder / name).is_file():
                with open_regular(folder / name) as file:
                    content = file.read()
                listed[name] = _listed(name, [content], keeps_name=True)
                if name == VERSION:
                    found = {**parse_json(content, name), **RUN_FORMAT}
                    versions = (json.dumps(found, indent=2) + "\n").encode()
    except OSError as error:
        raise RunError(cannot_read(folder / name, error)) from error
    return listed, versions


def _remove_unlisted(folder: Path, listed: Collection[str]) -> None:
    for path in folder.iterdir():
        if is_of_run(path.name) and path.name not in listed:
            with suppress(OSError):  # on Windows one that is read; the next commit removes it
                path.unlink()


def is_of_run(name: str) -> bool:
    """Whether a file is called as those of a run are, digits of its digest included."""
    return _OURS.fullmatch(name) is not None


_OURS = re.compile("|".join(r"{}(-[0-9a-f]{{12}})?\.{}".format(*name.split(".")) for name in NAMES))
