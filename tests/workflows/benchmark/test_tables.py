"""Tables of results made by hand."""

from pathlib import Path

from mambaad.metrics.names import METRICS
from mambaad.workflows.benchmark.plan import Plan
from mambaad.workflows.benchmark.runner import Outcome
from mambaad.workflows.benchmark.tables import tables


def outcomes(plan, values):
    """Give each job, in order, a result whose metrics all have one value; None has none."""
    made = []
    for job, value in zip(plan.jobs(), values, strict=True):
        means = dict.fromkeys(METRICS, value)
        found = {"settings": job.settings, "classes": {"mean": means}, "mean": means}
        result = None if value is None else found
        made.append(Outcome(job, result))
    return made


def test_the_mean_over_parts_of_one_data_set():
    splits = {f"split {k}": {"path": Path("coco"), "classes": [f"coco_{k}"]} for k in (0, 1)}
    data = {**splits, "other": {"path": Path("other")}}
    plan = Plan(systems={"a": {}, "b": {}}, data=data, seeds=(1, 2))
    # Jobs come by seed, then data set, then system.
    first = [0.5, 0.1, 0.7, None, 0.9, 0.9]
    second = [0.6, 0.1, 0.8, 0.2, 0.9, 0.9]
    made = tables(plan, outcomes(plan, first + second))
    last = made[-1]
    assert last.title == "Mean over split 0, split 1"
    assert last.rows[1][:2] == ["a", "65.0 ± 7.1"]  # the seeds' 60 and 70
    assert last.rows[2][:2] == ["b", "-"]  # a split of one seed has failed
    assert "other" not in last.title
    alone = Plan(systems={"a": {}}, data={"other": {"path": Path("other")}})
    assert not any("Mean over" in t.title for t in tables(alone, outcomes(alone, [0.5])))
