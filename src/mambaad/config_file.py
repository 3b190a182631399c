"""Reading settings and plans from YAML files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mambaad.documents import DocumentError, line_of, read_yaml
from mambaad.errors import ConfigError

_NAMES = ("classes", "exclude", "layout")
"""Settings that hold names, which are text however they are written."""


def read_config_file(path: Path, argument: str = "--config") -> dict[str, Any]:
    """Read settings from a YAML (or JSON) file, which :func:`mambaad.config.make_config` checks.

    Args:
        path: the file.
        argument: by which it was given, for messages.

    Raises:
        ConfigError: no such file, or not a mapping.
    """
    try:
        settings = read_yaml(path, names=_NAMES)
    except DocumentError as error:
        raise ConfigError(f"{argument}: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(
            f"{argument}: {path} is not a mapping of settings; write lines such as 'epochs: 50'"
        )
    return settings


def in_file(path: Path, keys: Sequence[str | int], problem: object) -> ConfigError:
    """Make an error of a problem with a value in a file: the file, the line, the problem.

    Args:
        path: the file.
        keys: lead to the value, see :func:`mambaad.documents.line_of`.
        problem: one line.
    """
    line = line_of(path, keys)
    where = f"{path}, line {line}" if line else str(path)
    return ConfigError(f"{where}: {problem}")
