"""Reading settings and plans from YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mambaad.errors import ConfigError


def check_keys(node: yaml.MappingNode) -> None:
    """Refuse a key that is given twice, of which YAML takes the last (a YAMLError)."""
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key.value}' is given twice; keep one", key.start_mark
                )
            seen.add(key.value)


class _Loader(yaml.SafeLoader):
    """Takes names as they are written: of ``[01, no, 1e3]`` YAML would make numbers and False.

    Refuses a key that is given twice.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        check_keys(node)
        for key, value in node.value:
            if key.value in _NAMES and not isinstance(value, yaml.ScalarNode):
                _take_as_text(value)
        return super().construct_mapping(node, deep)


_NAMES = ("classes", "exclude", "layout")


def _take_as_text(node: yaml.Node) -> None:
    """Make every value below a node text, as it is written."""
    if isinstance(node, yaml.ScalarNode):
        node.tag = "tag:yaml.org,2002:str"
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _take_as_text(item)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            _take_as_text(value)


def read_config_file(path: Path) -> dict[str, Any]:
    """Read settings from a YAML (or JSON) file, which :func:`mambaad.config.make_config` checks.

    Raises:
        ConfigError: no such file, or not a mapping.
    """
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--config: {path} cannot be read ({reason})") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(
            f"--config: {path} is not a mapping of settings; write lines such as 'epochs: 50'"
        )
    return settings
