"""What is right and wrong about how a command ended, and about the files that it left."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.attack.sandbox import Ended

LONGEST_LINE, LARGEST_OUTPUT = 2000, 16 * 2**10
MOST_MEMORY = 2**11
"""In MiB, beyond what is held once everything is imported."""

_EXPORT, _JOB = "export.json", "job.json"
_ERROR = "mambaad: "
_OURS = re.compile(r"^(mambaad: |Error: |Usage: )", re.MULTILINE)
_WARNING = re.compile(r"^\S*\.py:\d+: \w*Warning", re.MULTILINE)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_TEMPORARY = re.compile(r"\.mambaad-tmp|\.unfinished$|^\.tmp|\.tmp$|^tmp[a-z0-9_]{8}$|^mambaad-")
_LOCK = re.compile(r"(^|\.)lock$")
_UNLIKE = re.compile(r"(?<=[/ '\"])\d+(?=/tmp/)")


@dataclass
class Outcome:
    """What became of a case: ``accepted``, or ``refused``, and all that was wrong with it."""

    accepted: bool
    wrong: list[tuple[str, str]] = field(default_factory=list)

    def complain(self, sort: str, text: str) -> None:
        self.wrong.append((sort, text))


def judge(ended: Ended, *, accepted: Iterable[int] = (0,), held: float = 0.0) -> Outcome:
    """Judge an end by itself: only success, or an error of this package in one line, is right.

    Args:
        ended: the end of a command.
        accepted: the exit codes of success.
        held: MiB that a process holds which has done nothing.
    """
    # Some commands have a code of success that is that of errors too, such as 'data check'.
    outcome = Outcome(ended.code in accepted and not (ended.code == 1 and _is_refused(ended)))
    last = _last_lines(ended.err)
    if ended.timed_out:
        outcome.complain("hang", f"still ran after {ended.seconds:.0f} s")
    elif ended.code < 0:
        outcome.complain("signal", f"ended by signal {-ended.code}: {last}")
    if "Traceback (most recent call last)" in ended.err or "Fatal Python error" in ended.err:
        outcome.complain("traceback", last)
    elif not outcome.accepted and ended.code > 0:
        errors = [line for line in ended.err.splitlines() if _OURS.match(line)]
        if not errors and not ended.timed_out:
            outcome.complain("unclear", f"exit code {ended.code} without an error line: {last}")
    if _WARNING.search(ended.err):
        outcome.complain("warning", last)
    if ended.output_size > LARGEST_OUTPUT or _longest(ended) > LONGEST_LINE:
        outcome.complain(
            "flood", f"{ended.output_size} bytes of output, {_longest(ended)} in one line"
        )
    if found := _CONTROL.search(ended.out + ended.err.replace("\x1b[K", "")):
        outcome.complain("control", f"{found.group()!a} in the output: {last}")
    if ended.memory - held > MOST_MEMORY:
        outcome.complain("memory", f"held {ended.memory - held:.0f} MiB")
    if left := leftovers(ended.temporary):
        outcome.complain("left over", f"in $TMPDIR: {', '.join(left[:3])}")
    return outcome


def _is_refused(ended: Ended) -> bool:
    return ended.err.startswith(_ERROR) or f"\n{_ERROR}" in ended.err


def _last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-2:])[-300:]


def _longest(ended: Ended) -> int:
    return max(map(len, (ended.out + "\n" + ended.err).splitlines()), default=0)


def leftovers(folder: Path, *, everything: bool = True) -> list[str]:
    """What is below a folder, without empty folders; or only what is called as temporary files."""
    found = []
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            is_empty = name in folders and not any((Path(top) / name).iterdir())
            if is_empty and not _TEMPORARY.search(name):
                continue
            if (everything or _TEMPORARY.search(name)) and not _LOCK.search(name):
                found.append(str((Path(top) / name).relative_to(folder)))
    return sorted(found)


State = dict[str, tuple[int, ...]]


def state_of(folder: Path) -> State:
    """Everything below a folder as it is now, cheaply: sizes, times, modes; locks left out."""
    found = {}
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(top) / name
            about = path.lstat()
            if not _LOCK.search(name):
                times = () if path.is_dir() else (about.st_mtime_ns, about.st_size, about.st_ino)
                found[str(path.relative_to(folder))] = (about.st_mode, *times)
    return found


def changes(before: State, after: State) -> list[str]:
    """What was added, removed or changed."""
    names = sorted(before.keys() | after.keys())
    return [name for name in names if before.get(name) != after.get(name)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stored(folder: Path, name: str) -> Path:
    """The file of a run that its manifest calls by a name; of other folders, that of the name."""
    with suppress(OSError, KeyError):
        name = json.loads((folder / "manifest.json").read_text())["files"][name]["file"]
    return folder / name


def can_be_sealed(folder: Path, name: str) -> bool:
    """Whether a file's digest is in another one, or in itself, so that :func:`seal` can fit it."""
    if not name or not folder.is_dir():
        return False
    is_of_run = (folder / "manifest.json").is_file() and name != "manifest.json"
    return is_of_run or any((folder / by).is_file() for by in (_EXPORT, _JOB))


def seal(folder: Path, name: str) -> None:
    """Make a run's manifest, an export's or a job's files list a file as it is now."""
    path, part = stored(folder, name), Path(name).stem
    if name in (_EXPORT, _JOB) or name.startswith("done/"):
        with suppress(ValueError, RecursionError):  # it is no longer JSON
            _reseal(path, {})
    elif name == "manifest.parquet":
        _reseal(folder / _JOB, {"manifest": digest(path)})
    elif (folder / _JOB).is_file():
        _reseal(folder / "done" / f"{part}.json", {"files": {name: digest(path)}})
    else:
        listed = {"files": {name: {"size": path.stat().st_size, "sha256": digest(path)}}}
        is_export = (folder / _EXPORT).is_file()
        manifest = folder / (_EXPORT if is_export else "manifest.json")
        if is_export:
            _reseal(manifest, listed)
        else:
            _rewrite(manifest, _merged(json.loads(manifest.read_text()), listed))


def _reseal(path: Path, changes: dict[str, Any]) -> None:
    """Change a file that has its own digest, and make that fit."""
    about = json.loads(path.read_text())
    if isinstance(about, dict):
        about.pop("sha256", None)
        about = _merged(about, changes)
        text = json.dumps(about, sort_keys=True, separators=(",", ":"))
        _rewrite(path, {**about, "sha256": hashlib.sha256(text.encode()).hexdigest()})


def _merged(about: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    found = dict(about)
    for key, value in changes.items():
        is_nested = isinstance(value, dict)
        found[key] = _merged(found.get(key, {}), value) if is_nested else value
    return found


def _rewrite(path: Path, content: object) -> None:
    path.unlink()  # it may be a link to the workshop's own
    path.write_text(json.dumps(content))


def contents(folder: Path) -> dict[str, str]:
    """The digests of all files below a folder, locks and the numbers of generations left out."""
    return {
        str(path.relative_to(folder)): _digest_of_any_generation(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _LOCK.search(path.name)
    }


def _digest_of_any_generation(path: Path) -> str:
    if path.name != "manifest.json":
        return digest(path)
    about = json.loads(path.read_text())
    about.pop("generation", None)
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def unparsable(folder: Path) -> list[str]:
    """The files under their final names that are not whole: they cannot be parsed."""
    import numpy as np
    from PIL import Image
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not path.is_file() or any(map(_TEMPORARY.search, parts)):
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".jsonl":
                list(map(json.loads, path.read_text().splitlines()))
            elif path.suffix == ".safetensors":
                load_file(path)
            elif path.suffix == ".npy":
                np.load(path, allow_pickle=False)
            elif path.suffix == ".parquet":
                import pyarrow.parquet

                pyarrow.parquet.read_table(path)
            elif path.suffix == ".png":
                with Image.open(path) as image:
                    image.load()
        except (ValueError, OSError, SafetensorError) as error:
            found.append(f"{path.relative_to(folder)}: {error}")
    return found


def untimed(text: str) -> list[str]:
    """Records or tables without what differs from call to call: when, and in which folder."""
    dated = re.compile(r"\d{4}-\d\d-\d\dT[\d:]+(\+00:00|Z)?")
    return [dated.sub("", _UNLIKE.sub("", line)) for line in text.splitlines()]
