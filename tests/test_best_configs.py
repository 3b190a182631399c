"""The settings for best accuracy: each builds what it says, at its full size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mambaad.config import make_config
from mambaad.config_file import read_config_file
from mambaad.models.build import build_system

BEST = sorted((Path(__file__).parents[1] / "configs" / "best").glob("*.yaml"))


@torch.no_grad()
@pytest.mark.parametrize("path", BEST, ids=lambda path: path.stem)
def test_settings_for_best_accuracy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "Not measured by this project yet" in text
    assert ("DINOv3 License" in text) == ("dinov3" in path.stem)
    config = make_config(read_config_file(path))
    assert str(config.size[0]) == path.stem.rsplit("_", 1)[1]
    with torch.device("meta"):
        system = build_system(config, "random").eval()
        features = system.encoder(torch.zeros(1, 3, *config.size))
        fused = system.fusion(features)  # type: ignore[operator]
    if config.encoder_groups is None:
        sides = [config.size[0] // stride for stride in (4, 8, 16)]
        assert fused.shape[2] == config.size[0] // 32
    else:
        sides = [28, 28]
        assert fused.shape == (1, 384, 28, 28)
        assert system.encoder.backbone.groups == ((2, 3, 4, 5), (6, 7, 8, 9))
    assert [f.shape[2] for f in features] == [f.shape[3] for f in features] == sides
