"""Reading settings and plans from YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mambaad.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Takes names as they are written: of ``[01, no, 1e3]`` YAML would make numbers and False."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, value in node.value:
            if key.value in _NAMES and isinstance(value, yaml.SequenceNode):
                for item in value.value:
                    if isinstance(item, yaml.ScalarNode):
                        item.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


_NAMES = ("classes", "exclude")


def read_config_file(path: Path) -> dict[str, Any]:
    """Read settings from a YAML (or JSON) file, which :func:`mambaad.config.make_config` checks.

    Raises:
        ConfigError: no such file, or not a mapping.
    """
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--config: {path} cannot be read ({reason})") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(
            f"--config: {path} is not a mapping of settings; write lines such as 'epochs: 50'"
        )
    return settings
