"""``mambaad watch`` as from a shell: wrong uses, exit codes, Ctrl-C, and its next command."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.videos import belt, camera, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return write_video(folder / "a.mkv", belt([False, True], stays=2, gap=2))


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("", "give --out for records, or --calibrate"),
        ("--out {out} --calibrate {out}.json", "one of them"),
        ("--out {out} --target-fpr 0.1", "need --calibrate; omit them"),
        ("--calibrate {out}.json --cycles {out}.json", "give one of them"),
        ("--out {out} --trigger often", "--trigger: expected every:N"),
        ("--out {out} --frames 0", "--frames: expected 1 or more"),
        ("--out {out} --option size", "--option: expected NAME=VALUE"),
        ("--out {out} --cycles {out}.json", "cannot be read"),
        ("--out {out} --class spoon", "--class: the model was not trained on 'spoon'"),
        ("--out {out} --policy some", "--policy: expected every-part or live"),
        ("--out {out} --trigger signal", "has no clock"),
        ("--out {out} --reconnect -1", "--reconnect: expected 0 seconds or more"),
    ],
)
def test_wrong_uses_are_one_line(mambaad_command, calibrated_run, video, tmp_path, flags, line):
    flags = flags.format(out=tmp_path / "out").split()
    code, _, err = mambaad_command("watch", video, calibrated_run, *flags)
    assert code == 1
    assert line in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("mambaad: ")
    assert (
        not list(tmp_path.rglob("*.jsonl")) or not (tmp_path / "out/predictions.jsonl").read_text()
    )


def test_a_video_is_watched_to_its_end(mambaad_command, calibrated_run, video, tmp_path):
    out = tmp_path / "out"
    code, shown, _ = mambaad_command("watch", video, calibrated_run, "--out", out)
    assert code == 0
    assert f"10 parts inspected: {out / 'predictions.jsonl'}" in shown
    assert f"next: mambaad monitor {out / 'predictions.jsonl'} --bundle" in shown
    code, *_ = mambaad_command("watch", video, calibrated_run, "--out", out, "--parts", 2)
    assert code == 0
    assert len((out / "predictions.jsonl").read_text().splitlines()) == 12
    code, *_ = mambaad_command("monitor", out / "predictions.jsonl", "--bundle", calibrated_run)
    assert code in (0, 3)  # it can be read


def test_thresholds_by_cycle(mambaad_command, calibrated_run, video, tmp_path):
    cycles, out = tmp_path / "cycles.json", tmp_path / "out"
    made = ("--trigger", "every:2", "--frames", 2, "--class", "bolt")
    code, shown, err = mambaad_command(
        "watch", video, calibrated_run, "--calibrate", cycles, *made, "--review-fpr", 0.3
    )
    assert code == 0, err
    assert "cycles are too few for a rate of" in shown
    found = json.loads(cycles.read_text())
    assert found["plan"] == {
        "trigger": "every:2", "frames": 2, "step": 1, "delay": 0, "rule": "max"
    }  # fmt: skip
    code, _, err = mambaad_command(
        "watch", video, calibrated_run, "--cycles", cycles, "--out", out, "--frames", 3
    )
    assert code == 1
    assert "--frames 3: " in err
    code, *_ = mambaad_command(
        "watch", video, calibrated_run, "--cycles", cycles, "--out", out, "--class", "bolt"
    )
    assert code == 0
    code, _, err = mambaad_command("monitor", out / "predictions.jsonl", "--bundle", calibrated_run)
    assert code == 1  # monitor compares with an image's thresholds
    assert "schema_version" in err


def test_parts_that_cannot_be_inspected_fail(mambaad_command, calibrated_run, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.bmp").write_bytes(b"BM" + bytes(60))
    out = tmp_path / "out"
    code, shown, err = mambaad_command("watch", folder, calibrated_run, "--out", out, "--parts", 1)
    assert code == 1
    assert "0 parts inspected, 1 not inspected" in shown
    assert "part 1 was not inspected" in err


def test_ctrl_c_says_what_was_kept(calibrated_run, tmp_path):
    content = write_video(tmp_path / "a.ts", belt([False] * 40), codec="mpeg2video").read_bytes()
    out = tmp_path / "out"
    with camera([content], seconds=120) as (address, _):
        command = [sys.executable, "-m", "mambaad", "watch", address, str(calibrated_run)]
        process = subprocess.Popen(
            [*command, "--out", str(out), "--device", "cpu"],
            stderr=subprocess.PIPE,
            text=True,
        )
        log, deadline = out / "predictions.jsonl", time.monotonic() + 120
        while time.monotonic() < deadline and not (
            log.exists() and log.read_text().count("\n") > 2
        ):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    count = len(log.read_text().splitlines())
    assert count > 2
    assert f"mambaad: interrupted; {count} parts inspected" in err
    assert f"kept in {log}; on with: mambaad watch http://127.0.0.1" in err
    assert "Traceback" not in err
