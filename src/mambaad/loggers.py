"""Where a training's figures go besides its own log: TensorBoard or MLflow, through Fabric."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from mambaad.errors import ConfigError
from mambaad.files import write_text

LoggerName = Literal["none", "tensorboard", "mlflow"]
MLFLOW_RUN = "mlflow_run.txt"


def make_loggers(name: LoggerName, run: Path) -> list[Logger]:
    """Fabric's loggers for a run folder; resumed, they go on in the same place.

    ``"tensorboard"``: ``RUN/tensorboard``. ``"mlflow"``: the server of ``MLFLOW_TRACKING_URI``, or
    without it ``RUN/mlflow.db``.

    Raises:
        ConfigError: what it needs is not installed.
    """
    if name == "none":
        return []
    try:
        if name == "tensorboard":
            return [TensorBoardLogger(run, name="tensorboard", version="")]
        import mlflow  # noqa: F401

        return [MLflowLogger(run)]
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--logger {name} needs a package that is not installed: pip install 'mambaad[{name}]'"
        ) from error


class MLflowLogger(Logger):
    """Logs to a run of MLflow, whose id is kept in the run folder."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run / 'mlflow.db'}"
        self._client: Any = None
        self._run_id = ""

    @property
    def name(self) -> str:
        """Of the experiment."""
        return "mambaad"

    @property
    def version(self) -> str:
        """MLflow's id of the run."""
        self._connect()
        return self._run_id

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log some figures of an epoch."""
        client = self._connect()
        for key, value in metrics.items():
            client.log_metric(self._run_id, key, value, step=step)

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Log the settings."""
        client = self._connect()
        for key, value in (vars(params) if isinstance(params, Namespace) else params).items():
            client.log_param(self._run_id, key, value)

    def _connect(self) -> Any:
        # When there is something to log: the run folder is there by then.
        if self._client is None:
            from mlflow.tracking import MlflowClient

            self._client = client = MlflowClient(self._uri)
            known = self._run / MLFLOW_RUN
            if known.is_file():
                self._run_id = known.read_text(encoding="utf-8").strip()
            else:
                found = client.get_experiment_by_name(self.name)
                experiment = found.experiment_id if found else client.create_experiment(self.name)
                self._run_id = client.create_run(experiment, run_name=self._run.name).info.run_id
                write_text(known, self._run_id + "\n")
        return self._client
