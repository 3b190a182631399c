"""Runs in tests: reading one as it is now, finding its files, and changing them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import MANIFEST, WEIGHTS
from mambaad.artifacts.snapshot import Snapshot, opened
from mambaad.artifacts.tensors import Content, parse_tensors, tensors_content
from mambaad.files import locked

T = TypeVar("T")


def read(function: Callable[..., T], run: Path, *arguments: Any, **named: Any) -> T:
    """Call a function with a snapshot of a run as its first argument."""
    with opened(run) as snapshot:
        return function(snapshot, *arguments, **named)


def has(run: Path, name: str) -> bool:
    return read(Snapshot.has, run, name)


def digest(run: Path, name: str = WEIGHTS) -> str:
    return read(Snapshot.digest, run, name)


def content(run: Path, name: str = WEIGHTS) -> bytes:
    return bytes(read(Snapshot.read, run, name))


def tensors(run: Path, name: str = WEIGHTS) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return parse_tensors(bytearray(content(run, name)), name)


def stored(run: Path, name: str = WEIGHTS) -> Path:
    """The path of a file of a run."""
    return run / json.loads((run / MANIFEST).read_text())["files"][name]["file"]


def plain_names(run: Path) -> set[str]:
    """The names of all files in a run's folder, without digits of digests."""
    return {re.sub(r"-[0-9a-f]{12}\.", ".", path.name) for path in run.iterdir()}


def change(run: Path, files: Mapping[str, Content | bytes | str], removed: Collection[str] = ()):
    """Make a sound generation of a run with other files."""
    parts: dict[str, Content] = {}
    for name, file in files.items():
        file = file.encode() if isinstance(file, str) else file
        parts[name] = [file] if isinstance(file, bytes) else file
    with locked(run):
        commit(run, parts, removed)


def change_json(run: Path, name: str, change_it: Callable[[dict[str, Any]], dict[str, Any]]):
    change(run, {name: json.dumps(change_it(json.loads(content(run, name))))})


def change_tensors(
    run: Path, name: str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any] | None = None
):
    change(run, {name: tensors_content(arrays, about)})


def as_former(run: Path) -> Path:
    """Make a run what a former version would have written: plain names, no manifest."""
    listed = json.loads((run / MANIFEST).read_text())["files"]
    for name, file in listed.items():
        (run / file["file"]).rename(run / name)
    versions = json.loads((run / "version.json").read_text())
    del versions["run format"]
    (run / "version.json").write_text(json.dumps(versions))
    (run / MANIFEST).unlink()
    return run
