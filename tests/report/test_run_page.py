import re

import mambaad
from mambaad.artifacts.run_folder import read_log
from mambaad.report.run_page import RunPage
from tests.runs import read


def test_report_of_a_run(parts, trained_run, tmp_path):
    inspector = mambaad.Inspector(trained_run)
    examples = RunPage(inspector.heatmap_range)
    evaluation = mambaad.evaluate(inspector, parts, sinks=[examples.add])
    page = tmp_path / "report.html"
    examples.write(
        page,
        "Bolts and nuts",
        inspector.config,
        read(read_log, trained_run),
        evaluation.protocol,
        evaluation.to_rows(),
        evaluation.scores,
    )
    html = page.read_text(encoding="utf-8")
    assert "<h1>Bolts and nuts</h1>" in html
    shown = re.findall(r"<td>([^<]*)</td>", html)
    assert shown == [cell for row in evaluation.to_rows()[1:] for cell in row]
    # The score below a picture is that of the evaluation: the first good part of each class.
    for name in ("bolt", "nut"):
        section = html[html.index(f"<h3>{name}</h3>") :]
        first = next(score for score, bad in evaluation.scores[name] if not bad)
        assert f"score {first:.3f}" in section[: section.index("</figcaption>")]
    assert html.count("data:image/png") == 2  # one kind of defect a class, with its mask
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
