"""Exported models in PyTorch, without the code of the model."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

# Which registers our operator, by which the program calls it.
from mambaad.ops.selective_scan import operator as operator
from mambaad.process import limit_threads

OUTPUTS = "outputs.txt"
"""The member of a program's file that names its outputs, one a line."""


class ProgramSession:
    """A program of ``torch.export`` on the CPU.

    Args:
        content: of its file.

    Raises:
        RuntimeError: PyTorch cannot load it.
    """

    def __init__(self, content: bytes | bytearray) -> None:
        limit_threads()
        more = {OUTPUTS: ""}
        program = torch.export.load(io.BytesIO(content), extra_files=more)
        self._module: Any = program.module()
        self._names = more[OUTPUTS].split()

    @torch.inference_mode()
    def run(self, images: UInt8[np.ndarray, "b h w 3"]) -> Mapping[str, np.ndarray]:
        """See :meth:`mambaad.inference.exported.engine.Session.run`."""
        found = self._module(torch.from_numpy(images.copy()))
        return {name: value.numpy() for name, value in zip(self._names, found, strict=True)}
