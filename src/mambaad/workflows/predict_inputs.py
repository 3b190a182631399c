"""The images that ``mambaad predict`` inspects, and what it passes over in their folders."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mambaad.data.unread import count_unread
from mambaad.data.walk import Unread, walk
from mambaad.errors import ConfigError, DataError
from mambaad.file_errors import cannot_read
from mambaad.files import is_own, sweep
from mambaad.report.page_files import PAGE, PICTURE_NAME, PICTURES

TABLE, RECORDS = "predictions.csv", "predictions.jsonl"
HEATMAP, MAP = ".heatmap.png", ".map.npy"
UNFINISHED = ".part"
"""The suffix of the records' file while images are inspected.

A killed process leaves it, and the next one writes it anew.
"""

_SETTLED = 1.0
"""A file that was written to in its last so many seconds may be incomplete."""


@dataclass(frozen=True)
class Inputs:
    """The images to inspect, and what else is in their folders.

    ``targets``: each image's path below the common folder of all. ``unread``: what is not
    inspected. ``young``: size and time of the files that were written to just before ``found_at``.
    """

    targets: dict[Path, Path]
    unread: tuple[Unread, ...]
    young: dict[Path, tuple[int, int]]
    found_at: float

    def still_written(self) -> set[Path]:
        """Return the images that are being written to, after a second without change."""
        if not self.young:
            return set()
        time.sleep(max(0.0, self.found_at + _SETTLED - time.monotonic()))
        return {path for path, stamp in self.young.items() if _stamp(path) != stamp}


def find_inputs(given: Sequence[Path], out: Path | None, report: Path | None) -> Inputs:
    """Find the images that are given, and those in folders that are given.

    Args:
        given: files, whatever their names, and folders, which are searched at any depth
            (:mod:`mambaad.data.walk`).
        out, report: folders of results. They and the results of earlier calls are left out.

    Raises:
        DataError: something that does not exist or is no regular file, or no images at all.
        ConfigError: images on several drives of Windows.
    """
    files: dict[Path, Path] = {}  # by absolute path, so that none is inspected twice
    unread: dict[Path, Unread] = {}
    tops = []
    for path in given:
        try:
            path.stat()
        except FileNotFoundError:
            pass  # said below
        except OSError as error:
            mend = "give an image or a folder of images"
            raise DataError(cannot_read(path, error, mend)) from error
        if path.is_dir():
            tops.append(_absolute(path))
            results = [*([out] if out else []), *([report, report / PICTURES] if report else [])]
            found = walk(path, leave_out=_inside(path, results))
            for file in found.images:
                if not _is_result(file):
                    files.setdefault(_absolute(file), file)
            for one in found.unread:
                if not _is_result(one.path):
                    unread.setdefault(_absolute(one.path), one)
        elif path.is_file():
            tops.append(_absolute(path).parent)
            files.setdefault(_absolute(path), path)
        elif path.exists():
            raise DataError(f"{path} is no regular file; give an image or a folder of images")
        else:
            raise DataError(f"{path} does not exist; give an image or a folder of images")
    left = tuple(one for path, one in unread.items() if path not in files)
    if not files:
        passed_over = f" (not read: {count_unread(left)})" if left else ""
        raise DataError(
            f"no images in {', '.join(map(str, given))}{passed_over}; give images or their folder"
        )
    try:
        top = Path(os.path.commonpath(tops))
    except ValueError as error:
        raise ConfigError(
            "the images lie on several drives; run the command once per drive"
        ) from error
    stamps = {path: _stamp(path) for path in files.values()}
    since = time.time_ns() - int(_SETTLED * 1e9)
    return Inputs(
        {path: absolute.relative_to(top) for absolute, path in files.items()},
        left,
        {path: stamp for path, stamp in stamps.items() if stamp[1] > since},
        time.monotonic(),
    )


def remove_former(out: Path, written: Collection[Path]) -> int:
    """Remove the heatmaps and maps that an earlier call has left in a folder; returns their number.

    Args:
        out: the folder. Folders in it that have records of their own are left alone.
        written: the images' paths below it whose heatmaps and maps are kept.
    """
    removed = 0
    for folder, folders, names in os.walk(out):
        place = Path(folder)
        sweep(place)  # what a killed call was writing
        folders[:] = [name for name in folders if not (place / name / RECORDS).exists()]
        for name in names:
            image = place / name.removesuffix(HEATMAP)
            pair = (place / name, image.with_name(image.name + MAP))
            if name.endswith(HEATMAP) and pair[1].is_file() and image not in written:
                for file in pair:
                    file.unlink(missing_ok=True)
                removed += 1
    return removed


def _is_result(path: Path) -> bool:
    """Whether a file is what an earlier call wrote, perhaps to another folder."""
    tables = (TABLE, RECORDS, RECORDS + UNFINISHED)
    if path.name.endswith(MAP) or path.name in tables or is_own(path.name):
        return True
    if path.name.endswith(HEATMAP):  # a user's file may be called so
        return path.with_name(path.name.removesuffix(HEATMAP) + MAP).is_file()
    if path.name == PAGE:
        return (path.parent / PICTURES).is_dir()
    is_picture = re.fullmatch(PICTURE_NAME, path.name) is not None
    return is_picture and path.parent.name == PICTURES and (path.parent.parent / PAGE).is_file()


def _inside(folder: Path, paths: Iterable[Path]) -> set[Path]:
    """Select the paths that lie inside a folder, and write them as paths below it."""
    top = folder.resolve()
    resolved = (path.resolve() for path in paths)
    return {folder / path.relative_to(top) for path in resolved if top in path.parents}


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # removed meanwhile
        return (-1, 0)
    return found.st_size, found.st_mtime_ns
