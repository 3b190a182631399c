"""``mambaad benchmark`` and ``profile`` as they are typed."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from mambaad.artifacts.manifest import CHECKPOINT, LOG
from mambaad.files import locked
from tests.runs import content, has


def test_profile_shows_the_published_count(mambaad_command, monkeypatch):
    monkeypatch.setattr("mambaad.workflows.profile._ROUNDS", 1)
    code, out, _ = mambaad_command("profile")
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert rows["encoder"][1:3] == ["8.170", "0.000"]
    assert rows["whole"][1] == "25.615"
    assert "25.65 M with them" in out


def test_benchmark_writes_its_tables(mambaad_command, parts, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "settings: {encoder: resnet18, encoder_weights: random, size: 32, epochs: 1}\n"
        "systems: {lite: {variant: lite}, broken: {system: rd4ad, encoder: tf_efficientnet_b4}}\n"
        f"data: {{parts: {{path: {parts}}}}}\n"
    )
    code, out, err = mambaad_command("benchmark", plan, "--out", tmp_path / "out")
    assert code == 1
    assert "mambaad: failed: broken on parts, seed 42" in err
    assert "| lite |" in out
    made = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert made == {"results.md", "results.html", "results.csv", "results.tex"}


def test_a_folder_that_another_process_writes_is_left_alone(mambaad_command, parts, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"systems: {{lite: {{}}}}\ndata: {{parts: {{path: {parts}}}}}\n")
    out = tmp_path / "out"
    with locked(out, make=True), ThreadPoolExecutor(1) as pool:
        code, _, err = pool.submit(mambaad_command, "benchmark", plan, "--out", out).result()
    assert code == 1
    assert "out is being written by another mambaad process" in err
    assert not list(out.iterdir())


def test_an_interruption_is_passed_on_and_the_job_is_resumed_later(
    mambaad_command, parts, tmp_path
):
    """Told to stop as a service is: by SIGTERM to the command alone."""
    (tmp_path / "plan.yaml").write_text(
        "settings: {encoder: resnet18, encoder_weights: random, size: 32, epochs: 400}\n"
        f"systems: {{lite: {{variant: lite}}}}\ndata: {{parts: {{path: {parts}}}}}\n"
    )
    out = tmp_path / "out"

    def stop_after_an_epoch():
        while not list(out.rglob("log-*.jsonl")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_after_an_epoch, daemon=True).start()
    code, _, err = mambaad_command("benchmark", tmp_path / "plan.yaml", "--out", out)
    assert code == 130
    assert "resume with: mambaad benchmark" in err
    (run,) = out.rglob("run")
    assert has(run, CHECKPOINT)
    epochs = len(content(run, LOG).splitlines())
    assert 1 <= epochs < 400
