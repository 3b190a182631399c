"""The tokens of a vision transformer as maps: means over groups of blocks, all on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import nn


def middle_halves(depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose the groups of blocks for a transformer of some depth: the middle two thirds, halved.

    Of 12 blocks, from 0, they are 2 to 5 and 6 to 9; of 24 and more every second, third, ... of
    them (Dinomaly, CVPR 2025, section 3.5 and its released code).
    """
    step = max(depth // 12, 1)
    chosen = tuple(range(depth // 6, depth - depth // 6, step))
    if len(chosen) < 2:
        chosen = (0, depth - 1)
    half = len(chosen) // 2
    return chosen[:half], chosen[half:]


class TokenGrid(nn.Module):
    """A map of each group of blocks of a transformer: the mean of their patch tokens.

    Args:
        vit: a plain vision transformer of timm's, for images of any size; its blocks after the
            last one in a group are not needed.
        groups: the blocks, from 0, of each map.
        recentre: subtract a block's class token from its patch tokens, so that a map says how a
            place differs from the image as a whole (Dinomaly2, arXiv 2510.17611, "context-aware
            recentering").

    Attributes:
        channels: c of every map.
    """

    def __init__(self, vit: Any, groups: Sequence[Sequence[int]], recentre: bool) -> None:
        super().__init__()
        self.model = vit
        self.groups = tuple(map(tuple, groups))
        self.recentre = recentre
        self.channels = int(vit.embed_dim)
        if hasattr(getattr(vit, "rope", None), "periods"):
            vit.rope = _KeptRotations(vit.rope)

    def forward(
        self, images: Float[torch.Tensor, "b 3 h w"]
    ) -> list[Float[torch.Tensor, "b c rows columns"]]:
        """Return a map of each group, b x c x h/patch x w/patch, channels last in memory."""
        blocks = sorted({block for group in self.groups for block in group})
        found = self.model.forward_intermediates(
            images,
            indices=blocks,
            return_prefix_tokens=self.recentre,
            output_fmt="NLC",
            intermediates_only=True,
        )
        if self.recentre:  # the class token comes first, before the registers
            found = [patches - prefix[:, :1] for patches, prefix in found]
        tokens = dict(zip(blocks, found, strict=True))
        grid = self.model.patch_embed.dynamic_feat_size(images.shape[2:])
        means = [sum(tokens[block] for block in group) / len(group) for group in self.groups]
        return [mean.unflatten(1, grid).permute(0, 3, 1, 2) for mean in means]


class _KeptRotations(nn.Module):
    """Rotary position embeddings, computed once for each grid.

    timm computes them on the CPU in every forward, and a copy from there cannot be recorded in a
    CUDA graph.
    """

    def __init__(self, rope: nn.Module) -> None:
        super().__init__()
        self.rope: Any = rope
        self._kept: dict[tuple[Any, ...], torch.Tensor] = {}

    @torch.inference_mode(False)  # what is kept must serve training too
    def get_embed(self, shape: Sequence[int]) -> torch.Tensor:
        key = (*shape, self.rope.periods.device, self.rope.periods.dtype)
        if key not in self._kept:
            self._kept[key] = self.rope.get_embed(shape=list(shape))
        return self._kept[key]
