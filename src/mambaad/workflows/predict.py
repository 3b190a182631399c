"""Prediction for files: a heatmap, the raw map and a record for each image."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mambaad.data.images import is_image, read_image
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.files import write_text, written_whole
from mambaad.inference.packed.pack import Precision
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.records import Record, record_of
from mambaad.process import sigterm_as_interrupt
from mambaad.progress import ProgressBar, say
from mambaad.report.inspection_html import PICTURES
from mambaad.report.inspection_page import InspectionReport
from mambaad.report.junit import Case, junit_xml
from mambaad.report.overlay import draw_outlines, heatmap_overlay
from mambaad.types import Prediction, Verdict

TABLE, RECORDS, HEATMAP = "predictions.csv", "predictions.jsonl", ".heatmap.png"
UNFINISHED = ".part"
"""The end of the name of the records so far, while images are inspected; a kill leaves it."""
NO_VERDICT = "there is no verdict: its class has no calibration; run mambaad calibrate with it"


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
    ``predictions.csv``, its main fields. Ctrl-C and SIGTERM (a KeyboardInterrupt too, while images
    are inspected) leave what is done so far.

    Args:
        source: the folder that training made, or a bundle; calibrated if there are to be verdicts.
        images: files, and folders that are searched for images at any depth, but for ``out`` and
            ``report`` where they lie inside.
        out: the folder to write to. Heatmaps (``*.heatmap.png``) are never taken as input.
        product: the class of all of them, if known.
        precision, device: see :class:`mambaad.Inspector`.
        report: a folder for a page with all images, and why flagged ones were flagged.
        good: a data set, whose good parts the page compares flagged ones with.
        need_verdicts: refuse a model that gives none; an image without one has an error then.

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
    found = _find_images([Path(image) for image in images], out, Path(report) if report else None)
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
    with sigterm_as_interrupt():
        try:
            with _kept(out) as keep, ProgressBar("predicting") as bar:
                for done, (path, name) in enumerate(found.items(), start=1):
                    record, image, prediction = _predict_one(inspector, path, product, out / name)
                    if need_verdicts and not (record.verdict or record.error):
                        record.error = NO_VERDICT
                    keep(record)
                    records.append(record)
                    if page:
                        page.add(record, image, prediction)
                    bar.update(done, len(found), _text(path.name))
        finally:  # of an inspection that was broken off, what is done
            write_text(out / TABLE, _table(records))
            if page:
                page.write("Inspection", _facts(source, inspector, records))
    return records


@contextmanager
def _kept(out: Path) -> Iterator[Callable[[Record], None]]:
    """What writes each record as it comes; the file has its name once this ends, however it ends.

    Raises:
        RunError: it cannot be written. The records before are in the file.
    """
    path = (out / RECORDS).resolve()  # a link stays one
    unfinished = path.with_name(path.name + UNFINISHED)
    with _written(path):
        file = unfinished.open("wb", buffering=0)

    def keep(record: Record) -> None:
        with _written(path):
            line, end = (record.model_dump_json() + "\n").encode(), file.tell()
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise

    try:
        yield keep
    finally:
        with _written(path):
            try:
                os.fsync(file.fileno())
            finally:
                file.close()
                unfinished.replace(path)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}); free some space, or choose "
            "another place"
        ) from error


def _facts(source: str | Path, inspector: Inspector, records: Sequence[Record]) -> dict[str, str]:
    calibration = inspector.calibration
    return {
        "Model": _text(Path(source).name),
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
) -> tuple[Record, UInt8[np.ndarray, "h w 3"] | None, Prediction | None]:
    """The image's record, its pixels and what was found in it, as far as there are any."""
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
        error = None
    except (DataError, RunError, OSError) as problem:
        error = _text(str(problem))
    record = record_of(
        Path(_text(path)),
        None if error else prediction,
        product_given=product is not None,
        model=inspector.weights,
        time=time,
        error=error,
    )
    return record, image, prediction


def _text(path: str | Path) -> str:
    """As it can be written in any encoding of Unicode: not every file's name is UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def verdicts_junit(records: Iterable[Record]) -> str:
    """The verdicts as JUnit XML: FAIL is a failure, REVIEW is skipped, the rest are errors."""
    outcomes = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.REVIEW: "skipped"}
    return junit_xml(
        Case(
            record.product or "no known product",
            record.path,
            outcomes.get(record.verdict, "error") if record.verdict else "error",
            f"{record.verdict.value}: {record.reason}"
            if record.verdict
            else record.error or NO_VERDICT,
        )
        for record in records
    )


def _find_images(given: Sequence[Path], out: Path, report: Path | None) -> dict[Path, Path]:
    """The image files, and each one's path below the folder that all of them share."""
    found: dict[Path, Path] = {}  # by absolute path, so that none is done twice
    tops = []
    for path in given:
        if path.is_dir():
            tops.append(_absolute(path))
            # Of what is written here, pictures may be there from before.
            own = _inside(path, [out, *([report, report / PICTURES] if report else [])])
            for file in sorted(path.rglob("*")):
                if file.name.endswith(HEATMAP) or not own.isdisjoint(file.parents):
                    continue
                if is_image(file) and file.is_file():
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


def _inside(folder: Path, places: Iterable[Path]) -> set[Path]:
    """Those of the places that lie inside a folder, as paths below it."""
    top = folder.resolve()
    real = (place.resolve() for place in places)
    return {folder / place.relative_to(top) for place in real if top in place.parents}


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
