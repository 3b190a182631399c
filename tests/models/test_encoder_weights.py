"""Files of transformers and ConvNeXts as timm publishes them, in an encoder's own form."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers.pos_embed import resample_abs_pos_embed

from mambaad.errors import ConfigError
from mambaad.models.encoder import Encoder
from mambaad.models.encoder_weights import read_state_dict

DINO2 = "vit_small_patch14_reg4_dinov2.lvd142m"
DINO3 = "vit_small_patch16_dinov3.lvd1689m"
VIT = "vit_tiny_patch16_224"
GROUPS = ((0,), (1, 2))

State = dict[str, torch.Tensor]


def published(name: str, **more: Any) -> State:
    """The tensors of a whole architecture, each different from what another has at first."""
    create: Any = timm.create_model
    with torch.device("meta"):
        shapes = create(name, **more).state_dict()
    return {key: torch.randn(t.shape) for key, t in shapes.items()}


def as_safetensors(state: State, folder: Path) -> Path:
    save_file(state, folder / "w.safetensors")
    return folder / "w.safetensors"


def as_pth(state: State, folder: Path) -> Path:
    torch.save({"model": state}, folder / "w.pth")
    return folder / "w.pth"


@pytest.mark.parametrize("save", [as_safetensors, as_pth])
@pytest.mark.parametrize("name", [DINO2, DINO3, VIT])
def test_a_transformer_takes_all_that_it_uses(
    name: str, save: Callable[[State, Path], Path], tmp_path: Path
) -> None:
    state = published(name)
    encoder = Encoder(name, save(state, tmp_path), groups=GROUPS)
    loaded = encoder.backbone.state_dict()
    assert len(loaded) > 30
    for key, tensor in loaded.items():
        assert torch.equal(tensor, state[key.removeprefix("model.")]), key
    unused = set(state) - {key.removeprefix("model.") for key in loaded}
    assert {key.split(".")[0] for key in unused} <= {"blocks", "norm", "head", "fc_norm"}
    assert {int(key.split(".")[1]) for key in unused if key.startswith("blocks")} == {*range(3, 12)}


@torch.no_grad()
def test_the_maps_are_those_of_timms_model_with_the_same_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    create: Any = timm.create_model
    plain = create(DINO2, dynamic_img_size=True).eval()
    encoder = Encoder(DINO2, as_safetensors(plain.state_dict(), tmp_path), groups=GROUPS)
    images = torch.randn(1, 3, 28, 42)
    expected = plain.get_intermediate_layers(images, n=[0, 1, 2], reshape=True)
    first, second = encoder(images)
    torch.testing.assert_close(first, expected[0])
    torch.testing.assert_close(second, (expected[1] + expected[2]) / 2)


def test_a_convnext_takes_all_that_it_uses(tmp_path: Path) -> None:
    name = "convnext_tiny.dinov3_lvd1689m"
    state = published(name)
    encoder = Encoder(name, as_safetensors(state, tmp_path))
    loaded = encoder.backbone.state_dict()
    assert "stem_0.weight" in loaded
    for key, tensor in loaded.items():
        first, rest = key.split(".", 1)
        assert torch.equal(tensor, state[f"{first.replace('_', '.')}.{rest}"]), key
    assert encoder.channels == (96, 192, 384)


def test_position_embeddings_of_another_grid_are_resampled(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name, prefix in ((DINO2, 0), (VIT, 1)):
        patch = 14 if prefix == 0 else 16
        state = published(name, img_size=5 * patch)
        assert state["pos_embed"].shape[1] == prefix + 25
        encoder = Encoder(name, as_safetensors(state, tmp_path), groups=GROUPS)
        model: Any = encoder.backbone.model
        side = model.patch_embed.grid_size[0]
        expected = resample_abs_pos_embed(
            state["pos_embed"], [side, side], num_prefix_tokens=prefix
        )
        assert expected.shape[1] == prefix + side**2
        assert torch.equal(model.pos_embed, expected)


def test_position_embeddings_of_no_square_grid_are_refused(tmp_path: Path) -> None:
    state = published(VIT)
    state["pos_embed"] = state["pos_embed"][:, :100]
    with pytest.raises(ConfigError, match=r"pos_embed of shape \(1, 100, 192\).*\(1, 197, 192\)"):
        Encoder(VIT, as_safetensors(state, tmp_path), groups=GROUPS)


def test_what_is_missing_is_named_as_in_the_file(tmp_path: Path) -> None:
    state = published(DINO3)
    del state["blocks.1.attn.qkv.weight"], state["reg_token"]
    with pytest.raises(ConfigError, match=r"lacks 2 of the \d+ tensors of .* \(first: reg_token\)"):
        Encoder(DINO3, as_safetensors(state, tmp_path), groups=GROUPS)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "weights.pth"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(ConfigError, match=r"--flag: .* cannot be read .it is no regular file"):
            read_state_dict(path, "--flag")
    with pytest.raises(ConfigError, match="--flag: there is no file"):
        read_state_dict(tmp_path / "absent", "--flag")
