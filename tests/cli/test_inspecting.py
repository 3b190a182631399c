"""From a run to verdicts, as it is typed; what the commands do is tested in tests/workflows."""

import json
import re
import shutil
from importlib import import_module
from xml.etree import ElementTree

import pytest

from tests.closed_folders import closed
from tests.conftest import SMALL
from tests.runs import digest


def test_from_a_run_to_verdicts(mambaad_command, many_parts, tmp_path):
    run, bundle = tmp_path / "run", tmp_path / "line.mambaad"
    settings = tmp_path / "small.json"
    settings.write_text(json.dumps(SMALL))
    code, _, err = mambaad_command(
        *("train", many_parts, "--out", run, "--holdout", 0.5, "--config", settings)
    )
    assert code == 0, err
    assert "30 good parts held out for calibration" in err
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
    assert re.search(
        r"^\d of 6 defects found, \d missed; \d false alarms? among 6 good", out, re.MULTILINE
    )
    assert re.search(r"^all +\d of 6 +\d +\d of 6 +\d$", out, re.MULTILINE)
    assert "Verdicts, product given" in out
    assert re.search(r"^true product +\d", out, re.MULTILINE)
    assert (tmp_path / "evaluated" / "index.html").is_file()
    code, out, _ = mambaad_command("bundle", run, "--out", bundle, "--metrics", figures)
    assert code == 0
    assert out.startswith(f"{bundle}: 2 classes, calibrated (hold-out), ")
    code, out, _ = mambaad_command("info", bundle)
    assert code == 0
    assert re.search(r"^calibration +hold-out, 15 good parts a class; ", out, re.MULTILINE)

    root = tmp_path / "registry"
    assert mambaad_command("registry", "add", "press", bundle, "--root", root)[0] == 0
    assert mambaad_command("registry", "promote", "press", 1, "--root", root)[0] == 0
    code, out, _ = mambaad_command("registry", "list", "--root", root)
    assert re.search(r"^press +1 +\* ", out, re.MULTILINE)
    code, used, _ = mambaad_command("registry", "path", "press", "--root", root)
    code, _, err = mambaad_command("registry", "rollback", "press", "--root", root)
    assert (code, err) == (
        1,
        "mambaad: line press has no version that was in use before; promote another\n",
    )

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
    assert "Verdicts, product given" in out
    module = import_module("mambaad.workflows.evaluate")
    monkeypatch.setattr(module, "evaluate", lambda *_, **__: pytest.fail("evaluated"))
    code, _, err = mambaad_command("evaluate", trained_run, data, "--verdicts")
    assert code == 1
    assert "has no calibration for float32" in err


def test_drift_has_an_exit_code_of_its_own(mambaad_command, calibrated_run, tmp_path):
    from tests.workflows.test_monitor import write

    path = write(tmp_path / "a.jsonl", [-5.0] * 60, digest(calibrated_run))
    code, out, _ = mambaad_command("monitor", path, "--bundle", calibrated_run)
    assert code == 3
    assert "nut: score changed, alarm at part" in out
    assert "calibrate again" in out
    failed = write(tmp_path / "b.jsonl", [9.0] * 60, digest(calibrated_run), verdict="FAIL")
    code, out, _ = mambaad_command("monitor", failed, "--bundle", calibrated_run)
    assert code == 3
    assert re.search(r"^nut +0 +0 +60 ", out, re.MULTILINE)
    assert "nut: 0 of 60 parts passed: too few to watch" in out
    assert "no drift" not in out
    some = write(tmp_path / "c.jsonl", [9.0] * 5, digest(calibrated_run), verdict="FAIL")
    code, out, _ = mambaad_command("monitor", some, "--bundle", calibrated_run)
    assert code == 0
    assert "no part passed, so there is nothing to watch" in out


def test_an_unreadable_image_ends_with_an_error(mambaad_command, trained_run, parts, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    good = parts / "nut" / "test" / "good" / "000.png"
    code, out, err = mambaad_command(
        "predict", trained_run, tmp_path / "in", good, "--out", tmp_path / "out"
    )
    assert code == 1
    assert "1 images: " in out
    assert "bad.png cannot be read" in err


def test_where_pixels_are_compared_is_said(mambaad_command, trained_run, parts):
    for at, words in (("map", "pixels at the map's size, 64 x 64"), ("mask", "masks' own size")):
        code, out, _ = mambaad_command("evaluate", trained_run, parts, "--at", at)
        assert code == 0
        assert words in out
        assert "nut: few test images, 3 good and 3 defective" in out
    code, _, err = mambaad_command("evaluate", trained_run, parts, "--at", "image")
    assert (code, err) == (1, "mambaad: --at: expected one of map, mask, got 'image'\n")


def test_parts_that_are_not_inspected_end_with_an_error(
    mambaad_command, calibrated_run, many_parts, tmp_path
):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        shutil.copy(many_parts / "nut" / "test" / "good" / "000.png", tmp_path / "in" / name)
    (tmp_path / "in" / "b.png").rename(tmp_path / "in" / "b.jp2")
    (tmp_path / "in" / "c.png").unlink()
    (tmp_path / "in" / "c.png").symlink_to("gone.png")
    (tmp_path / "in" / "Thumbs.db").write_bytes(b"-")
    (tmp_path / "in" / "shut").mkdir()
    with closed(tmp_path / "in" / "shut"):
        code, out, err = mambaad_command(
            "predict", calibrated_run, tmp_path / "in", "--out", tmp_path / "out"
        )
    assert code == 1
    assert "1 images: " in out
    assert "3 not inspected: " in out
    assert "shut cannot be listed (Permission denied)" in err
    assert "Thumbs.db is no image by its name" in out
    assert "b.jp2 has the suffix '.jp2', which is not read" in err
    assert "c.png is a link to nowhere" in err


def test_a_folder_that_cannot_be_listed_is_not_passed_over(
    mambaad_command, calibrated_run, many_parts, tmp_path
):
    shut = tmp_path / "parts" / "nut" / "train" / "good" / "shut"
    shutil.copytree(many_parts, tmp_path / "parts")
    shut.mkdir()
    with closed(shut):
        for command in (
            ("data", "check", tmp_path / "parts"),
            ("train", tmp_path / "parts", "--out", tmp_path / "run", "--size", 64),
            ("predict", calibrated_run, shut, "--out", tmp_path / "out"),
        ):
            code, out, err = mambaad_command(*command)
            assert code == 1, command
            assert "1 closed folder" in out + err or f"{shut} cannot be listed" in err
    assert not (tmp_path / "run").exists()
