"""The frozen encoder: a timm backbone's feature maps, at strides 4, 8 and 16."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from mambaad.errors import ConfigError

STRIDES = (4, 8, 16)

EMBEDDED = "embedded"
EMBEDDED_ARCHITECTURE = "resnet18"
"""The encoder whose weights come with this package: its name, and its timm architecture."""

_EMBEDDED_WEIGHTS = Path(__file__).parent / "weights" / "embedded_resnet18.safetensors"


class Encoder(nn.Module):
    """A timm backbone that is never trained and returns its feature maps.

    Its parameters take no gradient and it stays in eval mode, whatever mode is set, so that batch
    normalisation uses the statistics of its pre-training.

    Args:
        name: a timm architecture with feature maps at strides 4, 8 and 16; or a plain vision
            transformer of patch size 16, whose maps after a third, two thirds and all of its
            blocks are resized to these strides (bilinear: a feature pyramid without weights); or
            ``"embedded"``, a ResNet-18 whose weights come with this package (see
            ``models/weights/README.md``).
        weights: ``"timm"`` for timm's pretrained weights (downloaded on first use), ``"random"``
            for none, or the path of a local safetensors or .pth file with timm's or torchvision's
            keys. The embedded encoder takes ``"timm"``, for its own weights, or ``"random"``.
        strides: those of the maps.

    Attributes:
        channels: c_i of each map.

    Raises:
        ConfigError: an unknown architecture, one without such maps, or weights that do not fit.
    """

    channels: tuple[int, ...]

    def __init__(
        self,
        name: str = "resnet34",
        weights: str | Path = "timm",
        strides: tuple[int, ...] = STRIDES,
    ) -> None:
        super().__init__()
        if name == EMBEDDED:
            name, weights = EMBEDDED_ARCHITECTURE, _embedded_weights(weights)
        self.backbone, self.channels, self._strides = _create(
            name, strides, pretrained=str(weights) == "timm"
        )
        self.strides = strides
        if str(weights) not in ("timm", "random"):
            _load_weights(self.backbone, name, Path(weights))
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
                of 32.
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


def _create(
    name: str, strides: tuple[int, ...], *, pretrained: bool
) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """Create a backbone with a map for each of ``strides``.

    Returns:
        The backbone, and its maps' channels and strides before any resizing.
    """
    create: Any = timm.create_model  # feature_info is not in its type
    advice = "try resnet34, resnet18, resnet50, wide_resnet50_2 or tf_efficientnet_b4"
    if not timm.is_model(name.split(".")[0]):
        raise ConfigError(f"--encoder: timm has no architecture '{name}'; {advice}")
    try:
        with torch.device("meta"):  # only its feature_info is wanted yet
            known = create(name, features_only=True).feature_info.reduction()
    except (RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"--encoder: timm cannot give feature maps of '{name}' ({reason}); {advice}"
        ) from error
    is_transformer = set(known) == {16} and name.startswith("vit_")
    if is_transformer:
        count = len(strides)
        indices = tuple(len(known) * (i + 1) // count - 1 for i in range(count))
        more, own = {"dynamic_img_size": True}, (16,) * count
    elif set(strides) <= set(known):
        indices = tuple(known.index(s) for s in strides)
        more, own = {}, strides
    else:
        *some, last = map(str, strides)
        raise ConfigError(
            f"--encoder: expected feature maps at strides {', '.join(some)} and {last}, but those "
            f"of '{name}' are at {known}; {advice}"
        )
    try:
        backbone = create(
            name, features_only=True, out_indices=indices, pretrained=pretrained, **more
        )
    except Exception as error:  # the hub's client raises errors of many kinds
        raise ConfigError(
            f"--encoder-weights: timm's pretrained weights for '{name}' could not be loaded "
            f"({type(error).__name__}); give a local file with --encoder-weights FILE, or use the "
            f"encoder that comes with mambaad with --encoder {EMBEDDED}"
        ) from error
    channels = tuple(backbone.feature_info.channels())
    if not _works_at_any_size(backbone, channels, own):
        raise ConfigError(
            f"--encoder: '{name}' does not turn images of any size into maps of batch x channels "
            f"x height x width; {advice}"
        )
    return backbone, channels, own


@torch.no_grad()
def _works_at_any_size(
    backbone: nn.Module, channels: Sequence[int], strides: Sequence[int]
) -> bool:
    try:
        maps = backbone.eval()(torch.zeros(1, 3, 64, 96))
    except Exception:  # whatever an architecture made for other inputs raises
        return False
    expected = [(1, c, 64 // s, 96 // s) for c, s in zip(channels, strides, strict=True)]
    return [tuple(m.shape) for m in maps] == expected


def _load_weights(backbone: nn.Module, name: str, path: Path) -> None:
    state = read_state_dict(path, flag="--encoder-weights")
    wanted = backbone.state_dict()
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    missing = [key for key in wanted if key not in state and key not in counters]
    if missing:
        raise ConfigError(
            f"--encoder-weights: {path} lacks {len(missing)} of the {len(wanted)} tensors of "
            f"{name} (first: {missing[0]}); give weights of that architecture"
        )
    for key, tensor in wanted.items():
        if key in state and state[key].shape != tensor.shape:
            raise ConfigError(
                f"--encoder-weights: {path} has {key} of shape {tuple(state[key].shape)}, "
                f"{name} expects {tuple(tensor.shape)}; give weights of that architecture"
            )
    # A file of the whole classifier holds more stages than are used: those are skipped.
    backbone.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)


def read_state_dict(path: Path, flag: str) -> dict[str, torch.Tensor]:
    """Read tensors by name from a safetensors file, or from a .pth file without unpickling code.

    Raises:
        ConfigError: the file is absent, unreadable or holds anything but tensors.
    """
    if not path.is_file():
        raise ConfigError(f"{flag}: there is no file {path}; check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below says it in one line
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a damaged file leads it to
        raise ConfigError(
            f"{flag}: {path} is neither a safetensors file nor a .pth file of plain tensors "
            f"({type(error).__name__}); convert it to one of them"
        ) from error
    while isinstance(state, dict):
        inner = next((state[k] for k in ("state_dict", "model", "net") if k in state), None)
        if not isinstance(inner, dict):
            break
        state = inner
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise ConfigError(f"{flag}: {path} does not hold tensors by name; save a state_dict")
    return state
