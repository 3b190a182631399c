"""bfloat16 around the network and float32 in the scan: it trains as float32 does."""

import math

import pytest
import torch

import mambaad
from mambaad.artifacts.run_folder import read_log
from mambaad.data.synthetic.factory import make_data
from tests.conftest import SMALL
from tests.runs import read

STEPS, BATCH, PARTS = 200, 2, 10  # parts of each of two classes
SETTINGS = {
    "encoder": "embedded",
    "variant": "lite",
    "size": "64",
    "batch_size": BATCH,
    "epochs": STEPS * BATCH // (2 * PARTS),
    "lr": 1e-4,  # at the recipe's rate two seeds, too, end 10 % apart
}


def test_every_step_runs_in_mixed_precision(parts, tmp_path, monkeypatch):
    from mambaad.models.mambaad import MambaAD

    real, seen = MambaAD.reconstruct, []

    def watched(self, features):
        rebuilt = real(self, features)
        if self.training:  # looking at good parts at the end is not
            seen.append((torch.is_autocast_enabled("cpu"), features[0].dtype))
        return rebuilt

    monkeypatch.setattr(MambaAD, "reconstruct", watched)
    settings = {**SMALL, "size": "32", "precision": "bf16-mixed"}  # two epochs
    mambaad.train(parts, tmp_path / "run", **settings)
    assert len(seen) == 6
    assert set(seen) == {(True, torch.bfloat16)}


@pytest.mark.usefixtures("users_checks_only")  # thousands of the same shapes
def test_200_steps_end_where_float32_ends(tmp_path):
    make_data(tmp_path / "data", ["bottle", "tile"], train=PARTS, test=2, size=64)
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        run = tmp_path / precision
        mambaad.train(tmp_path / "data", run, **SETTINGS, precision=precision)
        losses[precision] = [epoch["loss"] for epoch in read(read_log, run)]
    exact, mixed = losses.values()
    assert all(math.isfinite(loss) for loss in mixed)
    assert exact[-1] < 0.8 * exact[0]
    assert mixed[-1] == pytest.approx(exact[-1], rel=0.02)
