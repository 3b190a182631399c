"""A network from plain arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mambaad.config import make_config
from mambaad.models.mambaad import MambaAD
from mambaad.ops.orders import ScanMethod


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
    settings = {
        "encoder": encoder,
        "scan": scan,
        "directions": directions,
        "states": states,
        "expand": expand,
        "depths": tuple(depths),
        "kernels": tuple(kernels),
        "drop_path": drop_path,
    }
    return MambaAD.build(make_config(settings), encoder_weights)
