"""Settings of a peer: a system of anomalib in a plan (:mod:`mambaad.workflows.benchmark.peers`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from mambaad.errors import ConfigError
from mambaad.setting_checks import Settings, problem_of
from mambaad.size import check_size, parse_size


class PeerSettings(Settings):
    """The settings of a peer.

    ``share``: share of all training patches that the memory bank holds. ``coreset``: their choice:
    at random from every image, or greedily as in the paper, which takes time quadratic in the
    number of patches.
    """

    peer: Literal["patchcore"]
    encoder: str = "wide_resnet50_2"
    encoder_weights: str = "timm"
    size: tuple[int, int] = (256, 256)
    share: float = Field(0.05, gt=0, le=1)
    coreset: Literal["random", "greedy"] = "random"
    seed: int = 42

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
    return settings
