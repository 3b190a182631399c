"""Data sets whose images a table lists: a CSV file with columns of any names."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mambaad.data.readers.base import Complain, Split, listed_class, stop
from mambaad.data.walk import text
from mambaad.documents import shortened
from mambaad.errors import DataError
from mambaad.file_errors import cannot_read
from mambaad.files import read_regular
from mambaad.types import ProductClass, Sample

COLUMNS = ("image", "class", "split", "label", "mask")
"""What a column can hold; ``image`` is needed."""

_SPLITS = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "unused", "exclude"), ""),
}
"""What rows of a split, in lower case, are for; ``""``: for nothing."""

_MOST_LABELS = 6
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class Table:
    """A CSV file of images, and what its columns hold.

    ``path``: the file, relative to the data set's folder. ``columns``: the name of each of
    ``COLUMNS`` in it; those that are not given have that very name, or are absent. Paths of images
    and masks are relative to the data set's folder, or to the file, and do not leave the folder.
    Without a column of classes all images are of one, called as the folder; without splits the good
    ones are for training, the others for testing; rows for validation are not used. ``good``: the
    labels that are good parts, in upper or lower case; without a column of labels an image with a
    mask is defective. A row that has no clear meaning is a problem, which names its line.
    """

    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    good: tuple[str, ...] = ("good",)

    def class_names(self, root: Path, split: Split) -> list[str]:
        """Name the classes that are listed (DataError if there are none)."""
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; give the folder of the data set")
        names = {row.sample.class_name for row in self._rows(root, lambda problem: None)}
        if not names:
            list(self._rows(root, stop))
            raise DataError(f"{root / self.path} lists no images; expected a row for each image")
        return sorted(names)

    def read_classes(
        self, root: Path, names: Sequence[str], split: Split, complain: Complain
    ) -> list[ProductClass]:
        """Read some classes; see :class:`mambaad.data.readers.base.Layout`."""
        file = root / self.path
        rows = list(self._rows(root, complain))
        labels = sorted({row.label for row in rows if row.label})
        is_any_good = any(label.lower() in self._good for label in labels)
        if split == "train" and labels and not is_any_good:
            more = ", ..." if labels[_MOST_LABELS:] else ""
            found, first = shortened(", ".join(labels[:_MOST_LABELS])), shortened(labels[0])
            complain(
                f"{file} has the labels {found}{more}, none of which is good "
                f"({', '.join(self.good)}); say which are, such as 'good: [{first}]'"
            )
        parts: dict[tuple[str, str], list[Sample]] = {}
        for row in rows:
            # Training uses good parts only.
            if row.part == "test" or (row.part == "train" and not row.sample.is_defective):
                parts.setdefault((row.sample.class_name, row.part), []).append(row.sample)
        lines = {row.sample: row.line for row in rows}
        return [
            listed_class(
                name, parts.get((name, "train"), ()), parts.get((name, "test"), ()), file, split,
                complain, lines=lines,
            )
            for name in names
        ]  # fmt: skip

    @property
    def _good(self) -> set[str]:
        return {label.lower() for label in self.good}

    def _rows(self, root: Path, complain: Complain) -> Iterator[_Row]:
        path = root / self.path
        first: dict[Path, _Row] = {}
        named = {column: text(self.columns.get(column, column)) for column in COLUMNS}
        for line, cells in _cells(path, named, self.columns):
            try:
                row = self._row(root, line, cells)
            except ValueError as error:
                complain(f"{path}, line {line}: {error}; correct or remove it")
                continue
            twin = first.setdefault(row.sample.path, row)
            if twin is row:
                yield row
                continue
            both = f"{shortened(cells['image'])} is listed in line {twin.line} too"
            if row.part != twin.part:
                both += f", for {twin.part or 'nothing'}, and here for {row.part or 'nothing'}"
            complain(f"{path}, line {line}: {both}; remove one")

    def _row(self, root: Path, line: int, cells: Mapping[str, str]) -> _Row:
        """Read a row, of which ``cells`` has the columns that there are (ValueError)."""
        for column, value in cells.items():
            if not value and column != "mask":
                raise ValueError(f"it has no {column}")
            if "\0" in value:
                raise ValueError(f"its {column} has the character 0")
        label, mask = cells.get("label"), cells.get("mask", "")
        if label is None:
            kind = "defect" if mask else "good"
        elif label.lower() in self._good:
            kind = "good"
        else:  # 'good' may have been declared to be no good part
            kind = "defect" if text(label) == "good" else text(label)
        split = cells.get("split", "train" if kind == "good" else "test")
        if split.lower() not in _SPLITS:
            raise ValueError(f"expected the split train, test or val, got '{shortened(split)}'")
        name = text(cells.get("class") or root.resolve().name) or "parts"
        table = root / self.path
        image = _place(root, table, cells["image"])
        of_image = _place(root, table, mask) if mask and kind != "good" else None
        sample = Sample(image, name, kind, of_image)
        return _Row(line, _SPLITS[split.lower()], sample, label or "")


@dataclass(frozen=True)
class _Row:
    """A row: its line, what it is for, the image, and its label as it is written."""

    line: int
    part: str
    sample: Sample
    label: str


def _place(root: Path, table: Path, name: str) -> Path:
    """Return the path that a table means, which is below the data set's folder (ValueError)."""
    names = [name, name.replace("\\", "/")] if "\\" in name else [name]
    found: list[Path] = []
    for given in names:
        if Path(given).is_absolute():
            below = _below(root.resolve(), Path(given))
            found += [root / below] if below is not None else []
            continue
        for folder in dict.fromkeys((root, table.parent)):
            below = _below(root, folder / given)
            found += [root / below] if below is not None else []
    if not found:
        raise ValueError(f"expected a path below {root}, got '{shortened(name)}'")
    return next((path for path in found if os.path.lexists(path)), found[0])


def _below(root: Path, path: Path) -> Path | None:
    """Return a path as seen from the folder that it is in; None if it leaves it."""
    relative = Path(os.path.relpath(path, root))
    return None if relative.parts[:1] == ("..",) else relative


def _cells(
    path: Path, named: Mapping[str, str], needed: Mapping[str, str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV file: the line of each, and its cells by what they hold.

    Args:
        path: the file.
        named: what the columns are called.
        needed: those that must be there, beside the images.
    """
    try:
        content = read_regular(path, _MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise DataError(cannot_read(path, error)) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8; save it as CSV in UTF-8") from error
    start = re.sub(r'"[^"]*"', "", content[:4096]).lstrip().splitlines()
    delimiter = max(",;\t", key=(start or [""])[0].count)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    before = 0
    try:
        for row in reader:
            line, before = before + 1, reader.line_num
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not columns:
                columns = [text(cell) for cell in cells]
                _check_columns(path, columns, named, needed)
                continue
            if any(cells[len(columns) :]):
                raise DataError(
                    f"{path}, line {line} has {len(cells)} cells, expected {len(columns)} "
                    f"({shortened(', '.join(columns))}); put those with '{delimiter}' between "
                    "quotes"
                )
            values = dict(zip(columns, cells + [""] * len(columns), strict=False))
            yield line, {c: values[name] for c, name in named.items() if name in values}
    except csv.Error as error:
        raise DataError(f"{path}, line {before + 1} cannot be read as CSV ({error})") from error
    if not columns:
        raise DataError(f"{path} is empty; expected a line of columns, and a row for each image")


def _check_columns(
    path: Path, columns: Sequence[str], named: Mapping[str, str], needed: Mapping[str, str]
) -> None:
    for column in (*needed, "image"):
        if named[column] not in columns:
            raise DataError(
                f"{path} has no column '{named[column]}' ({column}); its columns are "
                f"{shortened(', '.join(columns))}"
            )
    for column, name in named.items():
        if columns.count(name) > 1:
            raise DataError(f"{path} has {columns.count(name)} columns '{name}' ({column})")
