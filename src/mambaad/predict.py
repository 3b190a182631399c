"""Prediction for files: a heatmap, the raw map and a record for each image."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from PIL import Image

from mambaad.data import is_image, read_image
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.files import write_text, written_whole
from mambaad.inspection import Inspector
from mambaad.inspection.records import Record, record_of
from mambaad.inspection_report import InspectionReport
from mambaad.models.inference import Precision
from mambaad.progress import ProgressBar, say
from mambaad.report import Case, draw_outlines, heatmap_overlay, junit_xml
from mambaad.types import Verdict

TABLE, RECORDS, HEATMAP = "predictions.csv", "predictions.jsonl", ".heatmap.png"


def predict(
    source: str | Path,
    images: Iterable[str | Path],
    out: str | Path,
    *,
    product: str | None = None,
    precision: Precision = "float32",
    device: str = "cpu",
    report: str | Path | None = None,
    good: str | Path | None = None,
    need_verdicts: bool = False,
) -> list[Record]:
    """Inspect image files and write what was found.

    For an image ``a/b.png`` below the folder that all of them share, ``out`` gets
    ``a/b.png.heatmap.png`` (on its class's fixed scale, the regions outlined) and
    ``a/b.png.map.npy`` (float32, at the model's size); and all images together
    ``predictions.jsonl``, a record each (:mod:`mambaad.inspection.records`), and
    ``predictions.csv``, its main fields.

    Args:
        source: the folder that training made, or a bundle; calibrated if there are to be verdicts.
        images: files, and folders that are searched for images at any depth.
        out: the folder to write to. Heatmaps (``*.heatmap.png``) are never taken as input.
        product: the class of all of them, if known.
        precision, device: see :class:`mambaad.Inspector`.
        report: a folder for a page with all images, and why flagged ones were flagged.
        good: a data set, whose good parts the page compares flagged ones with.
        need_verdicts: refuse a model that gives none.

    Returns:
        The records. An image that cannot be read, or whose results cannot be written, is one of
        them, with its error; the others are done.

    Raises:
        ConfigError, DataError, RunError: nothing to do, or a place that cannot be written.
    """
    inspector = Inspector(source, precision, device=device)
    inspector.check_product(product)
    if need_verdicts and inspector.calibration is None:
        raise RunError(f"{source} has no calibration for {precision}; run mambaad calibrate first")
    if not inspector.is_finished:
        say(f"{source}: training has not ended, so no class is named and heatmaps go from 0 to 1")
    out = Path(out)
    found = _find_images([Path(image) for image in images])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"--out: {out} cannot be made ({error.strerror}); choose another folder"
        ) from error
    page = (
        InspectionReport(Path(report), Path(source), inspector, Path(good) if good else None)
        if report
        else None
    )
    records: list[Record] = []
    try:
        with ProgressBar("predicting") as bar:
            for done, (path, name) in enumerate(found.items(), start=1):
                records.append(_predict_one(inspector, path, product, out / name, page))
                bar.update(done, len(found), path.name)
    finally:  # after Ctrl-C too: what is done has its record
        write_text(out / RECORDS, "".join(r.model_dump_json() + "\n" for r in records))
        write_text(out / TABLE, _table(records))
        if page:
            page.write("Inspection", _facts(source, inspector, records))
    return records


def _facts(source: str | Path, inspector: Inspector, records: Sequence[Record]) -> dict[str, str]:
    calibration = inspector.calibration
    return {
        "Model": Path(source).name,
        "Products": ", ".join(inspector.products) or "not known",
        "Images": str(len(records)),
        "Thresholds": f"calibrated ({calibration.method})" if calibration else "not calibrated",
        "Image size": " x ".join(map(str, inspector.size)),
    }


def _predict_one(
    inspector: Inspector,
    path: Path,
    product: str | None,
    target: Path,
    page: InspectionReport | None,
) -> Record:
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    image = prediction = None
    try:
        image = read_image(path)
        prediction = inspector.inspect(image, product)
        scale = prediction.scale or inspector.scale
        overlay = heatmap_overlay(image, prediction.anomaly_map, scale)
        if prediction.region_mask is not None:
            overlay = draw_outlines(overlay, prediction.region_mask)
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target.with_name(target.name + HEATMAP)) as temporary:
            Image.fromarray(overlay).save(temporary, format="PNG")
        with (
            written_whole(target.with_name(target.name + ".map.npy")) as temporary,
            temporary.open("wb") as file,
        ):
            np.save(file, prediction.anomaly_map, allow_pickle=False)
        record = record_of(
            path, prediction, product_given=product is not None, model=inspector.weights, time=time
        )
    except (DataError, RunError, OSError) as error:
        record = record_of(path, None, model=inspector.weights, time=time, error=str(error))
    if page:
        page.add(record, image, prediction)
    return record


def verdicts_junit(records: Iterable[Record]) -> str:
    """The verdicts as JUnit XML: FAIL is a failure, REVIEW is skipped, the rest are errors."""
    outcomes = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.REVIEW: "skipped"}
    return junit_xml(
        Case(
            record.product or "no known product",
            record.path,
            outcomes.get(record.verdict, "error") if record.verdict else "error",
            f"{record.verdict.value}: {record.reason}" if record.verdict else record.error or "",
        )
        for record in records
    )


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


def _table(records: Iterable[Record]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "class", "score", "verdict", "percentile", "error"])
    for r in records:
        score = "" if r.score is None else f"{r.score:.6f}"
        percentile = "" if r.percentile is None else f"{r.percentile:.2f}"
        verdict = r.verdict.value if r.verdict else ""
        writer.writerow([r.path, r.product or "", score, verdict, percentile, r.error or ""])
    return text.getvalue()
