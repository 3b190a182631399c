"""UniAD: one transformer for all classes (You et al., NeurIPS 2022, arXiv 2206.03687), to compare.

The encoder's maps, at one scale, are a sequence of cells. A transformer rebuilds it, kept from
copying by three means: attention that is blind to a cell's neighbourhood, queries that are learned
anew in each layer of the decoder, and noise on what it is given while it trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import nn
from torch.nn import functional as F

from mambaad.config import TrainConfig
from mambaad.errors import ConfigError
from mambaad.models.encoder import Encoder
from mambaad.models.system import Distance, System

STRIDE = 16
"""Of the grid of cells."""

WIDTH, HEADS, LAYERS, INNER, DROPOUT = 256, 8, 4, 1024, 0.1
NEIGHBOURHOOD = 7
"""Side of the square around a cell that its attention does not see."""
JITTER = 20.0
"""Of the noise while training, times the L2 norm of a cell's features over their number."""


class AlignedEncoder(nn.Module):
    """An encoder's maps resized to one grid and concatenated: a list of one map."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels = sum(encoder.channels)

    def forward(self, images: Float[torch.Tensor, "b 3 h w"]) -> list[torch.Tensor]:
        """Return one map, b x c x h/16 x w/16."""
        grid = (images.shape[-2] // STRIDE, images.shape[-1] // STRIDE)
        maps = [
            F.interpolate(m, grid, mode="bilinear", align_corners=True)
            for m in self.encoder(images)
        ]
        return [torch.cat(maps, dim=1)]


_MOST_CELLS = 2**14  # the table of pairs that do not see each other takes 256 MiB then


class UniAD(System):
    """Encoder, linear reduction, transformer, and linear expansion to the encoder's channels.

    Args:
        encoder: images -> one map at stride 16; frozen.
        channels: of that map.
        size: height and width of the images: the position embeddings and queries are learned for
            one grid.

    Raises:
        ConfigError: images so small that some cell has no other outside its neighbourhood, or so
            large that all pairs of cells are too many.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        "encoder": "tf_efficientnet_b4",
        "size": (224, 224),
        "epochs": 1000,
        "batch_size": 8,
        "lr": 1e-4,
        "clip_grad": 0.5,  # 0.1 there, of a loss that is a fifth of ours
    }
    own_loss = "squared-error"  # lengths count in its distances
    distance: ClassVar[Distance] = "euclidean"

    def __init__(self, encoder: nn.Module, channels: int, size: tuple[int, int]) -> None:
        super().__init__(encoder)
        self.grid = (size[0] // STRIDE, size[1] // STRIDE)
        if max(self.grid) <= NEIGHBOURHOOD:
            raise ConfigError(
                f"--size: {size[0]} x {size[1]} leaves UniAD's attention, which is blind to "
                f"{NEIGHBOURHOOD} x {NEIGHBOURHOOD} cells, nothing to see; give a side of "
                f"{STRIDE * (NEIGHBOURHOOD + 1)} or more"
            )
        if self.grid[0] * self.grid[1] > _MOST_CELLS:
            raise ConfigError(
                f"--size: {size[0]} x {size[1]} has {self.grid[0] * self.grid[1]} cells, each of "
                f"which UniAD compares with each; give smaller sides: at most {_MOST_CELLS}"
            )
        self.reduce = nn.Linear(channels, WIDTH)
        self.expand = nn.Linear(WIDTH, channels)
        self.transformer = Transformer(*self.grid)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and not name.startswith("encoder."):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    @classmethod
    def build(cls, config: TrainConfig, encoder_weights: str | Path) -> UniAD:
        """The untrained network; with EfficientNet-B4 24.5 M parameters, 16.7 M of them frozen."""
        strides = (2, 4, 8, 16) if "efficientnet" in config.encoder else (4, 8, 16)
        encoder = AlignedEncoder(Encoder(config.encoder, encoder_weights, strides))
        return cls(encoder, encoder.channels, config.size)

    def reconstruct(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Rebuild the one map from itself; while training, from itself and noise."""
        (x,) = features
        tokens = x.flatten(2).transpose(1, 2)  # b x cells x c
        if self.training:
            size = tokens.norm(dim=2, keepdim=True) / tokens.shape[2]
            tokens = tokens + JITTER * size * torch.randn_like(tokens)
        rebuilt = self.expand(self.transformer(self.reduce(tokens)))
        return [rebuilt.transpose(1, 2).unflatten(2, self.grid)]


class Transformer(nn.Module):
    """Encoder and decoder layers over the cells of one grid."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.positions = Positions(height, width)
        self.encoder_layers = nn.ModuleList(EncoderLayer() for _ in range(LAYERS))
        self.decoder_layers = nn.ModuleList(DecoderLayer(height * width) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.register_buffer("hidden", neighbours(height, width, NEIGHBOURHOOD), persistent=False)

    def forward(self, tokens: torch.Tensor) -> Float[torch.Tensor, "b l c"]:
        """Rebuild cells b x l x c."""
        where = self.positions()
        for layer in self.encoder_layers:
            tokens = layer(tokens, where, self.hidden)
        memory = tokens
        for layer in self.decoder_layers:
            tokens = layer(tokens, memory, where, self.hidden)
        rebuilt: torch.Tensor = self.norm(tokens)
        return rebuilt


class EncoderLayer(nn.Module):
    """Self-attention among cells that are not neighbours, and a feed-forward network."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = _attention()
        self.feed_forward = _feed_forward()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(
        self, x: torch.Tensor, where: torch.Tensor, hidden: torch.Tensor
    ) -> Float[torch.Tensor, "b l c"]:
        """Mix cells b x l x c at positions l x c; ``hidden``: l x l, pairs that do not see."""
        key = x + where
        seen = self.attention(key, key, x, attn_mask=hidden, need_weights=False)[0]
        x = self.norms[0](x + self.dropout(seen))
        y: torch.Tensor = self.norms[1](x + self.dropout(self.feed_forward(x)))
        return y


class DecoderLayer(nn.Module):
    """Learned queries look at the encoder's cells, then at those of the layer before."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(cells, WIDTH))
        self.memory_attention, self.attention = _attention(), _attention()
        self.feed_forward = _feed_forward()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor, where: torch.Tensor, hidden: torch.Tensor
    ) -> Float[torch.Tensor, "b l c"]:
        """Rebuild cells from ``x`` (of the layer before) and ``memory``, each b x l x c."""
        y = self.queries.expand(len(x), -1, -1)
        for attention, source, norm in (
            (self.memory_attention, memory, self.norms[0]),
            (self.attention, x, self.norms[1]),
        ):
            seen = attention(
                y + where, source + where, source, attn_mask=hidden, need_weights=False
            )[0]
            y = norm(y + self.dropout(seen))
        rebuilt: torch.Tensor = self.norms[2](y + self.dropout(self.feed_forward(y)))
        return rebuilt


class Positions(nn.Module):
    """Learned: one half of the channels says the column, the other the row."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.columns = nn.Parameter(torch.rand(width, WIDTH // 2))
        self.rows = nn.Parameter(torch.rand(height, WIDTH // 2))

    def forward(self) -> Float[torch.Tensor, "l c"]:
        """An embedding of each cell, row by row."""
        shape = (len(self.rows), len(self.columns), -1)
        columns, rows = self.columns.expand(*shape), self.rows[:, None].expand(*shape)
        return torch.cat([columns, rows], dim=2).flatten(0, 1)


def neighbours(height: int, width: int, side: int) -> Bool[torch.Tensor, "l l"]:
    """Which pairs of cells lie within a square of ``side`` around each other."""
    rows, columns = (torch.arange(n) for n in (height, width))
    y = (rows[:, None] - rows).abs() <= side // 2
    x = (columns[:, None] - columns).abs() <= side // 2
    together = y[:, None, :, None] & x[None, :, None, :]
    return together.reshape(height * width, height * width)


def _attention() -> nn.MultiheadAttention:
    return nn.MultiheadAttention(WIDTH, HEADS, dropout=DROPOUT, batch_first=True)


def _feed_forward() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(WIDTH, INNER), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(INNER, WIDTH))
    )
