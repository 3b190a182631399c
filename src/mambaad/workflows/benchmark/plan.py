"""The plan of a benchmark, read from a YAML file."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from mambaad.config import check_names, make_config, named
from mambaad.config_file import in_file, read_config_file
from mambaad.data.layout_file import as_setting
from mambaad.data.layouts import class_names
from mambaad.documents import did_you_mean, shortened
from mambaad.errors import ConfigError, DataError
from mambaad.metrics.names import Protocol
from mambaad.setting_checks import Settings, problem_of
from mambaad.workflows.benchmark.peer_settings import OF_DATA, peer_settings
from mambaad.workflows.benchmark.published import PUBLISHED


class DataSet(Settings):
    """The folder of a data set, and the classes to use.

    ``classes``: omit for all. ``layout``: omit to have it recognised; or its name, or a file or the
    fields of a declared one. ``known_as``: the data set's
    name among the published results (:mod:`mambaad.workflows.benchmark.published`).
    """

    path: Path
    classes: tuple[str, ...] | None = None
    layout: str | None = None
    known_as: str | None = None

    @field_validator("layout", mode="before")
    @classmethod
    def _fields_as_text(cls, value: Any) -> Any:
        return json.dumps(value) if isinstance(value, dict) else value

    @field_validator("known_as")
    @classmethod
    def _check_known_as(cls, value: str | None) -> str | None:
        if value is not None and value not in PUBLISHED:
            raise ValueError(f"expected one of {', '.join(PUBLISHED)}, got '{shortened(value)}'")
        return value


class Plan(Settings):
    """Systems x data sets x seeds.

    ``settings``: shared by all systems (see :class:`mambaad.config.TrainConfig`). ``systems``: by
    name in the tables, the settings of each, which override them. A system with
    ``peer: patchcore`` is anomalib's.
    """

    title: str = "Benchmark"
    protocol: Protocol = "exact"
    seeds: tuple[int, ...] = Field((42,), min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)
    systems: dict[str, dict[str, Any]] = Field(min_length=1)
    data: dict[str, DataSet] = Field(min_length=1)

    @field_validator("seeds")
    @classmethod
    def _check_distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected distinct seeds, got {shortened(value)}")
        return value

    @field_validator("systems", mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: Any) -> Any:
        # YAML reads "mambaad:" with nothing after it as None.
        if isinstance(value, dict):
            return {name: {} if given is None else given for name, given in value.items()}
        return value

    def jobs(self) -> list[Job]:
        """List the jobs, every system once before any second seed."""
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
        of_data = {"classes": data.classes, "layout": data.layout}
        of_data = {name: value for name, value in of_data.items() if value is not None}
        return {**self.settings, **given, **of_data, "seed": seed}


RESULT = "result.json"
"""The file of a job's result, in its folder."""

PEER_SETTINGS = ("encoder", "encoder_weights", "size", *OF_DATA)
"""The ``settings`` of a plan that apply to peers too."""


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
        """The name of the job in messages."""
        return f"{self.system} on {self.data_name}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The job's folder, relative to the benchmark's."""
        return Path(_file_name(self.data_name), _file_name(self.system), f"seed-{self.seed}")

    @property
    def fingerprint(self) -> str:
        """The digest of everything in the plan that the job's result depends on."""
        return _digest([self.training, self.protocol])

    @property
    def training(self) -> str:
        """The digest of everything in the plan that the job's training depends on."""
        data = self.data.model_dump(exclude={"known_as"})
        settings = self.settings
        if "peer" not in settings:  # the whole of them: recipes change from version to version
            settings = make_config(settings).model_dump(mode="json")
        return _digest([settings, {**data, "path": str(self.data.path.resolve())}])

    def check(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: an unknown setting, or a wrong value.
        """
        try:
            if "peer" in self.settings:
                peer_settings(self.settings)
            else:
                check_names(self.settings)
                make_config(self.settings)
        except ConfigError as error:
            raise ConfigError(f"system '{self.system}': {error}") from error


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "unnamed"


def read_plan(path: Path) -> Plan:
    """Read and check a plan; paths in it are relative to its folder.

    Raises:
        ConfigError: a file that is not a valid plan; the message names the field.
    """
    given = read_config_file(path, "PLAN")
    try:
        plan = Plan.model_validate(given)
    except ValidationError as error:
        where, problem = problem_of(error)
        keys = error.errors(include_url=False)[0]["loc"]
        if error.errors(include_url=False)[0]["type"] == "extra_forbidden":
            fields = Plan.model_fields if len(keys) == 1 else DataSet.model_fields
            problem = f"there is no such field{did_you_mean(str(keys[-1]), fields)}"
        raise in_file(path, keys, f"{where}: {problem}") from None
    data = {
        name: d.model_copy(
            update={
                "path": _beside(path, d.path),
                "layout": as_setting(_layout(path, d.layout)),
            }
        )
        for name, d in plan.data.items()
    }
    plan = plan.model_copy(
        update={
            "data": data,
            "settings": _resolve_weights(path, plan.settings),
            "systems": {
                name: _resolve_weights(path, given) for name, given in plan.systems.items()
            },
        }
    )
    folders: dict[Path, str] = {}
    for job in plan.jobs():
        other = folders.setdefault(job.folder, job.title)
        if other != job.title:
            raise ConfigError(
                f"{path}: '{other}' and '{job.title}' would share the folder {job.folder}; "
                "rename one"
            )
        try:
            job.check()
        except ConfigError as error:
            raise in_file(path, _blamed(plan, job, error), error) from None
    return plan


def _blamed(plan: Plan, job: Job, error: ConfigError) -> list[str]:
    """Find the setting of a plan that an error on a job is about, as keys; or else its system."""
    of_system = ["systems", job.system]
    for keys, names in ((of_system, plan.systems[job.system]), (["settings"], plan.settings)):
        for name in names:
            if re.search(
                rf"(: |')({re.escape(named(name))}|{re.escape(name)})(?![\w-])", str(error)
            ):
                return [*keys, name]
    return of_system


def check_paths(plan: Plan, out: Path) -> None:
    """Check every path of a plan before its first job, so that none fails hours later.

    Jobs that have a result in ``out`` already need none.

    Raises:
        ConfigError, DataError: a data set that is not there or lacks a class; no such weights.
    """
    checked = set()
    for job in plan.jobs():
        weights = job.settings.get("encoder_weights", "timm")
        used = (job.data_name, weights)
        if used in checked or (out / job.folder / RESULT).exists():
            continue
        checked.add(used)
        if weights not in ("timm", "random") and not Path(weights).is_file():
            raise ConfigError(
                f"system '{job.system}': --encoder-weights: there is no file {weights}; check the "
                "path"
            )
        try:
            names = class_names(job.data.path, split="train", layout=job.data.layout)
        except DataError as error:
            raise DataError(f"data '{job.data_name}': {error}") from error
        for name in job.data.classes or ():
            if name not in names:
                raise DataError(
                    f"data '{job.data_name}': {job.data.path} has no class "
                    f"{shortened(name)}{did_you_mean(name, names)}"
                )


def _beside(plan: Path, given: str | Path) -> Path:
    """Resolve a path of a plan relative to the plan's folder."""
    try:
        return plan.parent / Path(given).expanduser()
    except RuntimeError as error:  # "~" and no such user
        raise ConfigError(
            f"{plan}: {shortened(str(given))}: there is no such home folder"
        ) from error


def _layout(plan: Path, layout: str | None) -> str | None:
    """Resolve the path of a file that declares a layout relative to the plan's folder."""
    if layout is not None and layout.endswith((".yaml", ".yml", ".json")):
        return str(_beside(plan, layout))
    return layout


def _resolve_weights(plan: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Resolve the path of an encoder file relative to the plan's folder."""
    weights = settings.get("encoder_weights", "timm")
    if weights in ("timm", "random") or not isinstance(weights, str):
        return settings
    return {**settings, "encoder_weights": str(_beside(plan, weights).resolve())}
