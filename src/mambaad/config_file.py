"""Reading settings and plans from YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mambaad.errors import ConfigError


def read_config_file(path: Path) -> dict[str, Any]:
    """Read settings from a YAML (or JSON) file, which :func:`mambaad.config.make_config` checks.

    Raises:
        ConfigError: no such file, or not a mapping.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--config: {path} cannot be read ({reason})") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(
            f"--config: {path} is not a mapping of settings; write lines such as 'epochs: 50'"
        )
    return settings
