"""UniAD: one transformer for all classes (You et al., NeurIPS 2022, arXiv 2206.03687).

The encoder's maps, resized to one grid, are a sequence of cells, which a transformer rebuilds.
Three measures keep it from copying its input: attention masked in each cell's neighbourhood,
learned queries in each layer of the decoder, and noise on the input during training. A baseline
for MambaAD.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import nn
from torch.nn import functional as F

from mambaad.errors import ConfigError
from mambaad.models.encoder import Encoder
from mambaad.models.system import Distance, System

STRIDE = 16
"""Stride of the grid of cells, in pixels."""

WIDTH, HEADS, LAYERS, INNER, DROPOUT = 256, 8, 4, 1024, 0.1
NEIGHBOURHOOD = 7
"""Side of the square around a cell that its attention masks, in cells."""
JITTER = 20.0
"""Scale of the noise while training, times a cell's L2 norm over its number of features."""


class AlignedEncoder(nn.Module):
    """An encoder whose maps are resized to one grid and concatenated to a single map.

    Args:
        encoder: images b x 3 x h x w -> maps b x c_i x h_i x w_i.
        normalise: scale each cell's features of each of the n maps to the length sqrt(sum c_i / n),
            so that no map outweighs another and the mean of their squares is 1. Not in the paper:
            a ResNet-18's finest map has features several times as large as its coarsest's, which
            then hardly count in lengths and are lost in the noise.
    """

    def __init__(self, encoder: Encoder, normalise: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels = sum(encoder.channels)
        self.multiple = encoder.multiple
        self.length = (self.channels / len(encoder.channels)) ** 0.5 if normalise else None

    def forward(
        self, images: Float[torch.Tensor, "b 3 h w"]
    ) -> list[Float[torch.Tensor, "b _ _ _"]]:
        """Return a list of one map, b x c x h/16 x w/16."""
        grid = (images.shape[-2] // STRIDE, images.shape[-1] // STRIDE)
        maps = [
            F.interpolate(m, grid, mode="bilinear", align_corners=True)
            for m in self.encoder(images)
        ]
        if self.length:
            maps = [self.length * F.normalize(m, dim=1) for m in maps]
        return [torch.cat(maps, dim=1)]


_MOST_CELLS = 2**14  # the mask of pairs takes 256 MiB then


class UniAD(System):
    """Encoder, linear reduction, transformer, and linear expansion to the encoder's channels.

    Args:
        encoder: images b x 3 x h x w -> a list of one map at stride 16; frozen.
        channels: those of that map.
        size: height and width of the images in pixels; position embeddings and queries are
            learned for one grid.
        dropout: the rate at which attention's weights and layers' values are zeroed in training.
        standardise: give the transformer channels of mean 0 and standard deviation 1, as
            :meth:`prepare` measures them, and the same for what it rebuilds. Not in the paper: of a
            cell's length the mean over all images is the larger part, which tells nothing apart.

    Raises:
        ConfigError: images so small that a cell has none outside its neighbourhood, or so large
            that there are too many pairs of cells.
    """

    distance: ClassVar[Distance] = "euclidean"
    smoothing: ClassVar[float] = 0.0
    pooling: ClassVar[int] = 16

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        encoder: nn.Module,
        channels: int,
        size: tuple[int, int],
        dropout: float = DROPOUT,
        standardise: bool = False,
    ) -> None:
        super().__init__(encoder)
        self.grid = (size[0] // STRIDE, size[1] // STRIDE)
        if max(self.grid) <= NEIGHBOURHOOD:
            raise ConfigError(
                f"--size: {size[0]} x {size[1]} is too small for UniAD, whose attention masks "
                f"{NEIGHBOURHOOD} x {NEIGHBOURHOOD} cells; give a side of "
                f"{STRIDE * (NEIGHBOURHOOD + 1)} or more"
            )
        if self.grid[0] * self.grid[1] > _MOST_CELLS:
            raise ConfigError(
                f"--size: {size[0]} x {size[1]} has {self.grid[0] * self.grid[1]} cells, all pairs "
                f"of which UniAD compares; give smaller sides, for at most {_MOST_CELLS} cells"
            )
        self.standardise = standardise
        if standardise:
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("std", torch.ones(channels))
        self.reduce = nn.Linear(channels, WIDTH)
        self.expand = nn.Linear(WIDTH, channels)
        self.transformer = Transformer(*self.grid, dropout)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and not name.startswith("encoder."):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def reconstruct(
        self, features: Sequence[Float[torch.Tensor, "b _ _ _"]]
    ) -> list[Float[torch.Tensor, "b _ _ _"]]:
        """Rebuild the one map from itself, with noise added to it while training."""
        (x,) = features
        tokens = x.flatten(2).transpose(1, 2)  # b x cells x c
        if self.standardise:
            tokens = (tokens - self.mean) / self.std
        if self.training:
            size = tokens.norm(dim=2, keepdim=True) / tokens.shape[2]
            tokens = tokens + JITTER * size * torch.randn_like(tokens)
        rebuilt = self.expand(self.transformer(self.reduce(tokens)))
        if self.standardise:
            rebuilt = self.mean + self.std * rebuilt
        return [rebuilt.transpose(1, 2).unflatten(2, self.grid)]

    def prepare(self, batches: Iterable[Sequence[Float[torch.Tensor, "_ _ _ _"]]]) -> None:
        """Measure the mean and standard deviation of each channel, over all cells."""
        if not self.standardise:
            return
        count, total, squares = 0, torch.zeros(1), torch.zeros(1)
        for (x,) in batches:
            cells = x.permute(0, 2, 3, 1).flatten(0, 2).double()
            count += len(cells)
            total = total + cells.sum(dim=0)
            squares = squares + cells.square().sum(dim=0)
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean.square()).clamp(min=1e-8).sqrt())


class Transformer(nn.Module):
    """Encoder and decoder layers over the cells of one grid.

    As in the released code the layers of a kind begin as copies of one, with equal queries and
    attention's projections; linear maps begin apart, as :class:`UniAD` draws them afterwards.
    """

    def __init__(self, height: int, width: int, dropout: float) -> None:
        super().__init__()
        self.positions = Positions(height, width)
        self.encoder_layers = _copies(EncoderLayer(dropout))
        self.decoder_layers = _copies(DecoderLayer(height * width, dropout))
        self.norm = nn.LayerNorm(WIDTH)
        self.register_buffer("hidden", neighbours(height, width, NEIGHBOURHOOD), persistent=False)

    def forward(self, tokens: Float[torch.Tensor, "b l c"]) -> Float[torch.Tensor, "b l c"]:
        """Rebuild the cells of the grid, row by row."""
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

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.attention = _attention(dropout)
        self.feed_forward = _feed_forward(dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[torch.Tensor, "b l c"],
        where: Float[torch.Tensor, "l c"],
        hidden: Bool[torch.Tensor, "l l"],
    ) -> Float[torch.Tensor, "b l c"]:
        """Mix cells at the positions ``where``; ``hidden``: the pairs that are masked."""
        key = x + where
        seen = self.attention(key, key, x, attn_mask=hidden, need_weights=False)[0]
        x = self.norms[0](x + self.dropout(seen))
        y: torch.Tensor = self.norms[1](x + self.dropout(self.feed_forward(x)))
        return y


class DecoderLayer(nn.Module):
    """Attention of learned queries to the encoder's cells, then to those of the layer before."""

    def __init__(self, cells: int, dropout: float) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(cells, WIDTH))
        self.memory_attention, self.attention = _attention(dropout), _attention(dropout)
        self.feed_forward = _feed_forward(dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[torch.Tensor, "b l c"],
        memory: Float[torch.Tensor, "b l c"],
        where: Float[torch.Tensor, "l c"],
        hidden: Bool[torch.Tensor, "l l"],
    ) -> Float[torch.Tensor, "b l c"]:
        """Rebuild cells from the layer before (``x``) and the encoder (``memory``)."""
        y = self.queries.expand(x.shape[0], -1, -1)  # len() would fix the size of exported batches
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
    """Learned position embeddings: half of the channels for the column, half for the row."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.columns = nn.Parameter(torch.rand(width, WIDTH // 2))
        self.rows = nn.Parameter(torch.rand(height, WIDTH // 2))

    def forward(self) -> Float[torch.Tensor, "l c"]:
        """Return the embedding of each cell, row by row."""
        shape = (len(self.rows), len(self.columns), -1)
        columns, rows = self.columns.expand(*shape), self.rows[:, None].expand(*shape)
        return torch.cat([columns, rows], dim=2).flatten(0, 1)


def neighbours(height: int, width: int, side: int) -> Bool[torch.Tensor, "l l"]:
    """Mark the pairs of cells that lie within a square of ``side`` cells around each other."""
    rows, columns = (torch.arange(n) for n in (height, width))
    y = (rows[:, None] - rows).abs() <= side // 2
    x = (columns[:, None] - columns).abs() <= side // 2
    together = y[:, None, :, None] & x[None, :, None, :]
    return together.reshape(height * width, height * width)


def _copies(layer: nn.Module) -> nn.ModuleList:
    return nn.ModuleList(copy.deepcopy(layer) for _ in range(LAYERS))


def _attention(dropout: float) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(WIDTH, HEADS, dropout=dropout, batch_first=True)


def _feed_forward(dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(WIDTH, INNER), nn.ReLU(), nn.Dropout(dropout), nn.Linear(INNER, WIDTH))
    )
