"""A small benchmark, run for real: two systems that work, and one that cannot."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import mambaad
from mambaad.config import make_config
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.metrics.names import METRICS
from mambaad.types import Reading
from mambaad.workflows.benchmark.plan import read_plan
from mambaad.workflows.benchmark.runner import RESULT, read_for_peer, read_result, run_plan
from mambaad.workflows.benchmark.tables import (
    Table,
    speed_plot,
    tables,
    to_csv,
    to_latex,
    to_markdown,
    write_tables,
)
from tests.conftest import make_parts

PLAN = """
title: A small benchmark
settings: {{encoder: resnet18, encoder_weights: random, epochs: 1, batch_size: 4, size: 32}}
systems:
  MambaAD lite: {{variant: lite}}
  RD4AD: {{system: rd4ad}}
  broken: {{encoder: tf_efficientnet_b4, system: rd4ad}}
data:
  parts: {{path: {parts}}}
"""


@pytest.fixture(scope="module")
def finished(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "plan.yaml").write_text(PLAN.format(parts=parts))
    plan = read_plan(folder / "plan.yaml")
    return plan, run_plan(plan, folder / "out"), folder / "out"


def test_a_system_that_fails_is_reported_and_the_others_run(finished):
    _, outcomes, _ = finished
    assert [o.job.system for o in outcomes if o.result] == ["MambaAD lite", "RD4AD"]
    (failed,) = [o for o in outcomes if o.problem]
    assert failed.problem.startswith("--encoder: RD4AD mirrors its encoder")


def test_a_result_is_that_of_training_and_evaluating_by_hand(finished, parts, tmp_path):
    plan, outcomes, _ = finished
    job, threads = plan.jobs()[0], torch.get_num_threads()
    torch.set_num_threads(outcomes[0].result["threads"])  # sums round otherwise with others
    try:
        run = mambaad.train(parts, tmp_path / "run", **job.settings)
        assert outcomes[0].result["classes"] == mambaad.evaluate(run, parts).classes
    finally:
        torch.set_num_threads(threads)


def test_a_peer_reads_the_data_as_the_plan_says(tmp_path):
    parts = make_parts(tmp_path / "parts", classes=("nut",))
    for path in parts.glob("*/t*/*/*.png"):  # of 12 bits in 16, in the lower half of their range
        grey = np.asarray(Image.open(path).convert("L"))
        Image.fromarray(grey.astype(np.uint16) * 4).save(path)
    text = """
settings: {bit_depth: 12, max_pixels: 5760, exclude: [nut/train/good/000.png]}
systems: {PatchCore: {peer: patchcore}, RD4AD: {system: rd4ad}}
data: {parts: {path: parts}}
"""
    (tmp_path / "plan.yaml").write_text(text)
    (peer, system) = read_plan(tmp_path / "plan.yaml").jobs()
    (c,) = read_for_peer(peer)
    assert {s.reading for s in (*c.train, *c.test)} == {make_config(system.settings).reading}
    assert c.train[0].reading == Reading(12, None, 5760)
    assert parts / "nut" / "train" / "good" / "000.png" not in {s.path for s in c.train}
    (tmp_path / "plan.yaml").write_text(text.replace("5760", "5000"))
    with pytest.raises(DataError, match="--max-pixels 5760"):
        read_for_peer(read_plan(tmp_path / "plan.yaml").jobs()[0])
    (tmp_path / "plan.yaml").write_text(text.replace("bit_depth: 12", "bit_depth: 11"))
    with pytest.raises(ConfigError, match="system 'PatchCore': --bit-depth"):
        read_plan(tmp_path / "plan.yaml")


def test_a_second_call_runs_what_failed_and_nothing_else(finished):
    plan, first, out = finished
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name == RESULT}
    (problem,) = out.rglob("problem.txt")
    problem.unlink()
    again = run_plan(plan, out)
    assert problem.is_file()  # of a second try
    assert [o.result for o in again] == [o.result for o in first]
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_results_of_other_settings_are_not_mixed_in(finished):
    plan, _, out = finished
    changed = plan.model_copy(update={"settings": {**plan.settings, "epochs": 2}})
    with pytest.raises(RunError, match="was made with other settings than the plan"):
        run_plan(changed, out)


def test_a_training_of_other_settings_is_not_resumed(finished, tmp_path):
    """A setting that has left the plan is none that resuming would compare."""
    plan, _, _ = finished
    folder = tmp_path / plan.jobs()[0].folder
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"training": plan.jobs()[0].training}))
    assert read_result(plan.jobs()[0], tmp_path) is None
    systems = {**plan.systems, "MambaAD lite": {}}
    changed = plan.model_copy(update={"systems": systems})
    with pytest.raises(RunError, match="was made with other settings than the plan"):
        run_plan(changed, tmp_path)


def test_another_protocol_needs_no_other_training(finished):
    plan, _, out = finished
    changed = plan.model_copy(update={"protocol": "ader-paper"})
    with pytest.raises(RunError, match="under another protocol than the plan"):
        run_plan(changed, out)


def test_a_damaged_result_is_one_line(finished, tmp_path):
    plan, _, _ = finished
    path = tmp_path / plan.jobs()[0].folder / RESULT
    path.parent.mkdir(parents=True)
    path.write_text('{"mean":')
    with pytest.raises(RunError, match=r"line 1: .* or delete"):
        run_plan(plan, tmp_path)
    fingerprint = plan.jobs()[0].fingerprint
    path.write_text(json.dumps({"fingerprint": fingerprint, "mean": {"mad": "high"}}))
    with pytest.raises(RunError, match=r"is damaged \(mean.mad input should be a valid number"):
        run_plan(plan, tmp_path)
    path.write_text("[]")
    with pytest.raises(RunError, match="is damaged; delete"):
        run_plan(plan, tmp_path)


def test_tables_show_what_was_found(finished):
    plan, outcomes, out = finished
    made = tables(plan, outcomes)
    assert [t.title for t in made] == [
        "parts, mean over classes",
        "parts: MambaAD lite",
        "parts: RD4AD",
    ]
    summary = {row[0]: row[1:] for row in made[0].rows}
    assert summary["broken"][0] == "failed"
    mean = outcomes[1].result["mean"]
    assert summary["RD4AD"][: len(METRICS)] == [f"{100 * mean[m]:.1f}" for m in METRICS]
    assert summary["RD4AD"][len(METRICS)] == f"{outcomes[1].result['parameters'] / 1e6:.2f}"

    markdown = to_markdown(made)
    widths = {line.count("|") for line in markdown.splitlines() if "mean over" not in line and line}
    assert len([line for line in markdown.splitlines() if line.startswith("| RD4AD")]) == 1
    assert len(widths) == 3  # headings, the summary's columns and the classes' columns
    assert to_latex(made).count(r"\begin{tabular}") == 3
    odd = [Table("a\nb", [["a|b", "50 % of_x ^ ~ \\ ±"]])]
    assert to_markdown(odd).splitlines()[2] == r"| a\|b | 50 % of_x ^ ~ \ ± |"
    assert r"50 \% of\_x \textasciicircum{} \textasciitilde{} \textbackslash{} $\pm$" in to_latex(
        odd
    )
    rows = list(csv.DictReader(io.StringIO(to_csv(outcomes))))
    assert len(rows) == 2 * (2 + 1)  # systems x (classes and mean)
    assert float(rows[0]["image_auroc"]) == outcomes[0].result["classes"]["bolt"]["image_auroc"]

    for path in write_tables(plan, outcomes, out):
        text = path.read_text(encoding="utf-8")
        assert "RD4AD" in text
        if path.suffix in (".md", ".html"):
            assert "RD4AD mirrors its encoder" in text
    assert speed_plot(plan, outcomes, "parts").count("MambaAD lite") >= 1


def test_a_run_is_profiled(finished):
    _, outcomes, _ = finished
    for o in outcomes[:2]:
        assert o.result["flops"] > 1e6
        assert o.result["images_per_s"] > 0
        assert o.result["peak_mib"] > 100
        assert o.result["trained_parameters"] < o.result["parameters"]


def test_several_seeds_give_mean_and_deviation(finished):
    plan, outcomes, _ = finished
    doubled = []
    for factor in (1.0, 0.5):
        result = json.loads(json.dumps(outcomes[0].result))
        result["mean"] = dict.fromkeys(METRICS, factor * 0.8)
        doubled.append(type(outcomes[0])(outcomes[0].job, result))
    plan = plan.model_copy(update={"seeds": (1, 2, 3)})
    row = tables(plan, doubled)[0].rows[1]
    assert row[0] == "MambaAD lite (2 of 3 seeds)"
    deviation = np.std([80, 40], ddof=1)
    assert row[1] == f"60.0 ± {deviation:.1f}"
