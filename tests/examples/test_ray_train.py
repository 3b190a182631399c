"""Ray Train's example, on two workers of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mambaad.artifacts.manifest import CHECKPOINT, PROTOTYPES
from mambaad.artifacts.run_folder import read_config, read_log
from tests.conftest import SMALL
from tests.one_ray import one_ray  # noqa: F401  # by name
from tests.runs import has, read

SCRIPT = Path(__file__).parents[2] / "examples" / "ray" / "train.py"


@pytest.mark.usefixtures("one_ray")
def test_two_workers_train_like_one(parts, trained_run, tmp_path):
    pytest.importorskip("ray.train.torch", reason="needs mambaad[ray]")
    settings, run = tmp_path / "small.yaml", tmp_path / "run"
    settings.write_text(yaml.safe_dump(SMALL))
    done = subprocess.run(
        [sys.executable, SCRIPT, parts, "--out", run, "--config", settings],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "600",  # on a machine that is busy with other tests
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"trained: {run}" in done.stdout
    assert read(read_config, run).devices == 2
    assert has(run, PROTOTYPES)
    assert not has(run, CHECKPOINT)
    losses, one = ([r["loss"] for r in read(read_log, r)] for r in (run, trained_run))
    assert losses == pytest.approx(one, rel=2e-2)  # rounding, amplified at a high learning rate
