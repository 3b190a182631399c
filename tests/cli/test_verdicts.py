"""From a run to verdicts, as it is typed; what the commands do is tested beside what they call."""

import json
import re
import shutil
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import SMALL, make_parts

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PAGE = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["add", "list", "promote", "rollback", "path"])
def test_registry_commands_explain_themselves_and_are_documented(mambaad_command, command):
    code, out, _ = mambaad_command("registry", command, "--help")
    assert code == 0
    assert "Usage" in out
    assert f"mambaad registry {command}" in PAGE


def test_the_whole_way(mambaad_command, many_parts, tmp_path):
    run, bundle = tmp_path / "run", tmp_path / "line.mambaad"
    settings = tmp_path / "small.json"
    settings.write_text(json.dumps(SMALL))
    code, _, err = mambaad_command(
        *("train", many_parts, "--out", run, "--holdout", 0.5, "--config", settings)
    )
    assert code == 0, err
    assert "30 good parts kept out of it, to calibrate on" in err
    code, out, _ = mambaad_command(
        *("calibrate", run, many_parts, "--target-fpr", 0.6, "--review-fpr", 0.9)
    )
    assert code == 0
    assert re.search(r"^class +good parts +REVIEW above +rate", out, re.MULTILINE)
    assert "next: mambaad evaluate" in out
    figures = tmp_path / "figures.json"
    code, out, _ = mambaad_command(
        *("evaluate", run, many_parts, "--verdicts", "--json", figures),
        *("--report", tmp_path / "evaluated"),
    )
    assert code == 0
    assert "Verdicts, product told" in out
    assert re.search(r"^true product +\d", out, re.MULTILINE)
    assert (tmp_path / "evaluated" / "index.html").is_file()
    code, out, _ = mambaad_command("bundle", run, "--out", bundle, "--metrics", figures)
    assert code == 0
    assert out.startswith(f"{bundle}: 2 classes, hold-out, ")
    code, out, _ = mambaad_command("info", bundle)
    assert code == 0
    assert re.search(r"^calibrated +hold-out$", out, re.MULTILINE)

    root = tmp_path / "registry"
    assert mambaad_command("registry", "add", "press", bundle, "--root", root)[0] == 0
    assert mambaad_command("registry", "promote", "press", 1, "--root", root)[0] == 0
    code, out, _ = mambaad_command("registry", "list", "--root", root)
    assert re.search(r"^press +1 +\* ", out, re.MULTILINE)
    code, used, _ = mambaad_command("registry", "path", "press", "--root", root)
    code, _, err = mambaad_command("registry", "rollback", "press", "--root", root)
    assert (code, err) == (1, "mambaad: line press has no version that was in use before\n")

    junit = tmp_path / "verdicts.xml"
    code, out, _ = mambaad_command(
        *("predict", used.strip(), many_parts / "nut" / "test", "--out", tmp_path / "out"),
        *("--class", "nut", "--junit", junit, "--report", tmp_path / "page"),
        *("--good", many_parts),
    )
    suite = ElementTree.parse(junit).getroot()
    rejected = int(suite.get("failures")) + int(suite.get("errors"))
    assert code == (1 if rejected else 0)
    assert "6 images: " in out
    assert (tmp_path / "page" / "index.html").is_file()

    records = tmp_path / "out" / "predictions.jsonl"
    code, out, _ = mambaad_command(
        *("monitor", records, "--bundle", used.strip(), "--json", tmp_path / "drift.json"),
        *("--plot", tmp_path / "drift.svg"),
    )
    assert code in (0, 3)
    assert json.loads((tmp_path / "drift.json").read_text())["false_alarm_rate"] == 0.01
    assert (tmp_path / "drift.svg").read_text().startswith("<?xml")


def test_evaluation_asks_for_a_calibration_first_and_leaves_out_what_is_unreadable(
    mambaad_command, trained_run, calibrated_run, many_parts, tmp_path, monkeypatch
):
    data = shutil.copytree(many_parts, tmp_path / "data")
    broken = data / "nut" / "test" / "good" / "001.png"
    broken.write_bytes(broken.read_bytes()[:60])
    code, out, _ = mambaad_command(
        "evaluate", calibrated_run, data, "--verdicts", "--skip-unreadable"
    )
    assert code == 0
    assert "Verdicts, product told" in out
    module = import_module("mambaad.workflows.evaluate")
    monkeypatch.setattr(module, "evaluate", lambda *_, **__: pytest.fail("evaluated"))
    code, _, err = mambaad_command("evaluate", trained_run, data, "--verdicts")
    assert code == 1
    assert "has no calibration for float32" in err


def test_drift_has_an_exit_code_of_its_own(mambaad_command, calibrated_run, tmp_path):
    from mambaad.artifacts.run_folder import weights_digest
    from tests.workflows.test_monitor import write

    path = write(tmp_path / "a.jsonl", [-5.0] * 60, weights_digest(calibrated_run))
    code, out, _ = mambaad_command("monitor", path, "--bundle", calibrated_run)
    assert code == 3
    assert "nut: a change of score was noticed at part" in out
    assert "calibrate again" in out
    failed = write(tmp_path / "b.jsonl", [9.0] * 60, weights_digest(calibrated_run), verdict="FAIL")
    code, out, _ = mambaad_command("monitor", failed, "--bundle", calibrated_run)
    assert code == 3
    assert re.search(r"^nut +0 +0 +60 ", out, re.MULTILINE)
    assert "nut: 0 of 60 parts passed: too few to watch" in out
    assert "no drift" not in out
    some = write(tmp_path / "c.jsonl", [9.0] * 5, weights_digest(calibrated_run), verdict="FAIL")
    code, out, _ = mambaad_command("monitor", some, "--bundle", calibrated_run)
    assert code == 0
    assert "no part passed, so there is nothing to watch" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("calibrate", "{run}", "{parts}"), "give --cross-fit 3, or new ones with --new-parts"),
        (("calibrate", "{run}", "{parts}", "--target-fpr", "2"), "--target-fpr: expected a share"),
        (("bundle", "{run}", "--out", "{tmp}/a.zip"), "does not end in .mambaad"),
        (("bundle", "{tmp}/none", "--out", "{tmp}/a.mambaad"), "is not a run folder"),
        (("monitor", "{tmp}/none", "--bundle", "{run}"), "has no calibration"),
        (("evaluate", "{run}", "{parts}", "--report", "{tmp}/page"), "has no calibration"),
        (("predict", "{run}", "{parts}", "--out", "{tmp}/o", "--junit", "{tmp}/j"), "has no cal"),
        (("registry", "add", "a", "{tmp}/none", "--root", "{tmp}/r"), "there is no bundle"),
        (("registry", "path", "a", "--root", "{tmp}/r"), "has no version in use"),
        (("info", "{parts}/bolt/test/good/000.png"), "is not a bundle"),
    ],
)
def test_an_error_is_one_line(mambaad_command, parts, trained_run, tmp_path, arguments, complaint):
    run = shutil.copytree(trained_run, tmp_path / "run")
    (tmp_path / "tmp").mkdir()
    places = {"tmp": tmp_path / "tmp", "run": run, "parts": parts}
    code, _, err = mambaad_command(*(text.format(**places) for text in arguments))
    assert code == 1
    lines = [line for line in err.splitlines() if line.startswith("mambaad: ")]
    assert len(lines) == 1
    assert complaint in lines[0]
    assert "Traceback" not in err
    assert list((tmp_path / "tmp").iterdir()) == []


def test_extend_takes_the_run_or_leaves_it(mambaad_command, trained_run, parts, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    new = make_parts(tmp_path / "new", classes=("bolt", "clip")) / "clip"
    before = (run / "weights.safetensors").read_bytes()
    command = ("extend", run, new, "--old", parts, "--epochs", 1)
    # Two epochs of training find nothing yet: whatever comes out, one of the two must happen.
    code, out, err = mambaad_command(*command, "--max-drop", 0)
    assert re.search(r"^bolt +[\d.]+ > [\d.]+", out, re.MULTILINE)
    assert re.search(r"^clip +[\d.]+ ", out, re.MULTILINE)
    if code == 1:
        assert f"mambaad: {run} stays as it is: " in err
        assert "more than --max-drop 0" in err
        assert (run / "weights.safetensors").read_bytes() == before
        code, out, _ = mambaad_command(*command, "--max-drop", 1)
    assert code == 0
    assert f"extended: {run}, the former is {run}.before-clip; next: put {new}" in out
    code, _, err = mambaad_command(*command)
    assert (code, err.count("\n")) == (1, 1)
    assert "knows a product 'clip' already" in err
