"""What ``mambaad inspect`` tells of its records: errors, JUnit, and the page of a sample."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mambaad.files import locked, printable
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.records import Record
from mambaad.progress import ProgressBar
from mambaad.shards.inspecting import inspect_rows
from mambaad.shards.manifest import Row, read_shard
from mambaad.shards.results import read_columns
from mambaad.types import Verdict
from mambaad.workflows.inspect import Summary
from mambaad.workflows.predict import NO_VERDICT, verdicts_junit

_FLAGGED = (Verdict.FAIL.value, Verdict.REVIEW.value)


def failures(summary: Summary, most: int) -> list[str]:
    """Return the first errors of the records, in their order (RunError: see Summary.records)."""
    if not summary.errors:
        return []
    errors = (r.error for r in summary.records() if r.error is not None and not r.skipped)
    return list(islice(errors, most))


def is_rejected(summary: Summary) -> bool:
    """Whether a part failed or has no verdict; a part for REVIEW is not rejected."""
    accepted = (Verdict.PASS.value, Verdict.REVIEW.value)
    return bool(summary.errors) or any(v not in accepted for _, v in summary.verdicts)


def write_junit(summary: Summary) -> str:
    """Format the verdicts as JUnit XML, as ``mambaad predict`` does.

    An image without a verdict is an error there, though its record stays as it was written.
    """

    def records() -> Iterator[Record]:
        for record in summary.records():
            if not (record.verdict or record.error):
                record.error = NO_VERDICT
            yield record

    return verdicts_junit(records())


class _Place(NamedTuple):
    """Where a record is, behind what it is chosen by."""

    key: Any
    shard: int
    row: int


def chosen(summary: Summary, number: int) -> list[tuple[int, int]]:
    """Choose images for a page: up to half the worst that were flagged, the others at random.

    The same of the same records, since chance is the digest of the path.

    Returns:
        Their shards and rows, in the order of the manifest.

    Raises:
        RunError: the records cannot be read.
    """
    worst: list[_Place] = []
    random: list[_Place] = []
    for shard in range(summary.job.shards):
        table = read_columns(summary.place, shard, ["path", "score", "verdict", "skipped"])
        columns = [table.column(name).to_pylist() for name in table.column_names]
        for row, (path, score, verdict, skipped) in enumerate(zip(*columns, strict=True)):
            if skipped:
                continue
            if verdict in _FLAGGED:
                _keep(worst, _Place((verdict == _FLAGGED[0], score), shard, row), number // 2)
            chance = hashlib.sha256(path.encode()).digest()
            _keep(random, _Place(chance, shard, row), number)
    found = [(one.shard, one.row) for one in worst]
    by_chance = sorted(random, reverse=True)
    others = [(one.shard, one.row) for one in by_chance if (one.shard, one.row) not in set(found)]
    return sorted([*found, *others[: number - len(found)]])


def _keep(heap: list[_Place], one: _Place, most: int) -> None:
    """Keep the ``most`` highest in a heap."""
    if len(heap) < most:
        heapq.heappush(heap, one)
    elif heap and one > heap[0]:
        heapq.heapreplace(heap, one)


def write_page(
    summary: Summary, source: str | Path, folder: Path, number: int, *, device: str = "auto"
) -> Path:
    """Write the page of a sample of a job's images, which are inspected again for it.

    Args:
        summary: of the job.
        source: its model.
        folder: to write to.
        number: of images.
        device: to inspect them on.

    Returns:
        The path of the page.

    Raises:
        RunError, DataError: the model or the records cannot be read, or the page not be written.
    """
    from mambaad.report.inspection_page import InspectionPage  # imports PyTorch

    job, sample = summary.job, chosen(summary, number)
    inspector = Inspector(
        source,
        job.precision,  # type: ignore[arg-type]  # it was checked
        device=device,
        keep_trained=True,
        max_pixels=job.max_pixels,
    )
    shards: dict[int, list[int]] = {}
    for shard, row in sample:
        shards.setdefault(shard, []).append(row)
    with locked(folder, make=True), ProgressBar("drawing the page") as bar:
        page, done = InspectionPage(folder, inspector, None), 0
        for shard, numbers in shards.items():
            rows = _with_errors(summary, shard, numbers)
            for inspected in inspect_rows(inspector, rows, job.product, job.time, base=job.base):
                page.add(inspected)
                done += 1
                bar.update(done, len(sample))
        facts = {
            "Model": printable(Path(source).name),
            "Products": ", ".join(inspector.products) or "unknown",
            "Image size": " x ".join(map(str, inspector.size)),
        }
        tables = {"All images": _table(summary)}
        lead = _lead(summary, done)
        return page.write("Inspection", facts, tables, lead=lead, counted="Images on this page")


def _with_errors(summary: Summary, shard: int, numbers: list[int]) -> list[Row]:
    """Read rows of a shard; those without a result are not inspected again, as one may kill."""
    rows = read_shard(summary.place, shard)
    errors = read_columns(summary.place, shard, ["error"])["error"].to_pylist()
    return [replace(rows[n], problem=errors[n] or rows[n].problem) for n in numbers]


def _lead(summary: Summary, shown: int) -> str:
    """What came out of all images, and which of them are shown."""
    images = summary.rows - summary.skipped
    found = [f"{number:,} {verdict}" for verdict, number in summary.by_verdict.most_common()]
    if summary.errors:
        found.append(f"{summary.errors:,} not inspected")
    counts = f"{images:,} images{': ' + ', '.join(found) if found else ''}."
    return f"{counts} Below: {shown} of them, the worst flagged ones and others by chance."


def _table(summary: Summary) -> list[list[str]]:
    """The numbers of all images by product and verdict; the page's own are of those it shows."""
    verdicts = [verdict.value for verdict in Verdict]
    has_none = any(not verdict for _, verdict in summary.verdicts)
    shown = [*verdicts, *([""] if has_none else [])]
    products = {product for product, _ in summary.verdicts}
    names = sorted(products | {""} if summary.errors else products)
    rows = [["class", "images", *verdicts, *(["no verdict"] if has_none else []), "errors"]]
    for name in [*names, None]:
        asked = names if name is None else [name]
        counts = [sum(summary.verdicts[p, verdict] for p in asked) for verdict in shown]
        errors = summary.errors if "" in asked else 0  # what has none has no product either
        label = "all" if name is None else name or "unknown"
        rows.append([label, *map(str, (sum(counts) + errors, *counts, errors))])
    return rows
