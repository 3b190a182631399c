import csv
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_quickstart_does_the_whole_job_twice(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "quickstart.py"), "--epochs", "1"]
    outputs = [
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert "washer" in outputs[0]
    assert "mean" in outputs[0]
    table = (tmp_path / "quickstart" / "results" / "predictions.csv").read_text()
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == 32
    assert all(row["error"] == "" for row in rows)
    assert {row["class"] for row in rows} == {"washer", "weave"}
    # The second time the training is found finished, and everything else is done again.
    assert outputs[1].splitlines()[:4] == outputs[0].splitlines()[:4]
