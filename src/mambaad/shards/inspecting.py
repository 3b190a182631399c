"""The inspection of a shard, in a worker: the records that ``mambaad predict`` gives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mambaad.data.decoding import Decoded, decode_bytes
from mambaad.errors import ConfigError, DataError
from mambaad.file_errors import cannot_read
from mambaad.files import file_digest, printable
from mambaad.inspection.records import Record, record_of
from mambaad.shards.manifest import Row, read_shard
from mambaad.shards.plan import Plan
from mambaad.shards.results import Done, Inspection, write_shard
from mambaad.shards.stores import Place, first_line, is_url, read_url
from mambaad.types import Reading, Sample

if TYPE_CHECKING:
    from mambaad.inspection.inspector import Inspected, Inspector
    from mambaad.inspection.stream import Item


@dataclass(frozen=True)
class Task:
    """A shard to inspect.

    ``lost``: rows that are not inspected, as workers died at them, each with its reason.
    ``is_careful``: whether images are taken one by one, so that it is known which one a worker dies
    at.
    """

    shard: int
    lost: Mapping[int, str]
    is_careful: bool = False


@dataclass(frozen=True)
class Stored:
    """The image of a store's file, fetched when it is decoded; see :class:`mambaad.types.Sample`.

    ``url``: of the file. ``row``: of the manifest.
    """

    url: str
    row: Row

    def decode(self, reading: Reading) -> Decoded:
        """Fetch and decode the image (DataError)."""
        try:
            content = read_url(self.url)
        except ConfigError as error:  # of one image among many it is no reason to end
            raise DataError(str(error)) from error
        except OSError as error:
            reason = first_line(error)
            raise DataError(f"{self.url} cannot be read ({reason}); repair or remove it") from error
        digest = hashlib.sha256(content).hexdigest() if self.row.digest else None
        if problem := changed(self.row, len(content), digest):
            raise DataError(problem)
        return decode_bytes(content, Path(self.url), reading.max_pixels)


def changed(row: Row, size: int, digest: str | None) -> str | None:
    """Say that a file is not the one that the manifest lists; None if it is."""
    if row.size is not None and size != row.size:
        found = f"it has {size} bytes, and had {row.size}"
    elif row.digest is not None and digest is not None and digest != row.digest:
        found = "its digest is another one"
    else:
        return None
    return f"{row.path} has changed since it was listed ({found}); inspect it once it is complete"


def inspect_shard(
    inspector: Inspector, plan: Plan, task: Task, begin: Callable[[int], None]
) -> Done:
    """Inspect the images of a shard, and write what comes of it.

    Args:
        inspector: has the model.
        plan: of the job.
        task: the shard.
        begin: called with the number of each row before its image is looked at; if the task is not
            careful, some rows ahead.

    Raises:
        RunError: the manifest cannot be read, or the results not be written.
    """
    place = Place(plan.out)
    rows = [
        replace(row, problem=task.lost[number]) if number in task.lost else row
        for number, row in enumerate(read_shard(place, task.shard))
    ]
    stream = inspect_rows(inspector, rows, plan.product, plan.time, task.is_careful, begin)
    inspections = [_outcome(inspected, plan.maps) for inspected in stream]
    return write_shard(place, task.shard, inspections, inspector.size if plan.maps else None)


def inspect_rows(
    inspector: Inspector,
    rows: Sequence[Row],
    product: str | None,
    time: str,
    is_careful: bool = False,
    begin: Callable[[int], None] = lambda number: None,
) -> Iterator[Inspected]:
    """Inspect rows of a manifest as ``predict`` does images; yields each in its place.

    Args:
        inspector: has the model.
        rows: of the manifest; those with a ``problem`` are not looked at.
        product: of all images, if known.
        time: that the records carry.
        is_careful, begin: see :func:`inspect_shard`.
    """
    from mambaad.inspection.inspector import Inspected
    from mambaad.inspection.stream import Item, Observed

    def items() -> Iterator[Item]:
        for number, row in enumerate(rows):
            if not row.problem:
                begin(number)
                yield _item(inspector, product, row)

    def stream() -> Iterator[Inspected]:
        if is_careful:
            for item in items():
                yield from inspector.stream([item])
        else:
            yield from inspector.stream(items(), batch_size=inspector.engine.batch_size)

    inspections = stream()
    for row in rows:
        if row.problem:
            record = record_of(row.path, None, model=inspector.weights, error=row.problem)
            record.skipped = row.skipped
            inspected = Inspected(record, None, Observed(Item(Path(row.path))))
        else:
            inspected = next(inspections)
        _name(inspected.record, row, time)
        yield inspected


def _item(inspector: Inspector, product: str | None, row: Row) -> Item:
    from mambaad.inspection.stream import Item

    if is_url(row.path):
        held: object = Stored(row.path, row)
    elif problem := _problem_of_file(row):
        held = Refused(problem)
    else:
        return inspector.item(row.path, product)
    sample = Sample(Path(row.path), "", reading=inspector.reading, held=held)
    return Item.of(sample, product)


@dataclass(frozen=True)
class Refused:
    """An image that is not decoded, as its file is not the one that was listed."""

    problem: str

    def decode(self, reading: Reading) -> Decoded:
        """Raise the problem (DataError)."""
        raise DataError(self.problem)


def _problem_of_file(row: Row) -> str | None:
    """Why a file is not to be inspected; None if it is, or if reading it will say why not."""
    path = Path(row.path)
    try:
        size = path.stat().st_size
        digest = file_digest(path) if row.digest else None
    except FileNotFoundError:
        return None
    except OSError as error:
        return cannot_read(path, error, "repair or remove it")
    return changed(row, size, digest)


def _name(record: Record, row: Row, time: str) -> None:
    """Give a record the path of its row as ``predict`` writes it, and the job's time."""
    name = printable(row.path)
    record.path = name if is_url(row.path) else Path(name).as_posix()
    record.time, record.defect_type = time, None
    if record.error is not None and is_url(row.path):  # as a path it has but one /
        record.error = record.error.replace(printable(Path(row.path)), name)


def _outcome(inspected: Inspected, keeps_maps: bool) -> Inspection:
    observed = inspected.observed
    if observed.observation is None or observed.pixels is None:
        return Inspection(inspected.record)
    height, width = observed.pixels.shape[:2]
    kept = observed.observation.anomaly_map.astype(np.float16) if keeps_maps else None
    score = float(observed.observation.score)
    return Inspection(inspected.record, score, (height, width), kept)
