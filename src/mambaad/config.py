"""The settings of a training run; the command line's flags have the same names.

Settings without a flag are given in a file (``--config``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from mambaad.documents import did_you_mean, shortened
from mambaad.errors import ConfigError
from mambaad.recipes import (
    FAST_LITE_EPOCHS,
    RECIPES,
    SYSTEMS,
    UNUSED_BY_MIXER,
    VARIANTS,
    encoder_defaults,
    patch_size,
)
from mambaad.setting_checks import TileSettings, are_blocks, check_stages, parse_range, problem_of
from mambaad.size import SIZE_MULTIPLE, check_size, parse_size
from mambaad.types import MAX_PIXELS, Reading

_MOST_GROUPS = 4  # a stage of the decoder for each

_WITH_FLAG = (
    *("classes", "layout", "system", "recipe", "variant", "encoder", "encoder_weights", "size"),
    *("mixer", "scan", "directions", "head", "epochs", "batch_size", "lr", "holdout", "seed"),
    *("devices", "precision", "cache_features", "cache_images", "compile", "logger"),
    *("exclude", "trim", "bit_depth", "float_range", "max_pixels", "tiles"),
)
"""The settings that mambaad train has a flag for; the others are given in a file (--config)."""

_UNIAD_ONLY = ("dropout", "normalise_features")
_OF_A_GRID = ("recentre", "decoder_width")
_MAMBAAD_ONLY = (
    *("variant", "mixer", "scan", "directions", "states", "expand", "depths", "kernels", "blocks"),
    *("noisy_bottleneck", "head", "head_steps", "encoder_groups", *_OF_A_GRID),
)


def named(setting: str) -> str:
    """Return a setting's name as a user gives it: its flag, or its name in the file."""
    if setting in _WITH_FLAG:
        return "--" + setting.replace("_", "-")
    return f"{setting} (in the file of settings)"


class TrainConfig(TileSettings):
    """The settings of one run; the defaults are those of the released code, except for ``epochs``.

    Its 100 epochs are those of the authors' later benchmark; the paper has 500, the released
    configuration 1000.
    """

    system: str = Field("mambaad", description="the system to train: mambaad, rd4ad or uniad")
    recipe: Literal["paper", "fast"] = Field(
        "paper", description="defaults of the settings that are not given, see RECIPES"
    )
    variant: Literal["base", "lite"] = Field(
        "base", description="size of the decoder: the defaults of its settings, see VARIANTS"
    )
    encoder: str = Field(
        "resnet34", description="timm architecture, or 'embedded', the encoder shipped with mambaad"
    )
    encoder_weights: str = Field(
        "timm",
        description="'timm' (downloaded by timm), 'random', or a local file; omit for 'embedded'",
    )
    encoder_groups: tuple[tuple[int, ...], ...] | Literal["auto"] | None = Field(
        None,
        description="blocks of a vision transformer (from 0) whose mean is a map, for each map; "
        "'auto', its default: the middle two thirds in two groups",
    )
    recentre: bool = Field(
        False, description="subtract a block's class token from its patch tokens (encoder_groups)"
    )
    size: tuple[int, int] = Field(
        (256, 256), description="image height and width, multiples of 32, or of the patch size"
    )
    mixer: Literal["s6", "vssd", "ssd"] = Field(
        "s6",
        description="state-space block of the decoder: selective scans, one state for all cells, "
        "or chunked scans of matrix products in two directions",
    )
    scan: Literal["sweep", "scan", "zorder", "zigzag", "hilbert"] = Field(
        "hilbert", description="order in which the selective scan visits the cells of a map"
    )
    directions: Literal[1, 2, 4, 8] = Field(8, description="scan directions")
    states: int = Field(16, ge=1, le=256, description="size of each channel's state (N)")
    expand: int = Field(2, ge=1, le=8, description="inner width, as a multiple of the channels")
    depths: tuple[int, int, int, int] = Field(
        (3, 4, 6, 3), description="HSS blocks of the decoder's stages, coarse to fine"
    )
    kernels: tuple[int, ...] = Field(
        (5, 7), description="kernel sizes of the local branches, odd; empty for no branches"
    )
    blocks: int | None = Field(
        None, ge=1, description="HSS blocks in each LSS module; by default 3, 2 or 1 by depth"
    )
    decoder_width: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="channels of the decoder on one grid; by default the encoder's, at most 384",
    )
    drop_path: float = Field(
        0.2, ge=0, lt=1, description="largest probability of skipping an HSS block while training"
    )
    noisy_bottleneck: float = Field(
        0.0, ge=0, lt=1, description="dropout on the fused map while training"
    )
    head: Literal["off", "residual"] = Field(
        "off", description="a head that finds defects in the residuals, trained on synthetic ones"
    )
    head_steps: int = Field(
        300, ge=1, le=10**6, description="steps of the head's training, 8 images each"
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="UniAD's share of values that are zeroed while training"
    )
    normalise_features: bool = Field(
        False, description="give UniAD's encoder maps whose cells all have the same length"
    )
    layout: str | None = Field(
        None,
        description="layout of the data set, as mambaad data check names them; by default detected",
    )
    classes: tuple[str, ...] | None = Field(None, description="classes to train on; default: all")
    bit_depth: Literal["auto", 8, 10, 12, 14, 16] = Field(
        "auto",
        description="bits in use of images stored with 16; 'auto' decides by their values, and a "
        "run then has what was decided, or still 'auto' where there were no such images",
    )
    float_range: tuple[float, float] | None = Field(
        None, description="values of black and white in images of floats; without it none is read"
    )
    max_pixels: int = Field(
        MAX_PIXELS,
        ge=1,
        le=2**40,
        description="images with more pixels are refused, as unsafe to decode",
    )
    exclude: tuple[str, ...] | None = Field(
        None, description="training images to leave out, by their paths relative to the data set"
    )
    holdout: float = Field(
        0.0, ge=0, le=0.9, description="share of the good parts held out for calibration"
    )
    fold: tuple[int, int] | None = Field(
        None, description="k, K: hold out the k-th of K equal parts instead; set by cross-fitting"
    )
    epochs: int = Field(100, ge=1, le=10**6, description="passes over the training images")
    batch_size: int = Field(16, ge=1, le=2**16, description="images of a step, over all devices")
    loss: Literal["squared-error", "cosine"] = Field(
        "squared-error", description="distance of the rebuilt maps from the encoder's"
    )
    loose_loss: Literal["off", "quantile", "soft"] = Field(
        "off", description="scale down the gradients of cells that are rebuilt well already"
    )
    trim: float = Field(
        0.0, ge=0, lt=0.5, description="share of the positions, those rebuilt worst, not to learn"
    )
    lr: float = Field(0.005, gt=0, description="learning rate at the start")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's weight decay")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's decay of the mean gradient")
    beta2: float = Field(
        0.999, ge=0, lt=1, description="AdamW's decay of the mean squared gradient"
    )
    schedule: Literal["step", "cosine"] = Field(
        "step", description="lr / 10 after lr_drop_after, or a short warm-up and half a cosine to 0"
    )
    lr_drop_after: float = Field(
        0.8, ge=0, le=1, description="share of the epochs after which lr is divided by 10"
    )
    clip_grad: float = Field(
        5.0, gt=0, description="largest norm of the gradient; larger ones are scaled down"
    )
    seed: int = Field(42, ge=0, lt=2**32, description="seed of everything random")
    devices: int = Field(1, ge=1, le=1024, description="number of processes or GPUs")
    cache_features: Literal["auto", "device", "memory", "disk", "off"] = Field(
        "auto", description="where to keep the encoder's maps between epochs (one device only)"
    )
    cache_images: Literal["auto", "memory", "disk", "off"] = Field(
        "auto",
        description="where to keep resized images between epochs, where features are not kept",
    )
    compile: Literal["auto", "off", "default", "cuda-graphs"] = Field(
        "auto",
        description="compile the network with torch.compile: auto does, with CUDA graphs, on a GPU",
    )
    logger: Literal["none", "tensorboard", "mlflow"] = Field(
        "none", description="where the curves of the training go"
    )
    precision: Literal["32-true", "bf16-mixed"] = Field(
        "32-true", description="number format of the training"
    )

    @property
    def reading(self) -> Reading:
        """How the data set's pixels are read."""
        depth = None if self.bit_depth == "auto" else self.bit_depth
        return Reading(depth, self.float_range, self.max_pixels)

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, given: Any) -> Any:
        # Unknown names are refused by their fields.
        recipe, variant = str(given.get("recipe", "paper")), str(given.get("variant", "base"))
        system = str(given.get("system", "mambaad"))
        if system not in SYSTEMS:
            known = ", ".join(SYSTEMS)
            raise ValueError(f"--system: expected one of {known}, got '{shortened(system)}'")
        defaults, only_loss = SYSTEMS[system].settings, SYSTEMS[system].only_loss
        of_recipe = SYSTEMS[system].fast if recipe == "fast" else {}
        together = {"epochs": FAST_LITE_EPOCHS} if (recipe, variant) == ("fast", "lite") else {}
        chosen = {**RECIPES.get(recipe, {}), **VARIANTS.get(variant, {}), **together}
        if system != "mambaad":
            chosen.pop("head", None)
        if only_loss:
            chosen["loss"] = only_loss
            if given.get("loss", only_loss) != only_loss:
                raise ValueError(
                    f"{named('loss')}: {system} can be trained with {only_loss} only, got "
                    f"'{shortened(given['loss'])}'; omit it"
                )
        encoder = str(given.get("encoder", "")) if system == "mambaad" else ""
        of_encoder = encoder_defaults(encoder)
        of_tiles = cls.size_of_tiles(given.get("tiles"))
        return {**defaults, **of_encoder, **chosen, **of_recipe, **of_tiles, **given}

    @field_validator("head", "loose_loss", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return "off" if value is False else value  # as YAML reads the word

    @field_validator("encoder_weights", mode="before")
    @classmethod
    def _encoder_weights(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @field_validator("exclude")
    @classmethod
    def _exclude(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        # The same set is the same setting: a run that is resumed compares them.
        return tuple(sorted({PurePosixPath(name).as_posix() for name in value or ()})) or None

    @field_validator("size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        return parse_size(str(value)) if isinstance(value, (str, int)) else value

    @field_validator("bit_depth", mode="before")
    @classmethod
    def _bit_depth(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("float_range", mode="before")
    @classmethod
    def _float_range(cls, value: Any) -> Any:
        return None if value is None else parse_range(value)

    @field_validator("encoder_groups", mode="before")
    @classmethod
    def _encoder_groups(cls, value: Any) -> Any:
        if value in (None, "auto"):
            return value
        groups = value if isinstance(value, (list, tuple)) else ()
        if not 1 <= len(groups) <= _MOST_GROUPS or not all(map(are_blocks, groups)):
            raise ValueError(
                f"{named('encoder_groups')}: expected auto, or 1 to {_MOST_GROUPS} lists of "
                f"blocks, such as [[2, 3, 4, 5], [6, 7, 8, 9]], got {shortened(repr(value))}"
            )
        return value

    @model_validator(mode="after")
    def _check_together(self) -> TrainConfig:
        patch = patch_size(self.encoder) if self.encoder_groups else None
        check_size(self.size, patch or SIZE_MULTIPLE)
        self.check_tiled(self.size, patch, self.devices)
        if self.encoder == "embedded" and self.encoder_weights != "timm":
            raise ValueError(
                f"--encoder-weights: the embedded encoder has its own weights, got "
                f"'{self.encoder_weights}'; omit it, or name an architecture with --encoder"
            )
        if self.system != "mambaad":
            if self.drop_path not in (0.0, TrainConfig.model_fields["drop_path"].default):
                name = named("drop_path")
                raise ValueError(
                    f"{name} applies to MambaAD only; omit it with --system {self.system}"
                )
            for name in _MAMBAAD_ONLY:
                if getattr(self, name) != TrainConfig.model_fields[name].default:
                    raise ValueError(
                        f"{named(name)} applies to MambaAD only; omit it with --system "
                        f"{self.system}"
                    )
        if self.encoder_groups and not patch:
            raise ValueError(
                f"{named('encoder_groups')}: expected a vision transformer whose name has its "
                f"patch size, such as vit_small_patch16_dinov3, got '{self.encoder}'; omit it"
            )
        for name in _OF_A_GRID if self.encoder_groups is None else ():
            if getattr(self, name) != TrainConfig.model_fields[name].default:
                raise ValueError(
                    f"{named(name)} applies to a vision transformer's groups of blocks; give "
                    "encoder_groups: auto too, or omit it"
                )
        if self.head == "off" and self.head_steps != TrainConfig.model_fields["head_steps"].default:
            raise ValueError(
                f"{named('head_steps')} applies to a residual head; give --head residual, or omit "
                "it"
            )
        if self.system != "uniad":
            for name in _UNIAD_ONLY:
                if getattr(self, name) != TrainConfig.model_fields[name].default:
                    raise ValueError(f"{named(name)} applies to UniAD only; omit it")
        for name in UNUSED_BY_MIXER[self.mixer]:
            defaults = {TrainConfig.model_fields[name].default}
            defaults |= {variant[name] for variant in VARIANTS.values() if name in variant}
            if getattr(self, name) not in defaults:
                raise ValueError(
                    f"{named(name)}: the mixer {self.mixer} has no use for it, got "
                    f"{getattr(self, name)}; omit it, or --mixer {self.mixer}"
                )
        if self.fold and not (self.fold[1] >= 2 and 1 <= self.fold[0] <= self.fold[1]):
            raise ValueError(
                f"{named('fold')}: expected k, K with K >= 2 and 1 <= k <= K, got {self.fold}"
            )
        if self.fold and self.holdout:
            raise ValueError(
                f"--holdout and {named('fold')} cannot be used together; omit one of them"
            )
        check_stages(self.depths, self.kernels, self.blocks, named)
        if self.batch_size % self.devices:
            raise ValueError(
                f"--batch-size {self.batch_size} is not a multiple of --devices {self.devices}; "
                "change one of them"
            )
        pixels = self.batch_size * self.size[0] * self.size[1]
        if self.encoder_groups is None and pixels <= SIZE_MULTIPLE**2:
            raise ValueError(
                "--batch-size 1 with --size 32 gives batch normalisation a single value a channel; "
                "increase one of them"
            )
        return self


_INTERNAL = ("fold",)
SETTINGS = tuple(name for name in TrainConfig.model_fields if name not in _INTERNAL)
"""The settings that a user may give, on the command line, in a file or to ``mambaad.train``."""


def make_config(settings: Mapping[str, Any]) -> TrainConfig:
    """Check settings and fill in the defaults.

    Raises:
        ConfigError: one line with the setting, what was expected and what was given.
    """
    try:
        return TrainConfig(**settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        _, problem = problem_of(error)
        if first["type"] == "value_error":  # a check of our own names the setting itself
            raise ConfigError(problem) from None
        setting = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise _unknown_setting(setting) from None
        if count := _COUNTS.get(setting) if first["type"] in ("missing", "too_long") else None:
            problem = f"expected {count} numbers, got {shortened(settings[setting])}"
        raise ConfigError(f"{named(setting)}: {problem}") from None


_COUNTS = {"depths": "four", "size": "two", "fold": "two", "tiles": "two"}


def check_names(settings: Iterable[str]) -> None:
    """Refuse a name that is not in :data:`SETTINGS` (ConfigError)."""
    for name in settings:
        if name not in SETTINGS:
            raise _unknown_setting(name)


def _unknown_setting(name: str) -> ConfigError:
    if name in ("data", "out", "resume", "skip_unreadable", "device"):
        return ConfigError(f"{name} is no setting, but an argument of the command; give it there")
    near = did_you_mean(name, SETTINGS) or f"; known: {', '.join(SETTINGS)}"
    return ConfigError(f"there is no setting '{shortened(name)}'{near}")


def config_json(config: TrainConfig) -> str:
    """Write a configuration as JSON text, which :class:`TrainConfig` reads back."""
    return json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
