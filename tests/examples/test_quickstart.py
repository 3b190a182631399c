import csv
import runpy
import sys
from pathlib import Path

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"


def test_quickstart_does_the_whole_job_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(QUICKSTART), "--epochs", "1"])
    outputs = []
    for _ in range(2):
        runpy.run_path(str(QUICKSTART), run_name="__main__")
        outputs.append(capsys.readouterr().out)
    assert "washer" in outputs[0]
    assert "mean" in outputs[0]
    table = (tmp_path / "quickstart" / "results" / "predictions.csv").read_text()
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == 32
    assert all(row["error"] == "" for row in rows)
    assert {row["class"] for row in rows} == {"washer", "weave"}
    # The second time the training is found finished, and everything else is done again.
    assert outputs[1].splitlines()[:4] == outputs[0].splitlines()[:4]
