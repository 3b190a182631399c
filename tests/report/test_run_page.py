import re

import pytest

import mambaad
from mambaad.artifacts.run_folder import read_log
from mambaad.report.run_page import RunPage
from tests.runs import read


@pytest.fixture(scope="module")
def found(calibrated_run, many_parts, tmp_path_factory):
    """An evaluation of a calibrated run, and the page on it."""
    inspector = mambaad.Inspector(calibrated_run)
    page, folder = RunPage(inspector), tmp_path_factory.mktemp("page")

    def add(observed):
        page.add(inspector.judge(observed, observed.item.sample.class_name))

    evaluation = mambaad.evaluate(inspector, many_parts, verdicts=True, sinks=[add])
    page.write(
        folder / "report.html",
        "Bolts and nuts",
        lead=evaluation.verdicts.lead(),
        log=read(read_log, calibrated_run),
        protocol=evaluation.protocol,
        metrics=evaluation.to_rows(),
        scores=evaluation.scores,
        found=evaluation.verdicts.plain_rows(),
    )
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    return evaluation, (folder / "report.html").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_evaluation(found):
    evaluation, html = found
    assert "<h1>Bolts and nuts</h1>" in html
    assert evaluation.verdicts.lead() in html
    shown = re.findall(r'<(?:td|th scope="row")>([^<]*)<', html)
    rows = [*evaluation.verdicts.plain_rows()[1:], *evaluation.to_rows()[1:]]
    assert shown == [cell for row in rows for cell in row]


def test_examples_are_the_first_of_each_kind(found):
    _, html = found
    examples = html[html.index("<h2>Examples") : html.index("<h2>For research")]
    assert re.findall(r'<p class="name">([^<]*)<', examples) == [
        f"{name}/{kind}"
        for name in ("bolt", "nut")
        for kind in ("good/000.png", "good/001.png", "spot/000.png")
    ]
    assert examples.count('class="truth"') == 2  # the true defects


def test_every_mistake_is_shown_and_no_other_part(found):
    evaluation, html = found
    shown = html[html.index("<h2>Mistakes") : html.index("<h2>Examples")]
    counts = evaluation.verdicts.given.values()
    mistakes = sum(c.missed + c.false_alarms for c in counts)
    assert shown.count("<article") == shown.count("card mistake") == mistakes


def test_an_uncalibrated_model_has_examples_without_verdicts(trained_run, parts):
    inspector = mambaad.Inspector(trained_run)
    page = RunPage(inspector)
    mambaad.evaluate(inspector, parts, sinks=[lambda o: page.add(inspector.judge(o, None))])
    assert not page._mistakes["missed"]
    assert {example.verdict for examples in page._good.values() for example in examples} == {""}
