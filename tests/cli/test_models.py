"""``mambaad info`` as it is typed."""

import json
import re
import shutil

import pytest

from mambaad.artifacts.manifest import DATA, PROTOTYPES
from tests.runs import change, change_json, content


def test_info_of_an_unfinished_and_an_imported_run(mambaad_command, trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    change(run, {}, [PROTOTYPES])
    assert "not finished: 2 of 2 epochs" in mambaad_command("info", run)[1]
    change_json(run, DATA, lambda data: {**data, "classes": {}, "imported": "net.pth"})
    assert re.search(r"^imported from +net.pth$", mambaad_command("info", run)[1], re.MULTILINE)


ODD = [
    ("data.json", {"classes": {"a": 3}}),
    ("data.json", {"classes": {"a": {"train": "x" * 9, "test": []}}}),
    ("log.jsonl", {"loss": "low", "seconds": 1}),
    ("log.jsonl", {"loss": 1.0, "seconds": [1]}),
    ("version.json", {"torch": ["2"] * 1000}),
]


@pytest.mark.parametrize(("name", "odd"), ODD)
def test_info_of_a_run_with_other_content_is_short(
    mambaad_command, trained_run, tmp_path, name, odd
):
    run = shutil.copytree(trained_run, tmp_path / "run")
    given = json.loads(content(run, name).splitlines()[0] if "log" in name else content(run, name))
    change(run, {name: json.dumps({**given, **odd}) + "\n"})
    code, out, err = mambaad_command("info", run)
    assert code in (0, 1)
    assert max(map(len, (out + err).splitlines())) < 400
    assert err.startswith("mambaad: ") == bool(code)
    assert len(err.splitlines()) == code


def test_a_bundle_of_a_version_that_is_no_text_is_refused(mambaad_command, trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    change_json(run, "version.json", lambda versions: {**versions, "torch": 2.5})
    code, _, err = mambaad_command("bundle", run, "--out", tmp_path / "a.mambaad")
    assert code == 1
    assert "/version-" in err
    assert not (tmp_path / "a.mambaad").exists()
