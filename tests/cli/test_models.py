"""``mambaad info`` as it is typed."""

import json
import re
import shutil


def test_info_of_an_unfinished_and_an_imported_run(mambaad_command, trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "good_parts.safetensors").unlink()
    assert "not finished: 2 of 2 epochs" in mambaad_command("info", run)[1]
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**data, "classes": {}, "imported": "net.pth"}))
    assert re.search(r"^imported from +net.pth$", mambaad_command("info", run)[1], re.MULTILINE)
