"""The run folder: its files, and the manifest that says which of them belong together.

=========================== ======================================================================
``config.json``             the settings (:class:`mambaad.config.TrainConfig`)
``data.json``               the classes, their counts, and the digests of their images
``version.json``            the versions of this package, PyTorch and timm, and of the run's format
``weights-*.safetensors``   the whole model, encoder included
``log-*.jsonl``             a line for each epoch
``head-*.jsonl``            with a residual head: its loss every 50 steps, whether it is used
``good_parts-*``            the products' prototypes, written last (``artifacts/prototypes.py``)
``calibration-*``           once calibrated: the thresholds (``inspection/calibration.py``)
``checkpoint-*``            until training has ended: the state that it resumes from
``head_checkpoint-*``       the same of the residual head, while it is trained
``manifest.json``           of each file above: its name, its size and its SHA-256
=========================== ======================================================================

Beside them is ``run.html``, a page on the training for people. It is made of these files and
belongs to no generation: it is written after the one that it shows, always under this name,
nothing reads it, and it may be deleted.

Nothing in it refers to a path outside, so it can be moved. The star stands for the first digits of
the file's SHA-256: a file that changes is written under a new name, and the manifest, replaced last
and by one rename, makes a new *generation* of the run of it (``artifacts/generations.py``). So
whoever reads has the files of one generation, whatever is written meanwhile
(``artifacts/snapshot.py``), and the earlier one stays whole until the new one is.

Former versions wrote no manifest, and every file under its plain name, such as
``weights.safetensors``. Such a run is known by its ``version.json``, which states no format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mambaad.documents import DocumentError, parse_json, read_json
from mambaad.errors import RunError

CONFIG, DATA, VERSION, LOG = "config.json", "data.json", "version.json", "log.jsonl"
WEIGHTS, PROTOTYPES = "weights.safetensors", "good_parts.safetensors"
CHECKPOINT, CALIBRATION = "checkpoint.safetensors", "calibration.safetensors"
HEAD_LOG, HEAD_CHECKPOINT = "head.jsonl", "head_checkpoint.safetensors"
PAGE = "run.html"
FIRST = (CONFIG, DATA, VERSION)
"""Files that are made with the run, under their plain names; they change when it is extended, or
trained longer."""
NAMES = (
    *FIRST,
    *(LOG, WEIGHTS, PROTOTYPES, CHECKPOINT, CALIBRATION, HEAD_LOG, HEAD_CHECKPOINT),
)

MANIFEST, FORMAT = "manifest.json", 1
RUN_FORMAT = {"run format": "2"}
"""Entry of ``version.json``; runs of format 1 have none, and no manifest."""
_DIGITS = 12  # of a digest in a file's name


class ListedFile(BaseModel):
    """A file as a manifest lists it: its size in bytes, and its SHA-256."""

    model_config = ConfigDict(strict=True, frozen=True)

    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class RunFile(ListedFile):
    """A file of a run; ``file`` is its name in the folder."""

    file: str


class RunManifest(BaseModel):
    """The content of a run's ``manifest.json``.

    ``generation``: how often the run has been written, from 1. ``files``: by their plain names.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    generation: int = Field(ge=1)
    files: dict[str, RunFile]

    @model_validator(mode="after")
    def _names_fit(self) -> RunManifest:
        for name, listed in self.files.items():
            if name not in NAMES or listed.file not in (name, stored_name(name, listed.sha256)):
                raise ValueError(f"{listed.file!r} is no file of a run")
        return self


def stored_name(name: str, sha256: str) -> str:
    """The name under which a file that may change is stored, such as ``log-0123456789ab.jsonl``."""
    stem, suffix = name.split(".")
    return f"{stem}-{sha256[:_DIGITS]}.{suffix}"


def parse_manifest(content: bytes, path: Path) -> RunManifest:
    """Read the content of a ``manifest.json`` (RunError: it is damaged, or of a newer format)."""
    try:
        found = parse_json(content, str(path))
        number = found.get("format") if isinstance(found, dict) else None
        if type(number) is int and number > FORMAT:
            raise RunError(
                f"{path} has format {number}, this version reads up to {FORMAT}; update mambaad"
            )
        return RunManifest.model_validate(found)
    except (DocumentError, ValidationError) as error:
        raise RunError(f"{path} is damaged; restore the run from a copy") from error


def is_former(folder: Path) -> bool:
    """Whether a folder holds a run of a former version, which has no manifest."""
    if (folder / MANIFEST).exists() or not (folder / CONFIG).is_file():
        return False
    versions = _versions(folder)
    return versions is not None and not RUN_FORMAT.keys() & versions.keys()


def is_of_this_format(folder: Path) -> bool:
    """Whether a folder has the versions of a run that has a manifest, or was about to have one."""
    return RUN_FORMAT.keys() <= (_versions(folder) or {}).keys()


def _versions(folder: Path) -> dict[str, Any] | None:
    try:
        versions = read_json(folder / VERSION)
    except DocumentError:
        return None
    return versions if isinstance(versions, dict) else None


def has_begun(folder: Path) -> bool:
    """Whether a folder holds a run, even if its training has hardly begun."""
    return (folder / MANIFEST).is_file() or is_former(folder)
