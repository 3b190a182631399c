"""What is said of encoders' licences."""

from __future__ import annotations

import pytest

from mambaad.models.licences import licence_notice, stated_licence


@pytest.mark.parametrize(
    ("encoder", "licence"),
    [
        ("vit_small_patch14_reg4_dinov2.lvd142m", "apache-2.0"),
        ("vit_base_patch16_dinov3.lvd1689m", "dinov3-license"),
        ("convnext_base.dinov3_lvd1689m", "dinov3-license"),
        ("embedded", None),
        ("no_such_architecture", None),
    ],
)
def test_licences_that_timm_states(encoder: str, licence: str | None) -> None:
    assert stated_licence(encoder) == licence


@pytest.mark.parametrize(
    "encoder", ["vit_small_patch14_reg4_dinov2.lvd142m", "resnet18", "embedded"]
)
def test_nothing_is_said_of_permissive_licences(encoder: str) -> None:
    assert licence_notice(encoder, "timm") is None


@pytest.mark.parametrize(
    ("weights", "whose"), [("timm", "its weights"), ("dinov3.safetensors", "weights of that name")]
)
def test_a_licence_of_its_own_is_named(weights: str, whose: str) -> None:
    notice = licence_notice("convnext_tiny.dinov3_lvd1689m", weights)
    assert notice is not None
    assert f"{whose} are under the DINOv3 License, which is no open-source licence (https" in notice
    assert "docs/encoders.md" in notice
    assert "\n" not in notice
    assert licence_notice("convnext_tiny.dinov3_lvd1689m", "random") is None
