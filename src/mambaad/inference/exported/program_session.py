"""Exported models in PyTorch, without the code of the model."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from mambaad.documents import shortened

# Which registers our operator, by which the program calls it.
from mambaad.ops.selective_scan import operator as operator
from mambaad.process import limit_threads

OUTPUTS = "outputs.txt"
"""The member of a program's file that names its outputs, one a line."""

_MEMBERS = re.compile(
    r"data/(weights|constants|sample_inputs)/[\w.]+|models/model\.json|extra/outputs\.txt"
    r"|archive_format|archive_version|byteorder|\.data/\w+"
)
"""What is in the archive of a program; PyTorch would run compiled libraries that are there too."""
_EXPRESSION = re.compile(
    r"([\s\d(),.+*/=<>-]|'s\d+'|\b(positive|integer|nonnegative|True|False|[A-Z][A-Za-z]*)\b)*"
)
"""Expressions of sizes: SymPy evaluates them as Python, and these only have its own functions."""
_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


class ProgramSession:
    """A program of ``torch.export`` on the CPU.

    Args:
        content: of its file.

    Raises:
        RuntimeError: PyTorch cannot load it, or would run code that is in it.
    """

    def __init__(self, content: bytes | bytearray) -> None:
        limit_threads()
        check_program(content)
        more = {OUTPUTS: ""}
        with _as_data():
            program = torch.export.load(io.BytesIO(content), extra_files=more)
        self._module: Any = program.module()
        self._names = more[OUTPUTS].split()

    @torch.inference_mode()
    def run(self, images: UInt8[np.ndarray, "b h w 3"]) -> Mapping[str, np.ndarray]:
        """See :meth:`mambaad.inference.exported.engine.Session.run`."""
        found = self._module(torch.from_numpy(images.copy()))
        return {name: value.numpy() for name, value in zip(self._names, found, strict=True)}


def check_program(content: bytes | bytearray) -> None:
    """Refuse an archive that would have PyTorch run code while it loads it.

    Raises:
        RuntimeError: it has other members than a program, or expressions that are no sizes.
        zipfile.BadZipFile, ValueError: it is damaged.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        for member in members:
            name = member.filename.partition("/")[2]  # below a folder for all
            if not _MEMBERS.fullmatch(name):
                raise RuntimeError(f"it holds {shortened(member.filename)}, which is no program's")
        if sum(member.file_size for member in members) > len(content):
            raise RuntimeError("its members are larger than it")
        for member in members:
            if member.filename.endswith("/models/model.json"):
                _check_expressions(json.loads(archive.read(member)))


def _check_expressions(value: Any) -> None:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            left += one.values()
            text = one.get("expr_str", "")
            if not isinstance(text, str) or not _EXPRESSION.fullmatch(text):
                raise RuntimeError(f"{shortened(text)} is no expression of a size")


@contextmanager
def _as_data() -> Iterator[None]:
    """Have PyTorch unpickle tensors alone, and not log what its errors say too."""
    before, log = os.environ.get(_FORCED), logging.getLogger("torch.export")
    level = log.level
    os.environ[_FORCED] = "1"
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        if before is None:
            del os.environ[_FORCED]
        else:
            os.environ[_FORCED] = before
