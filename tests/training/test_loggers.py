import pytest

import mambaad
from mambaad.artifacts.run_folder import read_log
from mambaad.errors import ConfigError
from mambaad.training.loggers import MLflowLogger, check_logger
from tests.conftest import SMALL
from tests.runs import read


@pytest.fixture
def losses():
    def of(run):
        return [record["loss"] for record in read(read_log, run)]

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
    about = client.get_run(run_id)
    assert about.info.status == "FINISHED"
    assert about.data.params["batch_size"] == str(SMALL["batch_size"])


@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_that_fails_costs_no_training(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mlflow.tracking")
    pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nothing://nowhere")
    with pytest.raises(ConfigError, match=r"^--logger mlflow: "):
        MLflowLogger(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    logger = MLflowLogger(tmp_path)
    monkeypatch.setattr(logger, "_client", None)
    logger.log_metrics({"loss": 1.0}, 1)
    assert "training continues" in capsys.readouterr().err


def test_a_package_that_is_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"--logger mlflow needs .* pip install 'mambaad\[mlflow"):
        check_logger("mlflow")
