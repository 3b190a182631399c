"""Data sets whose images a table lists: a CSV file with columns of any names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mambaad.data.readers.base import Complain, Split, listed_class, stop
from mambaad.data.walk import text
from mambaad.errors import DataError
from mambaad.file_errors import cannot_read
from mambaad.files import open_text
from mambaad.types import ProductClass, Sample

COLUMNS = ("image", "class", "split", "label", "mask")
"""What a column can hold; ``image`` is needed."""

_TRAIN, _TEST = ("train", "training"), ("test", "testing")


@dataclass(frozen=True)
class Table:
    """A CSV file of images, and what its columns hold.

    ``path``: the file, relative to the data set's folder. ``columns``: the name of each of
    ``COLUMNS`` in it; those that are not given have that very name, or are absent. Paths of images
    and masks are relative to the data set's folder, or to the file. Without a class all images are
    of one, called as the folder; without a split the good ones are for training, the others for
    testing; rows of another split (validation) are not used. ``good``: the labels that are good
    parts, in upper or lower case; without a column of labels an image with a mask is defective.
    """

    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    good: tuple[str, ...] = ("good",)

    def class_names(self, root: Path, split: Split) -> list[str]:
        """Name the classes that are listed (DataError if there are none)."""
        return sorted({sample.class_name for _, sample in self._samples(root, stop)})

    def read_classes(
        self, root: Path, names: Sequence[str], split: Split, complain: Complain
    ) -> list[ProductClass]:
        """Read some classes; see :class:`mambaad.data.readers.base.Layout`."""
        parts: dict[tuple[str, str], list[Sample]] = {}
        for part, sample in self._samples(root, complain):
            # Training uses good parts only.
            if part == "test" or (part == "train" and not sample.is_defective):
                parts.setdefault((sample.class_name, part), []).append(sample)
        file = root / self.path
        return [
            listed_class(
                name, parts.get((name, "train"), ()), parts.get((name, "test"), ()), file, split,
                complain,
            )
            for name in names
        ]  # fmt: skip

    def _samples(self, root: Path, complain: Complain) -> Iterator[tuple[str, Sample]]:
        path = root / self.path
        rows, columns = _rows(path)
        named = {column: self.columns.get(column, column) for column in COLUMNS}
        for column in (*self.columns, "image"):
            if named[column] not in columns:
                raise DataError(
                    f"{path} has no column '{named[column]}' ({column}); its columns are "
                    f"{', '.join(columns) or 'none'}"
                )
        good = {label.lower() for label in self.good}
        for number, row in enumerate(rows, start=2):
            value = {c: (row.get(named[c]) or "").strip() for c in COLUMNS}
            if not value["image"]:
                complain(f"{path}, line {number} has no image; complete or remove it")
                continue
            has_label = named["label"] in columns
            kind = text(value["label"]) if has_label else "defect" if value["mask"] else "good"
            if has_label and value["label"].lower() in good:
                kind = "good"
            elif has_label and kind == "good":
                kind = "defect"  # 'good' was declared to be no good part
            split = value["split"].lower()
            if named["split"] not in columns:
                split = "train" if kind == "good" else "test"
            part = "train" if split in _TRAIN else "test" if split in _TEST else ""
            name = text(value["class"]) or text(root.resolve().name) or "parts"
            mask = _at(root, path, value["mask"]) if value["mask"] and kind != "good" else None
            yield part, Sample(_at(root, path, value["image"]), name, kind, mask)


def _at(root: Path, table: Path, name: str) -> Path:
    beside = table.parent / name
    return beside if not (root / name).exists() and beside.exists() else root / name


def _rows(path: Path) -> tuple[list[dict[str, str]], Sequence[str]]:
    try:
        with open_text(path, "utf-8-sig", newline="") as file:
            start = file.read(4096)
            file.seek(0)
            heading = start.partition("\n")[0]
            delimiter = max(",;\t", key=heading.count)
            reader = csv.DictReader(file, delimiter=delimiter)
            return list(reader), tuple(reader.fieldnames or ())
    except OSError as error:
        raise DataError(cannot_read(path, error)) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a CSV file ({error})") from error
