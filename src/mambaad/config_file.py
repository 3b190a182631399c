"""Reading settings and plans from YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mambaad.documents import DocumentError, read_yaml
from mambaad.errors import ConfigError

_NAMES = ("classes", "exclude", "layout")
"""Settings that hold names, which are text however they are written."""


def read_config_file(path: Path) -> dict[str, Any]:
    """Read settings from a YAML (or JSON) file, which :func:`mambaad.config.make_config` checks.

    Raises:
        ConfigError: no such file, or not a mapping.
    """
    try:
        settings = read_yaml(path, names=_NAMES)
    except DocumentError as error:
        raise ConfigError(f"--config: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(
            f"--config: {path} is not a mapping of settings; write lines such as 'epochs: 50'"
        )
    return settings
