"""A model as one file: weights, calibration and provenance, without any image.

A bundle (``.mambaad``) is an uncompressed zip archive of the files of a run folder that inspection
needs, and a manifest, ``bundle.json``, with the SHA-256 of each; perhaps also the manifest's
signature (``signatures.py``). It contains no code.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from mambaad.artifacts.manifest import (
    CALIBRATION,
    CONFIG,
    DATA,
    PROTOTYPES,
    VERSION,
    WEIGHTS,
    ListedFile,
)
from mambaad.artifacts.signatures import SIGNATURE, sign
from mambaad.documents import DocumentError, parse_json, shortened
from mambaad.errors import MambaADError, RunError
from mambaad.file_errors import cannot_read
from mambaad.files import written_whole

SUFFIX, MANIFEST, METRICS = ".mambaad", "bundle.json", "metrics.json"
FORMAT = 1
_NEEDED = (CONFIG, DATA, VERSION, WEIGHTS, PROTOTYPES)
ALLOWED = (*_NEEDED, CALIBRATION, METRICS)
_LARGEST_JSON = 16 * 2**20
_DATE = (1980, 1, 1, 0, 0, 0)  # fixed for every member, so that the same run gives the same bytes


class Manifest(BaseModel):
    """The content of ``bundle.json``.

    ``versions``: of the software that trained the model, and of mambaad that made the bundle.
    ``git_revision``: of the mambaad checkout that made it; None for an installed package.
    ``classes``, ``fingerprint``: of the training data. ``calibrated``: the method of calibration;
    None without one. ``metrics``: means over the classes; None if not given. ``encoder``: its
    name, and what is known about the licence of its weights.
    """

    format: int
    files: dict[str, ListedFile]
    versions: dict[str, str]
    git_revision: str | None = None
    classes: list[str]
    fingerprint: str
    calibrated: str | None = None
    metrics: dict[str, float | None] | None = None
    encoder: dict[str, str]


def write_bundle(
    out: Path,
    manifest: Manifest,
    members: Mapping[str, bytes | bytearray],
    private_key: Path | None = None,
) -> None:
    """Write a manifest and the files it lists as one archive, whole or not at all.

    The same content, signed with the same key or with none, gives the same bytes.
    """
    text = (manifest.model_dump_json(indent=2) + "\n").encode()
    content = {**members, MANIFEST: text}
    if private_key:
        content[SIGNATURE] = sign(text, private_key)
    with written_whole(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in sorted(content.items()):
            archive.writestr(zipfile.ZipInfo(name, _DATE), data)


def listed(members: Mapping[str, bytes | bytearray]) -> dict[str, ListedFile]:
    """List files as a manifest does: sizes and digests by name."""
    return {
        name: ListedFile(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in sorted(members.items())
    }


@contextmanager
def damaged_archive(source: Path) -> Iterator[None]:
    """Turn the errors of reading an archive into one line that names the bundle (RunError)."""
    try:
        yield
    except OSError as error:
        raise RunError(cannot_read(source, error)) from error
    # RuntimeError: zipfile's error for encrypted members, and for newer zip versions.
    except (zipfile.BadZipFile, EOFError, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, MambaADError):
            raise
        raise RunError(
            f"{source} is not a bundle, or a damaged one ({' '.join(str(error).split())}); copy it "
            "again, or make it with mambaad bundle"
        ) from error


def read_archive(source: Path, archive: zipfile.ZipFile, size: int) -> tuple[Manifest, bytes]:
    """Read the manifest of an open archive, and check that its members are those of a bundle.

    Args:
        source: its path, for messages.
        archive: open; its files are not read.
        size: its size in bytes.

    Returns:
        The manifest, and its bytes.

    Raises:
        RunError: it is damaged, of a newer format, or has a file that does not belong in a bundle.
    """
    members = archive.infolist()
    # First, since the other files of a newer format are no damage.
    manifest, content = _manifest(source, archive)
    _check_members(source, members, size)
    names = {member.filename for member in members} - {MANIFEST, SIGNATURE}
    if set(manifest.files) != names or not names >= set(_NEEDED):
        raise RunError(
            f"{source} is damaged: its files are not those of its manifest; copy it again"
        )
    return manifest, content


def _check_members(source: Path, members: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse members that do not belong in a bundle, or are larger together than the archive."""
    names = [member.filename for member in members]
    unknown = sorted(set(names) - {MANIFEST, SIGNATURE, *ALLOWED})
    if unknown or len(set(names)) != len(names):
        problem = f"holds {shortened(repr(unknown[0]))}" if unknown else "has a file twice"
        raise RunError(
            f"{source} is not a bundle of mambaad: it {problem}; make one with mambaad bundle"
        )
    for member in members:
        _check_member(source, member)
    if sum(member.file_size for member in members) > size:
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


def _manifest(source: Path, archive: zipfile.ZipFile) -> tuple[Manifest, bytes]:
    if MANIFEST not in archive.namelist():
        raise RunError(
            f"{source} is not a bundle of mambaad: it lacks a manifest; make one with "
            "mambaad bundle"
        )
    member = archive.getinfo(MANIFEST)
    _check_member(source, member)
    data = archive.read(member)
    try:
        content = parse_json(data, MANIFEST)
    except DocumentError as error:
        raise RunError(f"{source} is damaged: {error}; copy it again") from error
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is int and found > FORMAT:  # True is an int too
        raise RunError(
            f"{source} has format {found}, this version reads up to {FORMAT}; update mambaad"
        )
    try:
        if type(found) is not int or found != FORMAT:
            raise ValueError(f"format is {found!r}")
        return Manifest.model_validate(content), data
    except ValueError as error:
        raise RunError(f"{source} is damaged: its manifest is invalid; copy it again") from error
