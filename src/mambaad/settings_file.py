"""A file of a training's settings (``--config``), and errors that name its lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mambaad.config import check_names, named
from mambaad.config_file import in_file, read_config_file
from mambaad.errors import ConfigError


def read_settings_file(path: Path) -> dict[str, Any]:
    """Read a file of settings whose names are known.

    Raises:
        ConfigError: no such file, or an unknown name, with its line.
    """
    settings = read_config_file(path)
    for name in settings:
        try:
            check_names([name])
        except ConfigError as error:
            raise in_file(path, [name], error) from None
    return settings


@contextmanager
def naming_line(path: Path | None, names: Iterable[str]) -> Iterator[None]:
    """Add to an error on one of these settings the file and the line that give it."""
    try:
        yield
    except ConfigError as error:
        for name in names if path else ():
            if re.match(rf"{re.escape(named(name))}(?![\w-])", str(error)):
                assert path is not None
                raise in_file(path, [name], error) from None
        raise
