"""A job: what is inspected, with what and how, as ``job.json`` in its folder says."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mambaad.artifacts.manifest import CALIBRATION, CONFIG, PROTOTYPES, WEIGHTS
from mambaad.artifacts.snapshot import Snapshot
from mambaad.errors import RunError
from mambaad.setting_checks import problem_of
from mambaad.shards.stores import Place, first_line

JOB = "job.json"


class Job(BaseModel):
    """The settings of a job, the same for whoever goes on with it.

    ``model``: the SHA-256 of the model's weights. ``identity``: of all that its records depend on
    (:func:`identity_of`). ``sources``: as they were given, in the folder
    ``base``, from which relative paths lead. ``time``: that its records carry. ``rows``,
    ``shards``: how many. ``size``: height and width of the anomaly maps. ``maps``: whether they
    are kept. ``digests``: whether the manifest has the files' digests.
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
    shard_size: int
    maps: bool = False
    digests: bool = False
    time: str
    size: tuple[int, int]
    rows: int
    shards: int


def identity_of(run: Snapshot) -> str:
    """The SHA-256 of all that a model's records depend on: settings, weights, calibration."""
    of_a_run = (CONFIG, WEIGHTS, PROTOTYPES, CALIBRATION)
    deciding = sorted(run.names()) if run.export else filter(run.has, of_a_run)
    lines = [f"{name} {run.digest(name)}\n" for name in deciding]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_job(place: Place, job: Job) -> None:
    """Write a job's settings: from then on it can be resumed (RunError)."""
    place.write(JOB, (job.model_dump_json(indent=2) + "\n").encode())


def read_job(place: Place) -> Job | None:
    """Read a job's settings; None if none has begun there.

    Raises:
        RunError: they cannot be read, or a later version wrote them.
    """
    try:
        if not place.has(JOB):
            return None
        return Job.model_validate_json(place.read(JOB))
    except OSError as error:
        raise RunError(f"{place.name_of(JOB)} cannot be read ({first_line(error)})") from error
    except ValidationError as error:
        where, problem = problem_of(error)
        raise RunError(
            f"{place.name_of(JOB)}: {where or 'file'}: {problem}; restore it, or give another --out"
        ) from None
