"""The inspection of a shard, in a worker: the records that ``mambaad predict`` gives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mambaad.data.decoding import Decoded, decode_bytes
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.file_errors import cannot_read
from mambaad.files import file_digest, printable
from mambaad.inspection.records import Record, record_of
from mambaad.shards.manifest import Row, read_shard
from mambaad.shards.plan import Plan
from mambaad.shards.results import Done, Inspection, write_shard
from mambaad.shards.stores import (
    SHORT,
    Patience,
    Place,
    first_line,
    is_lasting,
    is_url,
    read_url,
)
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
class Waiting:
    """A worker waits for a store, for at most so many ``seconds`` until it says something again."""

    seconds: float


Step = int | Waiting | None
"""What a worker is at: the row that it begins, the store that it waits for, or None, writing."""


@dataclass(frozen=True)
class Stored:
    """The image of a store's file, fetched when it is decoded; see :class:`mambaad.types.Sample`.

    ``url``: of the file. ``row``: of the manifest. ``patience``: with the store.
    """

    url: str
    row: Row
    patience: Patience

    def decode(self, reading: Reading) -> Decoded:
        """Fetch and decode the image.

        Raises:
            DataError: it cannot be read.
            RunError: the store does not give it, or anything: no error of this image.
        """
        try:
            content = read_url(self.url, self.patience)
        except ConfigError as error:  # of one image among many it is no reason to end
            raise DataError(str(error)) from error
        except OSError as error:
            told = f"{self.url} cannot be read ({first_line(error)})"
            if is_lasting(error):
                raise DataError(f"{told}; repair or remove it") from error
            raise RunError(
                f"{told}; see to the store, the credentials and the permission to read it, then "
                "go on with --resume"
            ) from error
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
    inspector: Inspector, plan: Plan, task: Task, tell: Callable[[Step], None]
) -> Done:
    """Inspect the images of a shard, and write what comes of it.

    Args:
        inspector: has the model.
        plan: of the job.
        task: the shard.
        tell: called with each step, by any thread: with the number of a row before its image is
            looked at; if the task is not careful, some rows ahead.

    Raises:
        RunError: the manifest cannot be read, or the results not be written, or a store fails.
    """
    patience = Patience(plan.store_seconds, lambda seconds: tell(Waiting(seconds)))
    place = Place(plan.out, patience)
    rows = [
        replace(row, problem=task.lost[number]) if number in task.lost else row
        for number, row in enumerate(read_shard(place, task.shard))
    ]
    stream = inspect_rows(
        inspector,
        rows,
        plan.product,
        plan.time,
        is_careful=task.is_careful,
        begin=tell,
        patience=patience,
    )
    inspections = [_outcome(inspected, plan.maps) for inspected in stream]
    tell(None)
    return write_shard(place, task.shard, inspections, inspector.size if plan.maps else None)


def inspect_rows(
    inspector: Inspector,
    rows: Sequence[Row],
    product: str | None,
    time: str,
    *,
    base: str = "",
    is_careful: bool = False,
    begin: Callable[[int], None] = lambda number: None,
    patience: Patience = SHORT,
) -> Iterator[Inspected]:
    """Inspect rows of a manifest as ``predict`` does images; yields each in its place.

    Args:
        inspector: has the model.
        rows: of the manifest; those with a ``problem`` are not looked at.
        product: of all images, if known.
        time: that the records carry.
        base: the folder from which relative paths lead; by default this process's.
        is_careful: whether images are taken one by one.
        begin: called with the number of each row before its image is looked at.
        patience: with stores.

    Raises:
        RunError: a store does not answer.
    """
    from mambaad.inspection.inspector import Inspected
    from mambaad.inspection.stream import Item, Observed

    def items() -> Iterator[Item]:
        for number, row in enumerate(rows):
            if not row.problem:
                begin(number)
                yield _item(inspector, product, row, base, patience)

    def stream() -> Iterator[Inspected]:
        if is_careful:
            for item in items():
                yield from inspector.inspect_items([item])
        else:
            yield from inspector.inspect_items(items(), batch_size=inspector.engine.batch_size)

    inspections = stream()
    for row in rows:
        if row.problem:
            record = record_of(row.path, None, model=inspector.weights, error=row.problem)
            record.skipped = row.skipped
            inspected = Inspected(record, None, Observed(Item(Path(row.path))))
        else:
            inspected = next(inspections)
        _name(inspected.record, row, time, base)
        yield inspected


def _item(
    inspector: Inspector, product: str | None, row: Row, base: str, patience: Patience
) -> Item:
    from mambaad.inspection.stream import Item

    path = Path(row.path)
    if is_url(row.path):
        held: object = Stored(row.path, row, patience)
    elif problem := _problem_of_file(row, path := base / path):
        held = Refused(problem)
    else:
        return inspector.item(path, product)
    sample = Sample(path, "", reading=inspector.reading, held=held)
    return Item.of(sample, product)


@dataclass(frozen=True)
class Refused:
    """An image that is not decoded, as its file is not the one that was listed."""

    problem: str

    def decode(self, reading: Reading) -> Decoded:
        """Raise the problem (DataError)."""
        raise DataError(self.problem)


def _problem_of_file(row: Row, path: Path) -> str | None:
    """Why a file is not to be inspected; None if it is, or if reading it will say why not."""
    try:
        size = path.stat().st_size
        digest = file_digest(path) if row.digest else None
    except FileNotFoundError:
        return None
    except OSError as error:
        return cannot_read(path, error, "repair or remove it")
    return changed(row, size, digest)


def _name(record: Record, row: Row, time: str, base: str) -> None:
    """Give a record the path of its row as ``predict`` writes it, and the job's time."""
    name, path = printable(row.path), Path(row.path)
    read_as = path if is_url(row.path) else base / path
    record.path = name if is_url(row.path) else Path(name).as_posix()
    record.time, record.defect_type = time, None
    if record.error is not None:  # as a path, a URL has but one /
        record.error = record.error.replace(printable(read_as), record.path)


def _outcome(inspected: Inspected, keeps_maps: bool) -> Inspection:
    observed = inspected.observed
    if observed.observation is None or observed.pixels is None:
        return Inspection(inspected.record)
    height, width = observed.pixels.shape[:2]
    kept = observed.observation.anomaly_map.astype(np.float16) if keeps_maps else None
    score = float(observed.observation.score)
    return Inspection(inspected.record, score, (height, width), kept)
