"""Loggers of a training beside its own log: TensorBoard or MLflow, through Fabric."""

from __future__ import annotations

import importlib
import os
from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from mambaad.config import TrainConfig
from mambaad.errors import ConfigError
from mambaad.files import read_regular, write_text
from mambaad.progress import warn

LoggerName = Literal["none", "tensorboard", "mlflow"]
MLFLOW_RUN = "mlflow_run.txt"


def check_logger(name: LoggerName) -> None:
    """Refuse a logger whose package is not installed (ConfigError)."""
    if name != "none":
        try:
            importlib.import_module(name)  # each has the name of its package
        except ImportError as error:
            raise ConfigError(
                f"--logger {name} needs a package that is not installed: "
                f"pip install 'mambaad[{name}]'"
            ) from error


def make_loggers(config: TrainConfig, run: Path) -> list[Logger]:
    """Make Fabric's loggers for a run folder; a resumed run continues in the same place.

    ``"tensorboard"``: ``RUN/tensorboard``. ``"mlflow"``: the server of ``MLFLOW_TRACKING_URI``, or
    without it ``RUN/mlflow.db``.

    Raises:
        ConfigError: MLflow's server cannot be reached, or does not know the run.
    """
    if config.logger == "none":
        return []
    if config.logger == "tensorboard":
        return [TensorBoardLogger(run, name="tensorboard", version="")]
    logger = MLflowLogger(run)
    logger.log_hyperparams(config.model_dump(mode="json"))
    return [logger]


class MLflowLogger(Logger):
    """Logs to a run of MLflow, whose id is kept in the run folder.

    If the server fails later on, its figures are lost but the training continues.
    """

    def __init__(self, run: Path) -> None:
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run / 'mlflow.db'}"
        try:
            from mlflow.tracking import MlflowClient

            self._client: Any = MlflowClient(self._uri)
            self._run_id = self._find_run(run)
        except Exception as error:  # errors of the client, and of what it is built on
            raise ConfigError(f"--logger mlflow: {_short(error)}") from error

    def _find_run(self, run: Path) -> str:
        known = run / MLFLOW_RUN
        if known.is_file():
            run_id = read_regular(known, 1000).decode().strip()
            self._client.get_run(run_id)
            return run_id
        found = self._client.get_experiment_by_name(self.name)
        experiment = found.experiment_id if found else self._client.create_experiment(self.name)
        made: str = self._client.create_run(experiment, run_name=run.name).info.run_id
        write_text(known, made + "\n")
        return made

    @property
    def name(self) -> str:
        """The experiment's name."""
        return "mambaad"

    @property
    def version(self) -> str:
        """MLflow's id of the run."""
        return self._run_id

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log figures of an epoch."""
        for key, value in metrics.items():
            self._try("log_metric", key, value, step=step)

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Log the settings; a resumed run has them already."""
        for key, value in (vars(params) if isinstance(params, Namespace) else params).items():
            self._try("log_param", key, value)

    def finalize(self, status: str) -> None:
        """Mark the run as finished; one that is interrupted or fails stays open for resuming."""
        self._try("set_terminated", "FINISHED")

    def _try(self, method: str, *arguments: Any, **named: Any) -> None:
        try:
            getattr(self._client, method)(self._run_id, *arguments, **named)
        except Exception as error:  # whatever a server or its network raises
            warn(f"mlflow: {_short(error)}; training continues")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
