"""Folders that may not be looked into, even by the super-user who runs the tests."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_VERSION = 0x20080522
_OVERRIDES = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: to read and search whatever the permissions."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Set(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable"))


@contextmanager
def closed(*folders: Path, mode: int = 0) -> Iterator[None]:
    """Take away the permissions of folders, and this thread's right to ignore them."""
    if sys.platform != "linux":
        pytest.skip("permissions and capabilities are Linux's")
    library = ctypes.CDLL(None)
    header, sets = _Header(_VERSION, 0), (_Set * 2)()
    assert library.capget(ctypes.byref(header), sets) == 0
    before = sets[0].effective
    sets[0].effective = before & ~_OVERRIDES
    assert library.capset(ctypes.byref(header), sets) == 0
    modes = {folder: folder.stat().st_mode for folder in folders}
    for folder in folders:
        folder.chmod(mode)
    try:
        yield
    finally:
        for folder, old in modes.items():
            folder.chmod(old)
        sets[0].effective = before
        assert library.capset(ctypes.byref(header), sets) == 0
