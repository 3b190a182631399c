import pytest

from mambaad.training import epoch_log
from mambaad.training.checkpoint import Position
from mambaad.training.epoch_log import EpochLog


class Clock:
    """Stands still until it is moved."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


class Meter:
    """A GPU that is always half busy."""

    mean = 50.04
    note = "  GPU 50 %"

    def __init__(self) -> None:
        self.read_at: list[int] = []

    def read(self, step: int) -> None:
        self.read_at.append(step)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(epoch_log, "time", clock)
    return clock


def make_log(position, meter, **settings):
    return EpochLog(
        position,
        **{"epochs": 3, "steps": 4, "images_per_step": 6, "show": True, **settings},
        meter=meter,
    )


def test_an_epoch_in_two_parts_is_one_record(clock, capsys):
    position, meter = Position(epoch=1), Meter()
    with make_log(position, meter) as log:
        clock.now += 2
        log.add_step(1.0, waited=0.5)
    assert position == Position(epoch=1, step=1, loss_sum=1.0, seconds=2.0, waited=0.5)
    clock.now += 1000  # interrupted, and resumed
    with make_log(position, meter) as log:
        for loss, waited in ((2.0, 0.25), (3.0, 0.25), (6.0, 0.75)):
            clock.now += 2
            log.add_step(loss, waited)
    assert log.end(0.1) == {
        "epoch": 2,
        "loss": 3.0,
        "lr": 0.1,
        "images_per_s": 3.0,  # 24 in 8 seconds
        "seconds": 8.0,
        "waited": 1.25,
        "gpu_percent": 50.0,
    }
    assert meter.read_at == [1, 2, 3, 4]
    line = "epoch 2/3  loss 3.0000  3.0 images/s  GPU 50 %  0 min left\n"
    assert capsys.readouterr().err == line


def test_only_the_first_process_prints_and_no_gpu_is_no_figure(clock, capsys):
    meter = Meter()
    meter.mean, meter.note = None, ""
    with make_log(Position(), meter, show=False) as log:
        clock.now += 1
        log.add_step(1.0, waited=0.0)
    assert "gpu_percent" not in log.end(0.1)
    assert capsys.readouterr().err == ""
