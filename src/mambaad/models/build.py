"""The assembly of networks: configuration or plain arguments in, an untrained system out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mambaad.config import TrainConfig, make_config
from mambaad.models.baselines.rd4ad import RD4AD
from mambaad.models.baselines.uniad import AlignedEncoder, UniAD
from mambaad.models.decoder import GridDecoder, MambaDecoder
from mambaad.models.encoder import EMBEDDED, EMBEDDED_ARCHITECTURE, Encoder
from mambaad.models.fusion import Fusion, GridFusion
from mambaad.models.head import ResidualHead
from mambaad.models.mambaad import MambaAD
from mambaad.models.mixers.table import Mixer
from mambaad.models.system import System
from mambaad.ops.orders import ScanMethod

WIDEST_GRID = 384
"""Channels of the decoder on one grid by default, at most: its work grows with their square."""


def build_system(config: TrainConfig, encoder_weights: str | Path) -> System:
    """Build the untrained system that a configuration describes, on torch's default device.

    Args:
        config: its ``encoder_weights`` are not used.
        encoder_weights: see :class:`mambaad.models.encoder.Encoder`; ``"random"`` where the
            weights of a run are loaded afterwards.

    Raises:
        ConfigError: an encoder, weights or size that the system cannot work with.
    """
    system = BUILDERS[config.system](config, encoder_weights)
    if config.head == "residual":
        channels: Any = system.encoder.channels
        system.head = ResidualHead(channels)
    return system


def build_model(
    encoder: str = "resnet34",
    encoder_weights: str | Path = "timm",
    *,
    mixer: Mixer = "s6",
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
        mixer: the state-space block, ``"s6"``, ``"vssd"`` or ``"ssd"``.
        scan: ``"hilbert"``, ``"zorder"``, ``"zigzag"``, ``"scan"`` or ``"sweep"``.
        directions: 1, 2, 4 or 8.
        states, expand: N, and the inner width as a multiple of the channels.
        depths: HSS blocks of the decoder's four stages, coarse to fine.
        kernels: sizes of the local branches' depthwise convolutions, odd.
        drop_path: the largest rate at which an HSS block is skipped for an image while training.

    Raises:
        ConfigError: a setting that cannot work.
    """
    settings = {
        "encoder": encoder,
        "mixer": mixer,
        "scan": scan,
        "directions": directions,
        "states": states,
        "expand": expand,
        "depths": tuple(depths),
        "kernels": tuple(kernels),
        "drop_path": drop_path,
    }
    return _build_mambaad(make_config(settings), encoder_weights)


def _build_mambaad(config: TrainConfig, encoder_weights: str | Path) -> MambaAD:
    encoder = Encoder(
        config.encoder, encoder_weights, groups=config.encoder_groups, recentre=config.recentre
    )
    names = (
        *("depths", "mixer", "scan", "directions", "states", "expand"),
        *("kernels", "drop_path", "blocks"),
    )
    settings: dict[str, Any] = {name: getattr(config, name) for name in names}
    noise = config.noisy_bottleneck
    if config.encoder_groups is None:
        decoder = MambaDecoder(encoder.channels, **settings)
        return MambaAD(encoder, Fusion(encoder.channels), decoder, noise)
    channels = encoder.channels[0]
    width = config.decoder_width or min(channels, WIDEST_GRID)
    grid_decoder = GridDecoder(channels, len(encoder.channels), width, **settings)
    return MambaAD(encoder, GridFusion(channels, width), grid_decoder, noise)


def _build_rd4ad(config: TrainConfig, encoder_weights: str | Path) -> RD4AD:
    """With WideResNet-50 80.6 M parameters, 24.9 M of them frozen."""
    architecture = EMBEDDED_ARCHITECTURE if config.encoder == EMBEDDED else config.encoder
    return RD4AD(Encoder(config.encoder, encoder_weights), architecture)


def _build_uniad(config: TrainConfig, encoder_weights: str | Path) -> UniAD:
    """With EfficientNet-B4 24.5 M parameters, 16.7 M of them frozen."""
    strides = (2, 4, 8, 16) if "efficientnet" in config.encoder else (4, 8, 16)
    trunk = Encoder(config.encoder, encoder_weights, strides)
    encoder = AlignedEncoder(trunk, config.normalise_features)
    return UniAD(encoder, encoder.channels, config.size, config.dropout, config.normalise_features)


BUILDERS: dict[str, Callable[[TrainConfig, str | Path], System]] = {
    "mambaad": _build_mambaad,
    "rd4ad": _build_rd4ad,
    "uniad": _build_uniad,
}
"""A function for each name of :data:`mambaad.recipes.SYSTEMS`."""
