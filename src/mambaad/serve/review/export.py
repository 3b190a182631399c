"""Decisions as a data set: images in MVTec AD layout, and a table of where each came from.

    OUT/PRODUCT/train/good/ID.png       parts that a person confirmed as good
    OUT/PRODUCT/test/defective/ID.png   parts that a person found defective; without masks
    OUT/origin.csv                      a row for each file
    OUT/READ ME FIRST.txt               what the set may be used for

Good parts that came to review because of their score are the oddest good parts of the line. To
train on them is useful, to calibrate on them is not (:mod:`mambaad.serve.review.recalibrate`), so
a set ``for_calibration`` has the random share alone, and any other says that it must not
calibrate.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mambaad.errors import ConfigError, DataError
from mambaad.files import folder_written_whole
from mambaad.serve.review.parts import ReviewedPart, distinct, random_share
from mambaad.serve.review.recalibrate import check_decided, usable_parts
from mambaad.serve.review.sampling import thinned

ORIGIN, NOTE = "origin.csv", "READ ME FIRST.txt"
COLUMNS = (
    "file",
    "inspection",
    "sha256",
    "serial",
    "product",
    "time",
    "bundle",
    "verdict",
    "score",
    "decision",
    "decided_by",
    "drawn",
    "probability",
)
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
_NOTES = {
    False: (
        "Images on which people decided, exported by mambaad serve.\n\n"
        "For training (mambaad train, extend). Do NOT calibrate on this set, neither with\n"
        "--new-parts nor with --holdout: it holds good parts that were reviewed because of their\n"
        "score, and thresholds set on them would be too high. Recalibrate with mambaad\n"
        "recalibrate, or on a set that was exported for calibration.\n"
    ),
    True: (
        "Images on which people decided, exported by mambaad serve for calibration: the random\n"
        "share alone, each part drawn with the same probability.\n\n"
        "mambaad calibrate RUN THIS --new-parts. Do not train on it and then calibrate on it.\n"
    ),
}


def export_decisions(
    parts: Sequence[ReviewedPart],
    out: Path,
    image_of: Callable[[ReviewedPart], bytes | None],
    *,
    for_calibration: bool = False,
    secret: bytes = b"",
) -> Counter[str]:
    """Write decided parts as a data set in MVTec AD layout.

    Args:
        parts: inspected parts; those that are neither good nor defective are left out. For
            calibration, also those that were drawn and wait for a decision.
        out: a new or empty folder.
        image_of: reads the stored image as it came; None if it is not kept any more.
        for_calibration: only the random share, thinned to one probability, each image once.
        secret: that the parts were drawn with; needed for calibration if the share changed.

    Returns:
        The number of parts by decision, and of those ``"without image"`` or ``"no product"``.

    Raises:
        ConfigError: the folder has files already.
        DataError: a product whose name cannot be a folder's, or, for calibration, too many parts
            that wait for a decision.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty; give a new folder, or empty it")
    chosen = [part for part in parts if part.decision in ("good", "defective")]
    if for_calibration:
        drawn, _ = thinned(distinct(random_share(parts)), secret)
        chosen = [part for part in drawn if part.decision in ("good", "defective")]
        for product in {part.product for part in chosen if part.product}:
            check_decided(usable_parts(drawn, product, secret))
    counts: Counter[str] = Counter()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    out.parent.mkdir(parents=True, exist_ok=True)
    with folder_written_whole(out) as folder:
        for part in chosen:
            image = image_of(part)
            if image is None or part.product is None:
                counts["without image" if image is None else "no product"] += 1
                continue
            name = _name(part)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(image)
            writer.writerow(_row(name, part))
            counts[str(part.decision)] += 1
        (folder / ORIGIN).write_text(table.getvalue(), encoding="utf-8")
        (folder / NOTE).write_text(_NOTES[for_calibration], encoding="utf-8")
    return counts


def _name(part: ReviewedPart) -> str:
    if not _SAFE.fullmatch(part.product or "") or not _SAFE.fullmatch(part.id):
        raise DataError(
            f"product '{part.product}', part '{part.id}': letters, digits, spaces, dots, dashes "
            "and underscores can name files; export it under another name"
        )
    folder = "train/good" if part.decision == "good" else "test/defective"
    return f"{part.product}/{folder}/{part.id}.{part.format.lower()}"


def _row(name: str, part: ReviewedPart) -> list[str]:
    values = (
        name,
        part.id,
        part.digest,
        part.serial,
        part.product,
        part.time,
        part.bundle,
        part.verdict.value if part.verdict else None,
        part.score,
        part.decision,
        part.by,
        "yes" if part.drawn else "no",
        part.probability,
    )
    return ["" if value is None else _cell(str(value)) for value in values]


def _cell(text: str) -> str:
    """Keep a spreadsheet from taking text, such as a serial number, for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "@", "\t", "\r") else text
