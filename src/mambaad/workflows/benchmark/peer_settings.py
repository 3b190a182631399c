"""Settings of a peer: a system of anomalib in a plan (:mod:`mambaad.workflows.benchmark.peers`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from mambaad.config import TrainConfig, make_config
from mambaad.errors import ConfigError
from mambaad.setting_checks import Settings, problem_of
from mambaad.size import check_size, parse_size

OF_DATA = ("bit_depth", "float_range", "max_pixels", "exclude")
"""Settings of how a data set is read, which are the same for every system."""


class PeerSettings(Settings):
    """The settings of a peer.

    ``share``: share of all training patches that the memory bank holds. ``coreset``: their choice:
    at random from every image, or greedily as in the paper, which takes time quadratic in the
    number of patches. ``bit_depth``, ``float_range``, ``max_pixels`` and ``exclude`` are those of
    :class:`mambaad.config.TrainConfig`.
    """

    peer: Literal["patchcore"]
    encoder: str = "wide_resnet50_2"
    encoder_weights: str = "timm"
    size: tuple[int, int] = (256, 256)
    share: float = Field(0.05, gt=0, le=1)
    coreset: Literal["random", "greedy"] = "random"
    seed: int = 42
    bit_depth: Any = None
    float_range: Any = None
    max_pixels: Any = None
    exclude: Any = None

    @property
    def of_data(self) -> TrainConfig:
        """The settings of how the data set is read, checked (ConfigError), with their defaults."""
        given = {name: getattr(self, name) for name in OF_DATA}
        return make_config({name: value for name, value in given.items() if value is not None})

    @field_validator("size", mode="before")
    @classmethod
    def _parse_size(cls, value: Any) -> Any:
        return parse_size(str(value)) if isinstance(value, (str, int)) else value


def peer_settings(given: dict[str, Any]) -> PeerSettings:
    """Check the settings of a peer.

    Raises:
        ConfigError: an unknown setting, or a wrong value.
    """
    try:
        settings = PeerSettings(**given)
    except ValidationError as error:
        raise ConfigError(": ".join(problem_of(error))) from None
    check_size(settings.size)
    settings.of_data  # noqa: B018  # raises
    return settings
