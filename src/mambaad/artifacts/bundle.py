"""A model as one file: weights, calibration and where they come from, and not one image.

A bundle (``.mambaad``) is a zip archive, uncompressed, of the files of a run folder that
inspection needs and of a manifest, ``bundle.json``, with a SHA-256 of each. Nothing in it is code.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

import timm
import torch
from pydantic import BaseModel, Field, TypeAdapter

from mambaad.artifacts.run_folder import (
    CONFIG,
    DATA,
    GOOD_PARTS,
    VERSION,
    WEIGHTS,
    load_model,
    load_tensors,
    read_config,
    read_data_summary,
    read_good_parts,
    read_version,
)
from mambaad.config import TrainConfig, config_json
from mambaad.errors import RunError
from mambaad.files import written_whole
from mambaad.inspection.calibration import CALIBRATION, read_calibration
from mambaad.models.encoder import EMBEDDED

SUFFIX, MANIFEST, METRICS = ".mambaad", "bundle.json", "metrics.json"
FORMAT = 1
_NEEDED = (CONFIG, DATA, VERSION, WEIGHTS, GOOD_PARTS)
_ALLOWED = (*_NEEDED, CALIBRATION, METRICS)
_LARGEST_JSON = 16 * 2**20
_DATE = (1980, 1, 1, 0, 0, 0)  # of every member: the same run gives the same bytes


class _File(BaseModel):
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What ``bundle.json`` says.

    ``versions``: of the software that trained the model, and of mambaad that made the bundle.
    ``git_revision``: of a checkout of mambaad that made it. ``classes``, ``fingerprint``: of the
    data it was trained on. ``calibrated``: by which method. ``metrics``: means over the classes,
    where given. ``encoder``: its name, and what is known of the licence of its weights.
    """

    format: int
    files: dict[str, _File]
    versions: dict[str, str]
    git_revision: str | None = None
    classes: list[str]
    fingerprint: str
    calibrated: str | None = None
    metrics: dict[str, float | None] | None = None
    encoder: dict[str, str]


def make_bundle(run: Path, out: Path, metrics: Path | None = None) -> Manifest:
    """Write a finished run as a bundle, whole or not at all; the same run gives the same file.

    Args:
        run: the folder that training made, calibrated or not.
        out: the file to write, ``*.mambaad``.
        metrics: figures that ``mambaad evaluate --json`` wrote, to go with it.

    Raises:
        RunError: an unfinished or damaged run, or a file that cannot be written.
    """
    run = Path(run)
    if out.suffix != SUFFIX:
        raise RunError(f"--out: {out} does not end in {SUFFIX}; call it {out.stem}{SUFFIX}")
    if not run.is_dir():
        raise RunError(f"{run} is not a run folder; give what 'mambaad train --out' made")
    config, data = read_config(run), read_data_summary(run)
    if not (run / GOOD_PARTS).is_file():
        raise RunError(f"{run}: training has not ended; finish it (mambaad train --resume) first")
    load_model(run)  # refuses what could not be loaded later
    calibration = read_calibration(run, config.size)
    members = {
        name: (run / name).read_bytes()
        for name in _ALLOWED
        if name not in (CONFIG, METRICS) and (run / name).is_file()
    }
    # Of a path only the name: the place says more of the machine than of the model.
    weights = PurePath(config.encoder_weights).name
    members[CONFIG] = config_json(config.model_copy(update={"encoder_weights": weights})).encode()
    mean = None
    if metrics:
        figures = _figures(metrics)
        mean = figures["mean"]
        members[METRICS] = (json.dumps(figures, indent=2) + "\n").encode()
    manifest = Manifest(
        format=FORMAT,
        files={
            name: _File(size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in sorted(members.items())
        },
        versions={"bundled by mambaad": version("mambaad"), **read_version(run)},
        git_revision=_git_revision(),
        classes=list(data["classes"]),
        fingerprint=str(data["fingerprint"]),
        calibrated=calibration.method if calibration else None,
        metrics=mean,
        encoder={"name": config.encoder, "weights": weights, "licence": _licence(config)},
    )
    members[MANIFEST] = (manifest.model_dump_json(indent=2) + "\n").encode()
    with written_whole(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return manifest


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """A run folder as it is, or a bundle verified and laid out in a temporary one.

    Raises:
        RunError: neither; or a bundle that is damaged, of a newer format, or has anything in it
            that a bundle has not.
    """
    if not source.is_file():
        yield source
        return
    with _laid_out(source) as (folder, _):
        yield folder


def read_manifest(source: Path) -> Manifest:
    """What a bundle says of itself, after every check that loading makes but of the tensors.

    Raises:
        RunError: see :func:`opened`.
    """
    if not source.is_file():
        raise RunError(f"there is no bundle {source}; make one with mambaad bundle")
    with _laid_out(source) as (_, manifest):
        return manifest


def check_bundle(source: Path) -> Manifest:
    """What a bundle says of itself, after every check that loading makes.

    Raises:
        RunError: see :func:`opened`; or it would not load.
    """
    if not source.is_file():
        raise RunError(f"there is no bundle {source}; make one with mambaad bundle")
    with _laid_out(source) as (folder, manifest):
        load_model(folder)
        read_calibration(folder, read_config(folder).size)
        return manifest


@contextmanager
def _laid_out(source: Path) -> Iterator[tuple[Path, Manifest]]:
    """A bundle in a temporary folder, and its manifest; what it raises names the bundle."""
    try:
        with tempfile.TemporaryDirectory(prefix="mambaad-") as temporary:
            folder = Path(temporary)
            try:
                yield folder, _lay_out(source, folder)
            except RunError as error:  # its files' place is gone when this is read
                reason = str(error).replace(f"{folder}/", "").replace(str(folder), "it")
                reason = reason if str(source) in reason else f"{source}: {reason}"
                raise RunError(reason) from error
    except RecursionError as error:  # of whichever of its JSON texts
        raise RunError(
            f"{source} is damaged: its JSON is nested too deeply; get it again"
        ) from error
    except OSError as error:
        raise RunError(f"{source} cannot be read ({error.strerror or error})") from error


def _lay_out(source: Path, folder: Path) -> Manifest:
    """Write the members of a bundle, once they are known to be what the manifest says."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            # First: what else a newer format has is no damage.
            manifest = _manifest(source, archive)
            _check_members(source, members)
            names = {member.filename for member in members} - {MANIFEST}
            if set(manifest.files) != names or not names >= set(_NEEDED):
                raise RunError(f"{source} is damaged: its files are not those of its manifest")
            for name, expected in manifest.files.items():
                _copy(source, archive, name, expected, folder / name)
    # RuntimeError: what zipfile says of members that are encrypted, or of another version.
    except (zipfile.BadZipFile, EOFError, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, (RunError, RecursionError)):
            raise
        raise RunError(
            f"{source} is not a bundle, or a damaged one ({' '.join(str(error).split())}); get it "
            "again, or make it with mambaad bundle"
        ) from error
    if manifest.classes != list(read_data_summary(folder)["classes"]):
        raise RunError(
            f"{source} is damaged: its manifest has other classes than its {DATA}; make it again"
        )
    _check_numbers(source, folder)
    return manifest


def _check_members(source: Path, members: list[zipfile.ZipInfo]) -> None:
    """No member that a bundle has not, and none larger than the file says."""
    names = [member.filename for member in members]
    strange = sorted(set(names) - {MANIFEST, *_ALLOWED})
    if strange or len(set(names)) != len(names):
        what = f"holds {strange[0]!r}" if strange else "has a file twice"
        raise RunError(f"{source} is not a bundle of mambaad: it {what}")
    for member in members:
        _check_member(source, member)
    if sum(member.file_size for member in members) > source.stat().st_size:
        raise RunError(f"{source} is damaged: its files are larger than it")


def _check_member(source: Path, member: zipfile.ZipInfo) -> None:
    is_plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
    if not is_plain or member.compress_size != member.file_size:
        raise RunError(f"{source} is not a bundle of mambaad: {member.filename} is compressed")
    if member.filename.endswith(".json") and member.file_size > _LARGEST_JSON:
        raise RunError(f"{source} is damaged: {member.filename} is of {member.file_size} bytes")


def _manifest(source: Path, archive: zipfile.ZipFile) -> Manifest:
    if MANIFEST not in archive.namelist():
        raise RunError(f"{source} is not a bundle of mambaad: it lacks a manifest")
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
        raise RunError(f"{source} is damaged: its manifest is not one; get it again") from error


def _copy(source: Path, archive: zipfile.ZipFile, name: str, expected: _File, target: Path) -> None:
    digest, size = hashlib.sha256(), 0
    with archive.open(name) as member, target.open("wb") as file:
        while chunk := member.read(2**20):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    if (size, digest.hexdigest()) != (expected.size, expected.sha256):
        raise RunError(f"{source} is damaged: {name} is not what it was; get it again")


def _check_numbers(source: Path, folder: Path) -> None:
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_tensors(path)[0].items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise RunError(f"{source} is damaged: {name} in {path.name} is not finite")
    read_good_parts(folder)


def _figures(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = ("protocol", "size", "classes", "mean", "pooled")
        figures = {name: content[name] for name in names}
        TypeAdapter(dict[str, float | None]).validate_python(figures["mean"])
        return figures
    except OSError as error:
        raise RunError(f"--metrics: {path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"--metrics: {path} is not what 'mambaad evaluate --json' writes; give its file"
        ) from error


def _git_revision() -> str | None:
    """Of the checkout that this package is in; None where it was installed."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--verify", "HEAD:./bundle.py", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.split()[-1]


def _licence(config: TrainConfig) -> str:
    if config.encoder == EMBEDDED:
        return "Apache-2.0: trained by this project on drawn images only"
    if config.encoder_weights == "random":
        return "none: random weights"
    if config.encoder_weights == "timm":
        known = timm.get_pretrained_cfg(config.encoder)
        stated = getattr(known, "license", None) or "not stated"
        return f"{stated}, as timm says of its weights; see also their training data's terms"
    return "not known: a local file; ask who made it"
