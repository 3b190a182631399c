"""What a benchmark is to run, read from a YAML file."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mambaad.config import make_config, read_config_file
from mambaad.errors import ConfigError
from mambaad.metrics import Protocol
from mambaad.workflows.benchmark.peers import peer_settings
from mambaad.workflows.benchmark.published import PUBLISHED


class DataSet(BaseModel):
    """Where a data set lies, and which of its classes are wanted.

    ``layout``: its name, where it is not to be recognised. ``known_as``: its name among the
    published results (:mod:`mambaad.workflows.benchmark.published`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    classes: tuple[str, ...] | None = None
    layout: str | None = None
    known_as: str | None = None

    @field_validator("known_as")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in PUBLISHED:
            raise ValueError(f"expected one of {', '.join(PUBLISHED)}, got '{value}'")
        return value


class Plan(BaseModel):
    """Systems x data sets x seeds.

    ``settings``: of all systems (see :class:`mambaad.config.TrainConfig`); ``systems``: by the
    name in the tables, what is different for each. One with ``peer: patchcore`` is anomalib's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = "Benchmark"
    protocol: Protocol = "exact"
    seeds: tuple[int, ...] = Field((42,), min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)
    systems: dict[str, dict[str, Any]] = Field(min_length=1)
    data: dict[str, DataSet] = Field(min_length=1)

    @field_validator("seeds")
    @classmethod
    def _different(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"{value} has one seed twice")
        return value

    @field_validator("systems", mode="before")
    @classmethod
    def _nothing_is_the_default(cls, value: Any) -> Any:
        # "mambaad:" with nothing after it
        if isinstance(value, dict):
            return {name: {} if given is None else given for name, given in value.items()}
        return value

    def jobs(self) -> list[Job]:
        """All that there is to run, every system once before any second seed."""
        return [
            Job(name, self._settings(given, data, seed), data_name, data, seed, self.protocol)
            for seed in self.seeds
            for data_name, data in self.data.items()
            for name, given in self.systems.items()
        ]

    def _settings(self, given: dict[str, Any], data: DataSet, seed: int) -> dict[str, Any]:
        if "peer" in given:
            shared = {k: v for k, v in self.settings.items() if k in PEER_SETTINGS}
            return {**shared, **given, "seed": seed}
        about = {"classes": data.classes, "layout": data.layout}
        chosen = {name: value for name, value in about.items() if value is not None}
        return {**self.settings, **given, **chosen, "seed": seed}


PEER_SETTINGS = ("encoder", "encoder_weights", "size")
"""Those of ``settings`` that peers share."""


@dataclass(frozen=True)
class Job:
    """One system on one data set with one seed."""

    system: str
    settings: dict[str, Any]
    data_name: str
    data: DataSet
    seed: int
    protocol: Protocol

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.system} on {self.data_name}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Its folder within the benchmark's."""
        return Path(_file_name(self.data_name), _file_name(self.system), f"seed-{self.seed}")

    @property
    def fingerprint(self) -> str:
        """Of all that its result depends on, as far as the plan says it."""
        return _digest([self.training, self.protocol])

    @property
    def training(self) -> str:
        """The fingerprint of what its training depends on."""
        about = self.data.model_dump(exclude={"known_as"})
        return _digest([self.settings, {**about, "path": str(self.data.path.resolve())}])

    def check(self) -> None:
        """Refuse settings that cannot work (ConfigError)."""
        try:
            if "peer" in self.settings:
                peer_settings(self.settings)
            else:
                make_config(self.settings)
        except ConfigError as error:
            raise ConfigError(f"system '{self.system}': {error}") from error


def _digest(about: Any) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "unnamed"


def read_plan(path: Path) -> Plan:
    """Read and check a plan; paths in it are relative to its own folder.

    Raises:
        ConfigError: one line that says what is wrong where.
    """
    given = read_config_file(path)
    try:
        plan = Plan(**given)
    except (ValidationError, TypeError) as error:
        if not isinstance(error, ValidationError):
            raise ConfigError(f"{path} is no plan of a benchmark ({error})") from error
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}: {where}: {message[0].lower()}{message[1:]}") from None
    data = {
        name: d.model_copy(update={"path": path.parent / d.path.expanduser()})
        for name, d in plan.data.items()
    }
    plan = plan.model_copy(
        update={
            "data": data,
            "settings": _beside(path, plan.settings),
            "systems": {name: _beside(path, given) for name, given in plan.systems.items()},
        }
    )
    folders: dict[Path, str] = {}
    for job in plan.jobs():
        twin = folders.setdefault(job.folder, job.title)
        if twin != job.title:
            raise ConfigError(f"{path}: '{twin}' and '{job.title}' need names that differ more")
        job.check()
    return plan


def _beside(plan: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with an encoder file that is named relative to the plan."""
    weights = settings.get("encoder_weights", "timm")
    if weights in ("timm", "random") or not isinstance(weights, str):
        return settings
    path = (plan.parent / Path(weights).expanduser()).resolve()
    return {**settings, "encoder_weights": str(path)}
