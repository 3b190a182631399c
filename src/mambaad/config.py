"""The settings of a training run; the command line's flags have the same names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from mambaad.errors import ConfigError
from mambaad.size import SIZE_MULTIPLE, check_size, parse_size
from mambaad.systems import SYSTEMS, system_class

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "fast": {
        "epochs": 6,
        "batch_size": 4,
        "loss": "cosine",
        "lr": 0.002,
        "beta2": 0.95,
        "schedule": "cosine",
        "drop_path": 0.0,
    },
}
"""What each recipe sets; the rest are the defaults of :class:`TrainConfig`."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "lite": {
        "depths": (1, 1, 1, 1),
        "directions": 4,
        "states": 8,
        "expand": 1,
        "kernels": (5,),
    },
}
"""What each variant of the decoder sets; ``base`` is the published one."""


FAST_LITE_EPOCHS = 10
"""Of the recipe ``fast`` with the variant ``lite``: it learns longer, in a sixth of the time."""


# A run's settings may come from anyone; none of them may take all memory.
_MOST_BLOCKS = 64
_LARGEST_KERNEL = 63

_OF_MAMBAAD = ("variant", "scan", "directions", "states", "expand", "depths", "kernels", "blocks")


class TrainConfig(BaseModel):
    """One run's settings; the defaults are the released ones, but for 100 epochs.

    Those are of the authors' later benchmark; 500 are in the paper, 1000 in the released
    configuration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str = Field("mambaad", description="one of mambaad.systems.SYSTEMS")
    recipe: Literal["paper", "fast"] = Field(
        "paper", description="what the settings that are not given default to, see RECIPES"
    )

    variant: Literal["base", "lite"] = Field(
        "base", description="size of the decoder: what its settings default to, see VARIANTS"
    )

    encoder: str = Field(
        "resnet34", description="timm architecture, or 'embedded': the one that comes with mambaad"
    )
    encoder_weights: str = Field(
        "timm",
        description="'timm' (its own download), 'random', or a local file; not of 'embedded'",
    )
    size: tuple[int, int] = Field((256, 256), description="height and width, multiples of 32")
    scan: Literal["sweep", "scan", "zorder", "zigzag", "hilbert"] = "hilbert"
    directions: Literal[1, 2, 4, 8] = 8
    states: int = Field(16, ge=1, le=256)
    expand: int = Field(2, ge=1, le=8)
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    kernels: tuple[int, ...] = Field((5, 7), description="of the local branches, odd; or none")
    blocks: int | None = Field(
        None, ge=1, description="HSS blocks of an LSS module; without it 3, 2 or 1, see the decoder"
    )
    drop_path: float = Field(
        0.2, ge=0, lt=1, description="largest rate at which a block is left out while training"
    )
    layout: str | None = Field(
        None, description="of the data set, see docs/datasets.md; recognised if not given"
    )
    classes: tuple[str, ...] | None = None
    holdout: float = Field(
        0.0, ge=0, le=0.9, description="share of the good parts kept out, to calibrate on"
    )
    fold: tuple[int, int] | None = Field(
        None, description="k, K: instead, the k-th of K equal parts; cross-fitting sets it"
    )
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(16, ge=1, description="over all devices together")
    loss: Literal["squared-error", "cosine"] = "squared-error"
    lr: float = Field(0.005, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's memory of gradients")
    beta2: float = Field(0.999, ge=0, lt=1, description="AdamW's memory of squared gradients")
    schedule: Literal["step", "cosine"] = Field(
        "step", description="lr / 10 after lr_drop_after, or a short warm-up and half a cosine to 0"
    )
    lr_drop_after: float = Field(
        0.8, ge=0, le=1, description="share of the epochs after which lr is divided by 10"
    )
    clip_grad: float = Field(5.0, gt=0, description="largest norm of a step's gradient")
    seed: int = Field(42, ge=0, lt=2**32)
    devices: int = Field(1, ge=1)
    cache_features: Literal["auto", "memory", "disk", "off"] = Field(
        "auto", description="where the encoder's maps are kept between epochs (one device)"
    )
    cache_images: Literal["auto", "memory", "disk", "off"] = Field(
        "auto", description="where resized images are kept between epochs, if features are not"
    )
    compile: Literal["off", "default", "cuda-graphs"] = Field(
        "off", description="whether torch.compile makes the network's code; see models/compiled.py"
    )
    logger: Literal["none", "tensorboard", "mlflow"] = "none"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, given: Any) -> Any:
        # Unknown names are refused by their fields.
        recipe, variant = str(given.get("recipe", "paper")), str(given.get("variant", "base"))
        system = str(given.get("system", "mambaad"))
        if system not in SYSTEMS:
            raise ValueError(f"--system: expected one of {', '.join(SYSTEMS)}, got '{system}'")
        # MambaAD's are those below; the other classes take seconds to import.
        known = system_class(system) if system != "mambaad" else None
        defaults = known.defaults if known else {}
        together = {"epochs": FAST_LITE_EPOCHS} if (recipe, variant) == ("fast", "lite") else {}
        named = {**RECIPES.get(recipe, {}), **VARIANTS.get(variant, {}), **together}
        if known and known.own_loss:
            named["loss"] = known.own_loss
            if given.get("loss", known.own_loss) != known.own_loss:
                raise ValueError(
                    f"--loss: {system} is trained with {known.own_loss} only; leave "
                    f"{given['loss']} out"
                )
        return {**defaults, **named, **given}

    @field_validator("size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        return parse_size(str(value)) if isinstance(value, (str, int)) else value

    @model_validator(mode="after")
    def _check_together(self) -> TrainConfig:
        check_size(self.size)
        if self.encoder == "embedded" and self.encoder_weights != "timm":
            raise ValueError(
                f"--encoder-weights: the embedded encoder has its own; leave "
                f"{self.encoder_weights} out, or name its architecture with --encoder"
            )
        if self.system != "mambaad":
            if self.drop_path not in (0.0, TrainConfig.model_fields["drop_path"].default):
                raise ValueError(
                    f"--drop-path is MambaAD's; leave it out with --system {self.system}"
                )
            for name in _OF_MAMBAAD:
                if getattr(self, name) != TrainConfig.model_fields[name].default:
                    raise ValueError(
                        f"--{name} is MambaAD's; leave it out with --system {self.system}"
                    )
        if self.fold and not (self.fold[1] >= 2 and 1 <= self.fold[0] <= self.fold[1]):
            raise ValueError(f"--fold: {self.fold} is not k, K with 1 <= k <= K and K of 2 or more")
        if self.fold and self.holdout:
            raise ValueError("--holdout and --fold exclude each other; leave one of them out")
        if self.blocks and any(depth % self.blocks for depth in self.depths):
            raise ValueError(
                f"--blocks: {self.blocks} does not divide all of --depths {self.depths}; give "
                "1, or other depths"
            )
        if max(self.depths) > _MOST_BLOCKS or len(self.kernels) > _MOST_BLOCKS:
            raise ValueError(
                f"--depths, --kernels: {self.depths} and {self.kernels} are more than a model can "
                f"have; give at most {_MOST_BLOCKS} a stage"
            )
        if max(self.kernels, default=1) > _LARGEST_KERNEL:
            raise ValueError(
                f"--kernels: {max(self.kernels)} is too large; give at most {_LARGEST_KERNEL}"
            )
        if min(self.depths) < 1:
            raise ValueError(f"--depths: {self.depths} has a stage without blocks; give 1 or more")
        if any(kernel < 1 or kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"--kernels: {self.kernels} are not all odd; give 3, 5, 7, ...")
        if self.batch_size % self.devices:
            raise ValueError(
                f"--batch-size {self.batch_size} cannot be dealt out to --devices {self.devices}; "
                "give a multiple"
            )
        if self.batch_size * self.size[0] * self.size[1] <= SIZE_MULTIPLE**2:
            raise ValueError(
                "--batch-size 1 with --size 32 leaves batch normalisation a single value; raise one"
            )
        return self


def make_config(settings: Mapping[str, Any]) -> TrainConfig:
    """Check settings and fill in the defaults.

    Raises:
        ConfigError: one line that names the flag, what was expected and what came.
    """
    try:
        return TrainConfig(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if message.startswith("--"):  # a check of our own
            raise ConfigError(message) from None
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        if first["loc"] == ("depths", 3) or first["type"] == "too_long":
            raise ConfigError(f"{flag}: expected four numbers, got {settings['depths']}") from None
        if first["type"] == "extra_forbidden":
            known = ", ".join(TrainConfig.model_fields)
            raise ConfigError(f"there is no setting '{first['loc'][0]}'; known: {known}") from None
        given = first["input"]
        raise ConfigError(f"{flag}: {message[0].lower()}{message[1:]}, got {given!r}") from None


def read_config_file(path: Path) -> dict[str, Any]:
    """Read settings from a YAML (or JSON) file; they are checked by :func:`make_config`.

    Raises:
        ConfigError: no such file, or not a mapping.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--config: {path} cannot be read ({reason})") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(f"--config: {path} is not a mapping of settings; write 'epochs: 50'")
    return settings


def config_json(config: TrainConfig) -> str:
    """The configuration as JSON text."""
    return json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
