import pytest

import mambaad
from mambaad.training.callbacks import NO_CALLBACKS, Callbacks
from mambaad.workflows import training_pages
from mambaad.workflows.training_pages import TrainingPages
from tests.conftest import SMALL
from tests.runs import plain_names, tensors


def test_a_page_that_cannot_be_written_stops_no_training(
    parts, trained_run, tmp_path, monkeypatch, capsys
):
    def broken(*_):
        raise ValueError("no\nreason")

    monkeypatch.setattr(training_pages, "write_training_page", broken)
    run = mambaad.train(parts, tmp_path / "run", **SMALL)
    assert "run.html is not up to date: no reason" in capsys.readouterr().err
    assert plain_names(run) == plain_names(trained_run) - {"run.html"}
    one, other = tensors(run)[0], tensors(trained_run)[0]
    assert all((one[name] == other[name]).all() for name in other)


def test_a_page_after_the_first_epoch_then_only_so_often(tmp_path, monkeypatch):
    written, called = [], []
    monkeypatch.setattr(training_pages, "write_training_page", written.append)
    clock = iter([100.0, 100.5, 110.0, 121.0, 121.5])
    monkeypatch.setattr(training_pages.time, "monotonic", lambda: next(clock))
    own = Callbacks(after_epoch=lambda record: called.append(record["epoch"]) or {"mad": 1.0})
    after = TrainingPages(tmp_path).after_each_epoch(own).after_epoch
    assert [after({"epoch": epoch}) for epoch in (1, 2, 3)] == [{"mad": 1.0}] * 3
    assert called == [1, 2, 3]
    assert written == [tmp_path] * 2


@pytest.mark.parametrize("is_wanted", [True, False])
def test_who_wants_no_page_gets_none(tmp_path, monkeypatch, is_wanted):
    written = []
    monkeypatch.setattr(training_pages, "write_training_page", lambda *_: written.append(1))
    pages = TrainingPages(tmp_path, is_wanted=is_wanted)
    assert (pages.after_each_epoch(NO_CALLBACKS) is NO_CALLBACKS) != is_wanted
    pages.write_last([], [], "cpu")
    assert bool(written) == is_wanted
