"""A job: what is inspected, with what and how, as ``job.json`` in its folder says."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mambaad.artifacts.manifest import CALIBRATION, CONFIG, PROTOTYPES, WEIGHTS
from mambaad.artifacts.sealed import parse_sealed, sealed_json
from mambaad.artifacts.snapshot import Snapshot
from mambaad.documents import DocumentError
from mambaad.errors import RunError
from mambaad.setting_checks import problem_of
from mambaad.shards.stores import Place, first_line

JOB = "job.json"
_HINT = "restore it, or give another --out"


class Job(BaseModel):
    """The settings of a job, the same for whoever goes on with it.

    ``model``: the SHA-256 of the model's weights. ``identity``: of all that its records depend on
    (:func:`identity_of`). ``sources``: as they were given, in the folder
    ``base``, from which relative paths lead. ``time``: that its records carry. ``rows``,
    ``shards``: how many. ``size``: height and width of the anomaly maps. ``maps``: whether they
    are kept. ``digests``: whether the manifest has the files' digests. ``manifest``: its SHA-256;
    empty until it is written.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1
    model: str
    identity: str
    sources: tuple[str, ...]
    base: str
    product: str | None = None
    precision: str = "float32"
    max_pixels: int | None = None
    shard_size: int = Field(ge=1)
    maps: bool = False
    digests: bool = False
    time: str
    size: tuple[int, int]
    rows: int = Field(ge=0)
    shards: int = Field(ge=0)
    manifest: str = ""

    @model_validator(mode="after")
    def _shards_fit(self) -> Job:
        if self.shards != -(-self.rows // self.shard_size):
            raise ValueError(f"{self.rows} rows do not make {self.shards} shards")
        return self


def identity_of(run: Snapshot) -> str:
    """The SHA-256 of all that a model's records depend on: settings, weights, calibration."""
    of_a_run = (CONFIG, WEIGHTS, PROTOTYPES, CALIBRATION)
    deciding = sorted(run.names()) if run.export else filter(run.has, of_a_run)
    lines = [f"{name} {run.digest(name)}\n" for name in deciding]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_job(place: Place, job: Job) -> None:
    """Write a job's settings: from then on it can be resumed (RunError)."""
    place.write(JOB, sealed_json(job, indent=2))


def read_job(place: Place) -> Job | None:
    """Read a job's settings; None if none has begun there.

    Raises:
        RunError: they cannot be read, have changed, or a later version wrote them.
    """
    name = place.name_of(JOB)
    try:
        if not place.has(JOB):
            return None
        return Job.model_validate(parse_sealed(place.read(JOB), name))
    except OSError as error:
        raise RunError(f"{name} cannot be read ({first_line(error)}); {_HINT}") from error
    except DocumentError as error:
        raise RunError(f"{error}; {_HINT}") from error
    except ValidationError as error:
        where, problem = problem_of(error)
        raise RunError(f"{name}: {where or 'file'}: {problem}; {_HINT}") from None
