import json

import pytest

import mambaad
from mambaad.errors import ConfigError
from mambaad.loggers import make_loggers
from tests.conftest import SMALL


@pytest.fixture
def losses():
    def of(run):
        return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]

    return of


def test_tensorboard_shows_what_the_log_says(parts, tmp_path, losses):
    pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = mambaad.train(parts, tmp_path / "run", **{**SMALL, "epochs": 2}, logger="tensorboard")
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    shown = events.Scalars("loss")
    assert [e.step for e in shown] == [1, 2]
    assert [e.value for e in shown] == pytest.approx(losses(run), rel=1e-6)


@pytest.mark.filterwarnings("ignore")  # its own, of SQLAlchemy
def test_mlflow_shows_what_the_log_says(parts, tmp_path, losses, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = mambaad.train(parts, tmp_path / "run", **{**SMALL, "epochs": 2}, logger="mlflow")
    client = tracking.MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    run_id = (run / "mlflow_run.txt").read_text().strip()
    history = client.get_metric_history(run_id, "loss")
    assert [m.step for m in history] == [1, 2]
    assert [m.value for m in history] == losses(run)


def test_a_package_that_is_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"--logger mlflow needs .* pip install 'mambaad\[mlflow"):
        make_loggers("mlflow", tmp_path)
