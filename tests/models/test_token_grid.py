"""Means of a vision transformer's tokens, against a loop over its blocks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch

from mambaad.models.token_grid import TokenGrid, middle_halves

VIT = "vit_tiny_patch16_224"
DINO2 = "vit_small_patch14_reg4_dinov2"
DINO3 = "vit_small_patch16_dinov3"
SMALL = {"embed_dim": 64, "num_heads": 2, "depth": 4, "dynamic_img_size": True}


def small_vit(name: str) -> Any:
    """A few narrow blocks of an architecture, none of which does almost nothing."""
    create: Any = timm.create_model
    vit = create(name, **SMALL).eval()
    for key, parameter in vit.named_parameters():
        if "gamma" in key or key.endswith(("reg_token", "cls_token")):
            torch.nn.init.uniform_(parameter, 0.5, 1.0)
    return vit


def tokens_after(vit: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """All tokens after each block, b x (prefix + cells) x c."""
    found: list[torch.Tensor] = []
    hooks = [b.register_forward_hook(lambda *given: found.append(given[2])) for b in vit.blocks]
    vit.forward_features(images)
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
@pytest.mark.parametrize("recentre", [False, True])
@pytest.mark.parametrize(
    ("name", "patch", "prefix"), [(VIT, 16, 1), (DINO2, 14, 5), (DINO3, 16, 5)]
)
def test_maps_are_means_of_patch_tokens(name: str, patch: int, prefix: int, recentre: bool) -> None:
    vit = small_vit(name)
    images = torch.randn(2, 3, 2 * patch, 5 * patch)
    blocks = tokens_after(vit, images)
    grid = TokenGrid(copy.deepcopy(vit), [[1], [3, 0, 2]], recentre)
    assert grid.channels == 64
    for found, group in zip(grid(images), ([1], [0, 2, 3]), strict=True):
        assert found.shape == (2, 64, 2, 5)
        assert found.is_contiguous(memory_format=torch.channels_last)
        for row in range(2):
            for column in range(5):
                cell = prefix + 5 * row + column
                expected = torch.zeros(2, 64)
                for block in group:
                    expected += blocks[block][:, cell] / len(group)
                    if recentre:
                        expected -= blocks[block][:, 0] / len(group)
                torch.testing.assert_close(found[:, :, row, column], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (12, ((2, 3, 4, 5), (6, 7, 8, 9))),
        (24, ((4, 6, 8, 10), (12, 14, 16, 18))),
        (6, ((1, 2), (3, 4))),
        (3, ((0,), (1, 2))),
        (2, ((0,), (1,))),
    ],
)
def test_the_middle_of_the_blocks(depth: int, expected: Any) -> None:
    assert middle_halves(depth) == expected


def test_rotations_are_computed_once_a_grid_and_serve_training_after_inspection() -> None:
    grid = TokenGrid(small_vit(DINO3), [[0, 1]], False)
    images = torch.randn(1, 3, 32, 48)
    with torch.inference_mode():
        first = grid(images)[0]
    kept = grid.model.rope._kept
    (rotations,) = kept.values()
    assert not rotations.is_inference()
    with torch.no_grad():
        torch.testing.assert_close(grid(images)[0], first, rtol=0, atol=0)
        grid(images[:, :, :, :32])
    assert [key[:2] for key in kept] == [(2, 3), (2, 2)]
    assert any(value is rotations for value in kept.values())
