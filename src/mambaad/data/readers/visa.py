"""VisA: a CSV file lists the training and test images.

``split_csv/1cls.csv`` (columns ``object,split,label,image,mask``) beside
``<class>/Data/{Images/{Normal,Anomaly}/*.JPG, Masks/Anomaly/*.png}``. In a mask the value of a
pixel is the number of its kind of defect: all above 0 are defective. The CSV file tells normal
images from anomalous ones only, so ``anomaly`` is the one type of defect.

The output of its authors' ``prepare_data.py`` (``VisA_pytorch/1cls``) is in the MVTec AD layout.

Source: github.com/amazon-science/spot-diff, ``split_csv/1cls.csv`` and ``utils/prepare_data.py``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from mambaad.data.readers.base import Complain, Layout, Split, listed_class
from mambaad.data.readers.folders import folders
from mambaad.data.walk import is_folder, text
from mambaad.documents import shortened
from mambaad.errors import DataError
from mambaad.file_errors import cannot_read
from mambaad.files import read_regular
from mambaad.types import ProductClass, Sample

_MOST_BYTES = 2**26
_SPLIT_FILE = Path("split_csv") / "1cls.csv"
_COLUMNS = ("object", "split", "label", "image", "mask")


def _class_names(root: Path, split: Split) -> list[str]:
    return sorted({row["object"] for row in _rows(root)})


def _read_classes(
    root: Path, names: Sequence[str], split: Split, complain: Complain
) -> list[ProductClass]:
    samples: dict[tuple[str, str], list[Sample]] = {}
    for number, row in enumerate(_rows(root), start=2):
        if row["object"] not in names:
            continue
        if row["split"] not in ("train", "test") or row["label"] not in ("normal", "anomaly"):
            complain(
                f"{root / _SPLIT_FILE}, line {number}: split {row['split']!r}, label "
                f"{row['label']!r}; expected train or test, normal or anomaly: download "
                "the file again"
            )
            continue
        defective = row["label"] == "anomaly"
        sample = Sample(
            root / row["image"],
            row["object"],
            "anomaly" if defective else "good",
            root / row["mask"] if defective and row["mask"] else None,
        )
        samples.setdefault((row["object"], row["split"]), []).append(sample)
    return [
        listed_class(
            name,
            samples.get((name, "train"), ()),
            samples.get((name, "test"), ()),
            root / _SPLIT_FILE,
            split,
            complain,
        )
        for name in names
    ]


def _rows(root: Path) -> list[dict[str, str]]:
    path = root / _SPLIT_FILE
    if not path.is_file():
        raise DataError(
            f"{path} is missing; it is in the archive of VisA, and in the repository "
            "amazon-science/spot-diff"
        )
    try:
        content = read_regular(path, _MOST_BYTES).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(content, newline=""))
        rows = list(reader)
        columns = tuple(reader.fieldnames or ())
    except OSError as error:
        raise DataError(cannot_read(path, error, "download it again")) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV file ({error}); download the file again") from error
    if not set(_COLUMNS) <= set(columns):
        raise DataError(
            f"{path} has the columns {shortened(', '.join(columns)) or 'of an empty file'}; "
            f"expected {', '.join(_COLUMNS)}: download the file again"
        )
    for number, row in enumerate(rows, start=2):
        if any(row[column] is None for column in _COLUMNS) or not row["image"]:
            raise DataError(f"{path}, line {number} is cut short; download the file again")
        row["object"] = text(row["object"])
    return rows


def _recognises(root: Path) -> bool:
    return (root / _SPLIT_FILE).is_file() or any(
        is_folder(folder / "Data" / "Images") for folder in folders(root)
    )


LAYOUT = Layout(
    "visa",
    "VisA",
    recognises=_recognises,
    form=f"what {_SPLIT_FILE} lists",
    class_names=_class_names,
    read_classes=_read_classes,
    published_classes=(
        *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1"),
        *("macaroni2", "pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
    ),
)
