"""Named tensors in safetensors files, as NumPy arrays, with JSON metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mambaad.errors import RunError
from mambaad.files import written_whole

_UNREADABLE = (SafetensorError, OSError, ValueError, TypeError, RecursionError)


def save_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any] | None = None
) -> None:
    """Write named tensors and JSON metadata, whole or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    with written_whole(path) as temporary:
        try:
            save_file(contiguous, temporary, {"about": json.dumps(about or {})})
        except SafetensorError as error:  # safetensors' error for a full disk
            raise OSError(str(error)) from error


def load_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the tensors and the metadata that :func:`save_tensors` wrote.

    Raises:
        RunError: the file is absent, damaged or not a safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except _UNREADABLE as error:
        raise _damaged(path, error) from error


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read only the names and shapes of the tensors.

    Raises:
        RunError: see :func:`load_tensors`.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {
                name: tuple(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118
            }
    except _UNREADABLE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"{path} is damaged or absent ({error}); restore it from a copy")
