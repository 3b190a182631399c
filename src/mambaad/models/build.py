"""The one function that assembles a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mambaad.errors import ConfigError
from mambaad.models.decoder import MambaDecoder
from mambaad.models.encoder import Encoder
from mambaad.models.fusion import Fusion
from mambaad.models.mambaad import MambaAD
from mambaad.ops import DIRECTIONS, SCAN_METHODS, ScanMethod


def build_model(
    encoder: str = "resnet34",
    encoder_weights: str | Path = "timm",
    *,
    scan: ScanMethod = "hilbert",
    directions: int = 8,
    states: int = 16,
    expand: int = 2,
    depths: Sequence[int] = (3, 4, 6, 3),
    kernels: Sequence[int] = (5, 7),
    drop_path: float = 0.2,
) -> MambaAD:
    """Build an untrained MambaAD; with ResNet-34 it has 25.62 M parameters, 8.17 M of them frozen.

    Args:
        encoder, encoder_weights: see :class:`mambaad.models.encoder.Encoder`.
        scan: ``"hilbert"``, ``"zorder"``, ``"zigzag"``, ``"scan"`` or ``"sweep"``.
        directions: 1, 2, 4 or 8.
        states, expand: N, and the inner width as a multiple of the channels.
        depths: HSS blocks of the decoder's four stages, coarse to fine.
        kernels: sizes of the local branches' depthwise convolutions.
        drop_path: the largest rate at which an HSS block is left out for an image while training.

    Raises:
        ConfigError: a setting that cannot work.
    """
    if scan not in SCAN_METHODS:
        raise ConfigError(f"--scan: expected one of {', '.join(SCAN_METHODS)}, got '{scan}'")
    if directions not in DIRECTIONS:
        raise ConfigError(f"--directions: expected 1, 2, 4 or 8, got {directions}")
    if len(depths) != 4 or min(depths) < 1:
        raise ConfigError(f"--depths: expected four numbers of 1 or more, got {tuple(depths)}")
    frozen = Encoder(encoder, encoder_weights)
    return MambaAD(
        frozen,
        Fusion(frozen.channels),
        MambaDecoder(frozen.channels, depths, scan, directions, states, expand, kernels, drop_path),
    )
