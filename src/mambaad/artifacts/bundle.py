"""A model as one file: weights, calibration and provenance, without any image.

A bundle (``.mambaad``) is an uncompressed zip archive of the files of a run folder that inspection
needs, and a manifest, ``bundle.json``, with the SHA-256 of each. It contains no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from mambaad.artifacts.run_folder import (
    CALIBRATION,
    CONFIG,
    DATA,
    PROTOTYPES,
    VERSION,
    WEIGHTS,
)
from mambaad.errors import RunError
from mambaad.files import written_whole

SUFFIX, MANIFEST, METRICS = ".mambaad", "bundle.json", "metrics.json"
FORMAT = 1
_NEEDED = (CONFIG, DATA, VERSION, WEIGHTS, PROTOTYPES)
ALLOWED = (*_NEEDED, CALIBRATION, METRICS)
_LARGEST_JSON = 16 * 2**20
_DATE = (1980, 1, 1, 0, 0, 0)  # fixed for every member, so that the same run gives the same bytes


class BundledFile(BaseModel):
    """One file of a bundle: its size in bytes, and its SHA-256."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """The content of ``bundle.json``.

    ``versions``: of the software that trained the model, and of mambaad that made the bundle.
    ``git_revision``: of the mambaad checkout that made it; None for an installed package.
    ``classes``, ``fingerprint``: of the training data. ``calibrated``: the method of calibration;
    None without one. ``metrics``: means over the classes; None if not given. ``encoder``: its
    name, and what is known about the licence of its weights.
    """

    format: int
    files: dict[str, BundledFile]
    versions: dict[str, str]
    git_revision: str | None = None
    classes: list[str]
    fingerprint: str
    calibrated: str | None = None
    metrics: dict[str, float | None] | None = None
    encoder: dict[str, str]


def write_bundle(out: Path, manifest: Manifest, members: Mapping[str, bytes]) -> None:
    """Write a manifest and the files it lists as one archive, whole or not at all.

    The same content gives the same bytes.
    """
    content = {**members, MANIFEST: (manifest.model_dump_json(indent=2) + "\n").encode()}
    with written_whole(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in sorted(content.items()):
            archive.writestr(zipfile.ZipInfo(name, _DATE), data)


def listed(members: Mapping[str, bytes]) -> dict[str, BundledFile]:
    """List files as a manifest does: sizes and digests by name."""
    return {
        name: BundledFile(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in sorted(members.items())
    }


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """Open a run folder as it is, or verify a bundle and unpack it into a temporary folder.

    Raises:
        RunError: a bundle that is damaged, of a newer format, or has a file that does not belong
            in a bundle.
    """
    if not source.is_file():
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="mambaad-") as temporary:
        folder = Path(temporary)
        try:
            with _named(source):
                _verify(source, folder)
                _check_numbers(source, folder)
            yield folder
        except RunError as error:  # the temporary folder is gone when a user reads this
            reason = str(error).replace(f"{folder}/", "").replace(str(folder), "it")
            reason = reason if str(source) in reason else f"{source}: {reason}"
            raise RunError(reason) from error


def read_manifest(source: Path) -> Manifest:
    """Read the manifest of a bundle, and verify every file's size and digest against it.

    Nothing is unpacked; the tensors' values are checked by :func:`opened`.

    Raises:
        RunError: see :func:`opened`.
    """
    if not source.is_file():
        raise RunError(f"there is no bundle {source}; make one with mambaad bundle")
    with _named(source):
        return _verify(source)


@contextmanager
def _named(source: Path) -> Iterator[None]:
    """Turn the errors of reading an archive and its JSON into one line that names the bundle."""
    try:
        yield
    except RecursionError as error:  # from any of its JSON files
        raise RunError(
            f"{source} is damaged: its JSON is nested too deeply; copy it again"
        ) from error
    except OSError as error:
        raise RunError(
            f"{source} cannot be read ({error.strerror or error}); check its permissions"
        ) from error


def _verify(source: Path, folder: Path | None = None) -> Manifest:
    """Check the members of a bundle against its manifest; write them to a folder, if given."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            # First, since the other files of a newer format are no damage.
            manifest = _manifest(source, archive)
            _check_members(source, members)
            names = {member.filename for member in members} - {MANIFEST}
            if set(manifest.files) != names or not names >= set(_NEEDED):
                raise RunError(
                    f"{source} is damaged: its files are not those of its manifest; copy it again"
                )
            for name, expected in manifest.files.items():
                target = folder / name if folder else Path(os.devnull)
                _copy(source, archive, name, expected, target)
            summary: Any = json.loads(archive.read(DATA))
            classes = list(summary["classes"])
    # RuntimeError: zipfile's error for encrypted members, and for newer zip versions.
    except (zipfile.BadZipFile, EOFError, RuntimeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, (RunError, RecursionError)):
            raise
        raise RunError(
            f"{source} is not a bundle, or a damaged one ({' '.join(str(error).split())}); copy it "
            "again, or make it with mambaad bundle"
        ) from error
    if manifest.classes != classes:
        raise RunError(
            f"{source} is damaged: its manifest has other classes than its {DATA}; make it again "
            "with mambaad bundle"
        )
    return manifest


def _check_members(source: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that do not belong in a bundle, or are larger together than the archive."""
    names = [member.filename for member in members]
    unknown = sorted(set(names) - {MANIFEST, *ALLOWED})
    if unknown or len(set(names)) != len(names):
        problem = f"holds {unknown[0]!r}" if unknown else "has a file twice"
        raise RunError(
            f"{source} is not a bundle of mambaad: it {problem}; make one with mambaad bundle"
        )
    for member in members:
        _check_member(source, member)
    if sum(member.file_size for member in members) > source.stat().st_size:
        raise RunError(f"{source} is damaged: its files are larger than the archive; copy it again")


def _check_member(source: Path, member: zipfile.ZipInfo) -> None:
    is_plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
    if not is_plain or member.compress_size != member.file_size:
        raise RunError(
            f"{source} is not a bundle of mambaad: {member.filename} is compressed; make "
            "one with mambaad bundle"
        )
    if member.filename.endswith(".json") and member.file_size > _LARGEST_JSON:
        raise RunError(
            f"{source} is damaged: {member.filename} has {member.file_size} bytes, expected at "
            f"most {_LARGEST_JSON}; copy it again"
        )


def _manifest(source: Path, archive: zipfile.ZipFile) -> Manifest:
    if MANIFEST not in archive.namelist():
        raise RunError(
            f"{source} is not a bundle of mambaad: it lacks a manifest; make one with "
            "mambaad bundle"
        )
    member = archive.getinfo(MANIFEST)
    _check_member(source, member)
    content: Any = json.loads(archive.read(member))
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is int and found > FORMAT:  # True is an int too
        raise RunError(
            f"{source} has format {found}, this version reads up to {FORMAT}; update mambaad"
        )
    try:
        if type(found) is not int or found != FORMAT:
            raise ValueError(f"format is {found!r}")
        return Manifest.model_validate(content)
    except ValueError as error:
        raise RunError(f"{source} is damaged: its manifest is invalid; copy it again") from error


def _copy(
    source: Path, archive: zipfile.ZipFile, name: str, expected: BundledFile, target: Path
) -> None:
    digest, size = hashlib.sha256(), 0
    with archive.open(name) as member, target.open("wb") as file:
        while chunk := member.read(2**20):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    if (size, digest.hexdigest()) != (expected.size, expected.sha256):
        raise RunError(f"{source} is damaged: {name} has changed since it was made; copy it again")


def _check_numbers(source: Path, folder: Path) -> None:
    # Here, since a registry and a manifest need no arrays.
    import numpy as np

    from mambaad.artifacts.prototypes import read_prototypes
    from mambaad.artifacts.tensors import load_tensors

    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_tensors(path)[0].items():
            if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
                raise RunError(
                    f"{source} is damaged: {name} in {path.name} is not finite; make it again "
                    "from a sound run"
                )
    read_prototypes(folder)
