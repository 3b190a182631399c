"""Prediction for files: a heatmap, the raw map and a row of a table for each image."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mambaad.data import is_image, read_image
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.files import write_text, written_whole
from mambaad.inspection import Inspector
from mambaad.models.inference import Precision
from mambaad.progress import ProgressBar, say
from mambaad.report import heatmap_overlay

TABLE, HEATMAP = "predictions.csv", ".heatmap.png"


@dataclass(frozen=True)
class PredictedFile:
    """A row of ``predictions.csv``: ``score`` is None and ``error`` says why if it has none."""

    path: Path
    product: str | None
    score: float | None
    error: str | None = None


def predict(
    run: str | Path,
    images: Iterable[str | Path],
    out: str | Path,
    *,
    product: str | None = None,
    precision: Precision = "float32",
) -> list[PredictedFile]:
    """Score image files and write what was found.

    For an image ``a/b.png`` below the folder that all of them share, ``out`` gets
    ``a/b.png.heatmap.png`` (drawn on the run's fixed scale), ``a/b.png.map.npy`` (float32, at the
    model's size) and a row of ``predictions.csv`` (path, class, score, error).

    Args:
        run: the folder that training made.
        images: files, and folders that are searched for images at any depth.
        out: the folder to write to. Heatmaps (``*.heatmap.png``) are never taken as input.
        product: the class of all of them, if known.
        precision: see :class:`mambaad.Inspector`.

    Returns:
        The rows of the table. An image that cannot be read, or whose results cannot be written,
        is one of them, with its error; the others are done.

    Raises:
        ConfigError, DataError, RunError: nothing to do, or a place that cannot be written.
    """
    inspector = Inspector(run, precision)
    inspector.check_product(product)
    if not inspector.is_finished:
        say(f"{run}: training has not ended, so no class is named and heatmaps go from 0 to 1")
    out = Path(out)
    found = _find_images([Path(image) for image in images])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"--out: {out} cannot be made ({error.strerror}); choose another folder"
        ) from error
    rows: list[PredictedFile] = []
    try:
        with ProgressBar("predicting") as bar:
            for done, (path, name) in enumerate(found.items(), start=1):
                rows.append(_predict_one(inspector, path, product, out / name))
                bar.update(done, len(found), path.name)
    finally:  # after Ctrl-C too: what is done has its row
        write_text(out / TABLE, _table(rows))
    return rows


def _predict_one(
    inspector: Inspector, path: Path, product: str | None, target: Path
) -> PredictedFile:
    try:
        image = read_image(path)
        prediction = inspector.inspect(image, product)
        overlay = heatmap_overlay(image, prediction.anomaly_map, inspector.scale)
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target.with_name(target.name + HEATMAP)) as temporary:
            Image.fromarray(overlay).save(temporary, format="PNG")
        with (
            written_whole(target.with_name(target.name + ".map.npy")) as temporary,
            temporary.open("wb") as file,
        ):
            np.save(file, prediction.anomaly_map, allow_pickle=False)
    except (DataError, RunError, OSError) as error:
        return PredictedFile(path, product, None, str(error))
    return PredictedFile(path, prediction.product, prediction.score)


def _find_images(given: Sequence[Path]) -> dict[Path, Path]:
    """The image files, and each one's path below the folder that all of them share."""
    found: dict[Path, Path] = {}  # by absolute path, so that none is done twice
    tops = []
    for path in given:
        if path.is_dir():
            tops.append(_absolute(path))
            for file in sorted(path.rglob("*")):
                if is_image(file) and file.is_file() and not file.name.endswith(HEATMAP):
                    found.setdefault(_absolute(file), file)
        elif path.exists():
            tops.append(_absolute(path).parent)
            found.setdefault(_absolute(path), path)
        else:
            raise DataError(f"there is no image or folder {path}; check the path")
    if not found:
        raise DataError(f"no images in {', '.join(map(str, given))}; give images or their folder")
    try:
        top = Path(os.path.commonpath(tops))
    except ValueError as error:
        raise ConfigError("the images lie on several drives; give them in several calls") from error
    return {path: absolute.relative_to(top) for absolute, path in found.items()}


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  # links stay: names are as given


def _table(rows: Iterable[PredictedFile]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "class", "score", "error"])
    for row in rows:
        score = "" if row.score is None else f"{row.score:.6f}"
        writer.writerow([row.path.as_posix(), row.product or "", score, row.error or ""])
    return text.getvalue()
