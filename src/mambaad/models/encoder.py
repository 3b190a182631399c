"""The frozen encoder: a timm backbone's feature maps, in a pyramid or on one grid."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional as F

from mambaad.errors import ConfigError
from mambaad.models.encoder_weights import load_weights
from mambaad.models.pretrained import reached
from mambaad.models.token_grid import TokenGrid, middle_halves
from mambaad.size import SIZE_MULTIPLE

STRIDES = (4, 8, 16)

EMBEDDED = "embedded"
EMBEDDED_ARCHITECTURE = "resnet18"
"""The encoder whose weights come with this package: its name, and its timm architecture."""

_EMBEDDED_WEIGHTS = Path(__file__).parent / "weights" / "embedded_resnet18.safetensors"
_ADVICE = "try resnet34, resnet18, resnet50, wide_resnet50_2 or tf_efficientnet_b4"

Groups = Sequence[Sequence[int]] | Literal["auto"]


class Encoder(nn.Module):
    """A timm backbone that is never trained and returns its feature maps.

    Its parameters take no gradient and it stays in eval mode, whatever mode is set, so that batch
    normalisation uses the statistics of its pre-training.

    Args:
        name: a timm architecture with feature maps at strides 4, 8 and 16; or a plain vision
            transformer, with ``groups``; or ``"embedded"``, a ResNet-18 whose weights come with
            this package (see ``models/weights/README.md``). Without ``groups`` the maps of a
            transformer of patch size 16 after its first three blocks are resized to these strides
            (bilinear), as in runs made before there were groups.
        weights: ``"timm"`` for timm's pretrained weights (downloaded on first use), ``"random"``
            for none, or the path of a local safetensors or .pth file with timm's or torchvision's
            keys. The embedded encoder takes ``"timm"``, for its own weights, or ``"random"``.
        strides: those of the maps.
        groups: for a plain vision transformer of any patch size, instead of ``strides``: a map of
            each group of blocks, all on the grid of its patches; see
            :class:`mambaad.models.token_grid.TokenGrid`. ``"auto"``:
            :func:`mambaad.models.token_grid.middle_halves`.
        recentre: with ``groups``, see :class:`mambaad.models.token_grid.TokenGrid`.

    Attributes:
        channels: c_i of each map.
        strides: s_i of each map.
        multiple: what the sides of images must be multiples of.

    Raises:
        ConfigError: an unknown architecture, one without such maps, or weights that do not fit.
    """

    channels: tuple[int, ...]

    def __init__(
        self,
        name: str = "resnet34",
        weights: str | Path = "timm",
        strides: tuple[int, ...] = STRIDES,
        groups: Groups | None = None,
        recentre: bool = False,
    ) -> None:
        super().__init__()
        if name == EMBEDDED:
            name, weights = EMBEDDED_ARCHITECTURE, _embedded_weights(weights)
        known, depth = _maps_of(name)
        pretrained = str(weights) == "timm"
        self.backbone: nn.Module
        if groups is None:
            self.backbone, self.channels, self._strides = _create_pyramid(
                name, known, strides, pretrained=pretrained
            )
            self.strides, self.multiple = strides, SIZE_MULTIPLE
        else:
            self.backbone = _create_grid(
                name,
                known,
                middle_halves(depth) if groups == "auto" else groups,
                depth,
                recentre,
                pretrained=pretrained,
            )
            self.channels = (self.backbone.channels,) * len(self.backbone.groups)
            self.strides = self._strides = (known[0],) * len(self.channels)
            self.multiple = known[0]
        if not _works_at_any_size(self.backbone, self.channels, self._strides, self.multiple):
            raise ConfigError(
                f"--encoder: '{name}' does not turn images of any size into maps of batch x "
                f"channels x height x width; {_ADVICE}"
            )
        if str(weights) not in ("timm", "random"):
            load_weights(self.backbone, name, Path(weights))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Encoder:
        """Stay in eval mode, whatever ``mode`` is."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, images: Float[torch.Tensor, "b 3 h w"]
    ) -> list[Float[torch.Tensor, "b _ _ _"]]:
        """Return a map for each stride s, b x c_i x h/s x w/s, channels last in memory.

        Args:
            images: RGB, normalised with ImageNet's mean and standard deviation; h and w multiples
                of ``multiple``.
        """
        maps = self.backbone(images.contiguous(memory_format=torch.channels_last))
        return [
            m if has == wanted else F.interpolate(m, scale_factor=has / wanted, mode="bilinear")
            for m, has, wanted in zip(maps, self._strides, self.strides, strict=True)
        ]


def _embedded_weights(given: str | Path) -> str | Path:
    if str(given) == "random":  # the weights of a finished run follow
        return given
    if str(given) != "timm":
        raise ConfigError(
            f"--encoder-weights: the embedded encoder has its own weights, got '{given}'; omit "
            f"it, or name an architecture with --encoder"
        )
    return _EMBEDDED_WEIGHTS


def _maps_of(name: str) -> tuple[list[int], int]:
    """The strides of the maps that timm gives of an architecture, and how many it could give."""
    if not timm.is_model(name.split(".")[0]):
        raise ConfigError(f"--encoder: timm has no architecture '{name}'; {_ADVICE}")
    try:
        with torch.device("meta"):  # only its feature_info is wanted yet
            model: Any = timm.create_model(name, features_only=True)
        return list(model.feature_info.reduction()), len(model.feature_info.info)
    except (RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"--encoder: timm cannot give feature maps of '{name}' ({reason}); {_ADVICE}"
        ) from error


def _create_pyramid(
    name: str, known: list[int], strides: tuple[int, ...], *, pretrained: bool
) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """Create a backbone with a map for each of ``strides``.

    Returns:
        The backbone, and its maps' channels and strides before any resizing.
    """
    if set(known) == {16} and name.startswith("vit_"):
        indices = tuple(range(len(strides)))
        more, own = {"dynamic_img_size": True}, (16,) * len(strides)
    elif set(strides) <= set(known):
        indices = tuple(known.index(s) for s in strides)
        more, own = {}, strides
    else:
        *some, last = map(str, strides)
        raise ConfigError(
            f"--encoder: expected feature maps at strides {', '.join(some)} and {last}, but those "
            f"of '{name}' are at {known}; {_ADVICE}"
        )
    backbone = _create(name, indices, pretrained=pretrained, **more)
    return backbone, tuple(backbone.feature_info.channels()), own


def _create_grid(
    name: str,
    known: list[int],
    groups: Sequence[Sequence[int]],
    depth: int,
    recentre: bool,
    *,
    pretrained: bool,
) -> TokenGrid:
    blocks = sorted({block for group in groups for block in group})
    if len(set(known)) > 1 or "patch" not in name:
        raise ConfigError(
            f"--encoder: encoder_groups needs a vision transformer with maps on one grid, but "
            f"those of '{name}' are at strides {known}; omit encoder_groups"
        )
    if blocks[-1] >= depth:
        raise ConfigError(
            f"encoder_groups (in the file of settings): '{name}' has the blocks 0 to "
            f"{depth - 1}, got {blocks[-1]}; give others"
        )
    model = _create(name, tuple(blocks), pretrained=pretrained, dynamic_img_size=True).model
    if recentre and getattr(model, "cls_token", None) is None:
        raise ConfigError(
            f"recentre (in the file of settings): '{name}' has no class token; omit it"
        )
    return TokenGrid(model, groups, recentre)


def _create(name: str, indices: tuple[int, ...], *, pretrained: bool, **more: bool) -> Any:
    create: Any = timm.create_model  # its type takes no arguments of the architecture's own
    try:
        with reached(name) if pretrained else contextlib.nullcontext():
            return create(
                name, features_only=True, out_indices=indices, pretrained=pretrained, **more
            )
    except Exception as error:  # the hub's client raises errors of many kinds
        reason = str(error) if isinstance(error, ConnectionError) else type(error).__name__
        raise ConfigError(
            f"--encoder-weights: timm's pretrained weights for '{name}' could not be loaded "
            f"({reason}); give a local file with --encoder-weights FILE, or use the encoder that "
            f"comes with mambaad with --encoder {EMBEDDED}"
        ) from error


@torch.no_grad()
def _works_at_any_size(
    backbone: nn.Module, channels: Sequence[int], strides: Sequence[int], multiple: int
) -> bool:
    height, width = 2 * multiple, 3 * multiple
    try:
        maps = backbone.eval()(torch.zeros(1, 3, height, width))
    except Exception:  # whatever an architecture made for other inputs raises
        return False
    expected = [(1, c, height // s, width // s) for c, s in zip(channels, strides, strict=True)]
    return [tuple(m.shape) for m in maps] == expected
