"""``mambaad predict``: a heatmap, the raw map and a record for each image file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mambaad.data.walk import Unread
from mambaad.errors import ConfigError, RunError
from mambaad.file_errors import cannot_write
from mambaad.files import check_regular, locked, printable, write_text, written_whole
from mambaad.inference.compute import Compilation, Precision
from mambaad.inspection.inspector import Inspected, Inspector
from mambaad.inspection.records import Record, record_of
from mambaad.inspection.stream import Item, Observed
from mambaad.process import sigterm_as_interrupt
from mambaad.progress import ProgressBar, say
from mambaad.report.junit import Case, junit_xml
from mambaad.types import Verdict
from mambaad.workflows.csv_text import csv_text
from mambaad.workflows.predict_inputs import (
    HEATMAP,
    MAP,
    RECORDS,
    TABLE,
    UNFINISHED,
    Inputs,
    find_inputs,
    remove_former,
)
from mambaad.workflows.verdicts import check_calibrated

if TYPE_CHECKING:  # it imports PyTorch
    from mambaad.report.inspection_page import InspectionPage

NO_VERDICT = "no verdict: the class has no calibration; run mambaad calibrate with it"


def predict(
    source: str | Path | Inspector,
    images: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    product: str | None = None,
    precision: Precision = "float32",
    device: str = "auto",
    compile: Compilation = "auto",
    report: str | Path | None = None,
    good: str | Path | None = None,
    need_verdicts: bool = False,
    max_pixels: int | None = None,
    pictures: bool = True,
    tiles: str | tuple[int, int] | None = None,
) -> list[Record]:
    """Inspect image files, and write heatmaps, anomaly maps and records.

    For an image ``a/b.png`` below the images' common folder, ``out`` gets ``a/b.png.heatmap.png``
    (in the heatmap range of its class, regions outlined) and ``a/b.png.map.npy`` (float32, h x w at
    the model's size). For all images together it gets ``predictions.jsonl``, one record each
    (:mod:`mambaad.inspection.records`), and ``predictions.csv``, the main fields of the records.
    After Ctrl-C or SIGTERM (raised as KeyboardInterrupt), the results so far are kept. Results of
    an earlier call to the same folder are replaced, all of them.

    Args:
        source: a run folder or a bundle, calibrated if verdicts are wanted; or an inspector, whose
            own precision and device apply.
        images: a file, or a folder that is searched for images at any depth
            (:mod:`mambaad.data.walk`), except for results of this and earlier calls inside; or
            several of them.
        out: the folder to write to.
        product: the product of all images, if known.
        precision, device, compile: see :class:`mambaad.Inspector`.
        report: a folder for a page that shows all images and explains the flagged ones.
        good: a data set whose good parts the page shows beside flagged ones.
        need_verdicts: refuse a model without calibration, and record an error for each image
            without a verdict.
        max_pixels: images with more are refused; by default as in training.
        pictures: write heatmaps and maps; else the records alone.
        tiles: of large images, see :class:`mambaad.Inspector`.

    Returns:
        The records. An image that cannot be read or is still being written, or whose results
        cannot be written, has a record with its error, as has any file that may be meant to be
        inspected but is none that can be read; the others are unaffected. What else is passed over,
        such as hidden files, has records with ``skipped``.

    Raises:
        ConfigError, DataError, RunError: no images, wrong arguments, or a folder that cannot be
            written, or is being written by another process, which is not disturbed.
    """
    out, page_folder = Path(out), Path(report) if report else None
    inputs = find_inputs(_paths(images), out, page_folder)
    if isinstance(source, Inspector):
        inspector = source
    else:
        inspector = Inspector(
            source,
            precision,
            device=device,
            compile=compile,
            keep_trained=report is not None,
            max_pixels=max_pixels,
            tiles=tiles,
        )
    inspector.check_product(product)
    if need_verdicts:
        check_calibrated(inspector)
    if not inspector.is_finished:
        say(
            f"{inspector.source}: training has not ended: products are unknown, and the heatmap "
            "range is [0, 1]"
        )
    # The locks come first: a folder that another call writes to is left alone.
    page_lock = locked(page_folder, make=True) if page_folder else nullcontext()
    with locked(out, make=True), page_lock:
        page = None
        if page_folder:
            from mambaad.report.inspection_page import InspectionPage

            page = InspectionPage(page_folder, inspector, Path(good) if good else None)
        with sigterm_as_interrupt():
            return _inspect(
                inspector,
                inputs,
                out,
                page,
                product,
                need_verdicts=need_verdicts,
                pictures=pictures,
            )


def _paths(images: str | Path | Iterable[str | Path]) -> list[Path]:
    several = [images] if isinstance(images, (str, os.PathLike)) else images
    try:
        return [Path(image) for image in several]
    except TypeError:
        raise ConfigError(
            "images: expected paths of files and folders, such as 'part.png' or ['a.png', 'b']; "
            "to inspect arrays and other images in memory, use mambaad.Inspector(run).inspect"
        ) from None


def _inspect(
    inspector: Inspector,
    inputs: Inputs,
    out: Path,
    page: InspectionPage | None,
    product: str | None,
    *,
    need_verdicts: bool,
    pictures: bool,
) -> list[Record]:
    """Inspect all images, and write everything; see :func:`predict`."""
    records: list[Record] = []
    written: set[Path] = set()

    def finish() -> None:
        write_text(out / TABLE, _table(records))
        if removed := remove_former(out, written):
            say(f"{out}: {removed} heatmaps of an earlier call were removed")
        if page:
            name = Path(inspector.source).name
            page.write("Inspection", _facts(name, inspector, records))

    with _records_file(out) as write_record, ProgressBar("predicting") as bar:

        def keep(inspected: Inspected) -> None:
            write_record(inspected.record)
            records.append(inspected.record)
            if page and not inspected.record.skipped:
                page.add(inspected)

        try:
            for one in inputs.unread:
                keep(_passed_over(one, inspector))
            unfinished = inputs.still_written()
            for path in unfinished:
                reason = "is still being written; inspect it once it is complete"
                keep(_passed_over(Unread(path, "unfinished", reason), inspector))
            files = {p: t for p, t in inputs.targets.items() if p not in unfinished}
            items = (inspector.item(path, product) for path in files)
            stream = inspector.inspect_items(items, batch_size=inspector.engine.batch_size)
            for done, (inspected, path) in enumerate(zip(stream, files, strict=True), 1):
                if done == 1:  # so that no kill leaves its records beside this call's pictures
                    _remove_former_records(out)
                if pictures:
                    inspected = _with_files(inspected, out / files[path], inspector)
                record = inspected.record
                if pictures and not record.error:
                    written.add(out / files[path])
                if need_verdicts and not (record.verdict or record.error):
                    record.error = NO_VERDICT
                keep(inspected)
                bar.update(done, len(files), printable(path.name))
        except BaseException:  # an interrupted inspection keeps its results
            if records:
                finish()
            raise
        finish()
    return records


def _remove_former_records(out: Path) -> None:
    for name in (TABLE, RECORDS):
        path = out / name
        with _write_errors(path):
            path.resolve().unlink(missing_ok=True)


@contextmanager
def _records_file(out: Path) -> Iterator[Callable[[Record], None]]:
    """Open the records' file, and yield a function that appends a record.

    The file gets its final name on exit, after an exception too; but if an error came before the
    first record, the file of an earlier call stays.

    Raises:
        RunError: the file cannot be written. Earlier records are in it.
    """
    path = (out / RECORDS).resolve()  # a symbolic link stays one
    unfinished = path.with_name(path.name + UNFINISHED)
    for file_path in (path, unfinished):
        check_regular(file_path)
    with _write_errors(path):
        file = unfinished.open("wb", buffering=0)

    def write_record(record: Record) -> None:
        with _write_errors(path):
            line, end = (record.model_dump_json() + "\n").encode(), file.tell()
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise

    is_to_stay = False
    try:
        yield write_record
        is_to_stay = True
    finally:
        with _write_errors(path):
            has_records = file.tell() > 0
            try:
                os.fsync(file.fileno())
            finally:
                file.close()
                if is_to_stay or has_records:
                    unfinished.replace(path)
                else:
                    unfinished.unlink()


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def _facts(name: str, inspector: Inspector, records: Sequence[Record]) -> dict[str, str]:
    calibration = inspector.calibration
    return {
        "Model": printable(name),
        "Products": ", ".join(inspector.products) or "unknown",
        "Images": str(sum(not record.skipped for record in records)),
        "Thresholds": f"calibrated ({calibration.method})" if calibration else "not calibrated",
        "Image size": " x ".join(map(str, inspector.size)),
    }


def _passed_over(one: Unread, inspector: Inspector) -> Inspected:
    """Make the record of something that is not inspected."""
    files = f" ({one.files} files)" if one.files > 1 else ""
    record = record_of(
        one.path,
        None,
        model=inspector.weights,
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        error=f"{one.path}{files} {one.reason}",
    )
    record.skipped = one.is_usual
    return Inspected(record, None, Observed(Item(one.path)))


def _with_files(inspected: Inspected, target: Path, inspector: Inspector) -> Inspected:
    """Write an image's heatmap and map, and return it, with an error if that failed."""
    # matplotlib and SciPy, which records alone do without
    from mambaad.inspection.overlay import draw_outlines, heatmap_overlay

    prediction, pixels = inspected.prediction, inspected.observed.pixels
    if prediction is None or pixels is None:
        return inspected
    overlay = heatmap_overlay(pixels, prediction.anomaly_map, inspector.range_of(prediction))
    if prediction.region_mask is not None:
        overlay = draw_outlines(overlay, prediction.region_mask)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target.with_name(target.name + HEATMAP)) as temporary:
            Image.fromarray(overlay).save(temporary, format="PNG")
        with (
            written_whole(target.with_name(target.name + MAP)) as temporary,
            temporary.open("wb") as file,
        ):
            np.save(file, prediction.anomaly_map, allow_pickle=False)
    except (RunError, OSError) as problem:
        return inspected.failed(problem)
    return inspected


def verdicts_junit(records: Iterable[Record]) -> str:
    """Format verdicts as JUnit XML: FAIL is a failure, REVIEW is skipped, the rest are errors."""
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
        if not record.skipped
    )


def _table(records: Iterable[Record]) -> str:
    rows = [["path", "class", "score", "verdict", "percentile", "error"]]
    for r in records:
        if r.skipped:
            continue
        score = "" if r.score is None else f"{r.score:.6f}"
        percentile = "" if r.percentile is None else f"{r.percentile:.2f}"
        verdict = r.verdict.value if r.verdict else ""
        rows.append([r.path, r.product or "", score, verdict, percentile, r.error or ""])
    return csv_text(rows)
