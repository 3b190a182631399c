"""``mambaad info`` as it is typed."""

import re
import shutil

from mambaad.artifacts.manifest import DATA, PROTOTYPES
from tests.runs import change, change_json


def test_info_of_an_unfinished_and_an_imported_run(mambaad_command, trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    change(run, {}, [PROTOTYPES])
    assert "not finished: 2 of 2 epochs" in mambaad_command("info", run)[1]
    change_json(run, DATA, lambda data: {**data, "classes": {}, "imported": "net.pth"})
    assert re.search(r"^imported from +net.pth$", mambaad_command("info", run)[1], re.MULTILINE)
