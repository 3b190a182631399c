"""What a job writes of each shard: its records, its maps if they are kept, and then its marker."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError, field_validator

from mambaad.artifacts.sealed import parse_sealed, sealed_json
from mambaad.documents import DocumentError
from mambaad.errors import RunError
from mambaad.inspection.records import Record
from mambaad.shards.stores import Place, first_line
from mambaad.types import Verdict

PARQUET, LINES, MAPS, DONE = "parquet", "jsonl", "maps", "done"
"""The folders of a job's files."""
_SUFFIXES = {PARQUET: ".parquet", LINES: ".jsonl", MAPS: ".npy", DONE: ".json"}
_READERS = 16  # of a store's markers at a time

_QUALITY = [
    *((name, pa.float64()) for name in ("sharpness", "brightness", "dark", "bright")),
    *((name, pa.int64()) for name in ("height", "width")),
]
_REGION = [
    ("box", pa.list_(pa.int64(), 4)),
    *((name, pa.float64()) for name in ("area_px", "area_mm2", "peak")),
    ("peak_at", pa.list_(pa.int64(), 2)),
]
SCHEMA = pa.schema(
    [
        ("schema_version", pa.int64()),
        *((name, pa.string()) for name in ("path", "time", "model", "product")),
        ("product_given", pa.bool_()),
        ("product_margin", pa.float64()),
        *((name, pa.string()) for name in ("verdict", "reason")),
        *((name, pa.float64()) for name in ("score", "percentile", "p_value")),
        ("regions", pa.list_(pa.struct(_REGION))),
        ("quality", pa.struct(_QUALITY)),
        *((name, pa.string()) for name in ("defect_type", "error")),
        ("skipped", pa.bool_()),
        # Beside the record: what measuring metrics needs.
        ("observed_score", pa.float64()),
        ("height", pa.int64()),
        ("width", pa.int64()),
    ]
)
"""The columns of the Parquet files: those of a record, and three of an observation."""


@dataclass(frozen=True)
class Inspection:
    """The outcome of one row.

    ``observed_score``: the model's own, before any decision. ``shape``: height and width of the
    image. ``anomaly_map``: None with an error, or if maps are not kept.
    """

    record: Record
    observed_score: float | None = None
    shape: tuple[int, int] | None = None
    anomaly_map: Float[np.ndarray, "h w"] | None = None


class Done(BaseModel):
    """The marker of a shard: it is written last, and counts what the records say.

    ``verdicts``: numbers of parts by product (empty: not known) and verdict (empty: none).
    ``errors``: rows without a result. ``skipped``: rows that nobody expects to have one. ``files``:
    the SHA-256 of each file of the shard, by its name.
    """

    model_config = ConfigDict(extra="ignore")

    shard: NonNegativeInt
    rows: NonNegativeInt
    errors: NonNegativeInt = 0
    skipped: NonNegativeInt = 0
    verdicts: dict[str, dict[str, NonNegativeInt]] = {}
    files: dict[str, str] = {}

    @field_validator("verdicts")
    @classmethod
    def _are_verdicts(cls, value: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        for name in (name for numbers in value.values() for name in numbers):
            if name:
                Verdict(name)  # ValueError: it is none
        return value


def file_of(folder: str, shard: int) -> str:
    """The name of a shard's file in one of the folders of a job's files."""
    return f"{folder}/part-{shard:08}{_SUFFIXES[folder]}"


def write_shard(
    place: Place, shard: int, inspections: Sequence[Inspection], map_size: tuple[int, int] | None
) -> Done:
    """Write what is known of a shard, the same bytes whenever it is written, then its marker.

    Args:
        place: of the job.
        shard: its number.
        inspections: of all of its rows, in their order.
        map_size: height and width of the maps; None if they are not kept.

    Raises:
        RunError: it cannot be written.
    """
    records = [one.record for one in inspections]
    lines = "".join(record.model_dump_json() + "\n" for record in records)
    contents = {LINES: lines.encode(), PARQUET: _parquet(inspections)}
    if map_size is not None:
        contents[MAPS] = _maps(inspections, map_size)
    done = count(shard, records)
    for folder, content in contents.items():
        place.write(file_of(folder, shard), content)
        done.files[file_of(folder, shard)] = hashlib.sha256(content).hexdigest()
    place.write(file_of(DONE, shard), sealed_json(done))
    return done


def count(shard: int, records: Iterable[Record]) -> Done:
    """Count the records of a shard."""
    done, verdicts = Done(shard=shard, rows=0), Counter[tuple[str, str]]()
    for record in records:
        done.rows += 1
        done.skipped += record.skipped
        if record.error is not None:
            done.errors += not record.skipped
        else:
            verdict = record.verdict.value if record.verdict else ""
            verdicts[record.product or "", verdict] += 1
    for (product, verdict), number in sorted(verdicts.items()):
        done.verdicts.setdefault(product, {})[verdict] = number
    return done


def finished(place: Place, shards: int) -> set[int]:
    """Return the numbers of the shards that have their marker (OSError)."""
    names = {file_of(DONE, shard): shard for shard in range(shards)}
    found = (f"{DONE}/{name}" for name in place.names(DONE))
    return {names[name] for name in found if name in names}


def read_done(place: Place, shards: Iterable[int]) -> Iterator[Done]:
    """Read the markers of shards, in their order.

    Raises:
        RunError: one cannot be read, or has changed.
    """

    def read(shard: int) -> Done:
        return read_marker(place, shard)

    if place.folder is not None:
        yield from map(read, shards)
        return
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(read, shards)


def read_marker(place: Place, shard: int) -> Done:
    """Read the marker of a shard (RunError: it cannot be read, or has changed)."""
    name = place.name_of(file_of(DONE, shard))
    again = "remove it, and its shard is inspected again"
    try:
        done = Done.model_validate(parse_sealed(place.read(file_of(DONE, shard)), name))
    except DocumentError as error:
        raise RunError(f"{error}; {again}") from error
    except (OSError, ValidationError) as error:
        raise RunError(f"{name} cannot be read ({first_line(error)}); {again}") from error
    if done.shard != shard:
        raise RunError(f"{name} is the marker of shard {done.shard}; {again}")
    return done


def read_part(place: Place, folder: str, shard: int) -> bytes:
    """Read a shard's file whole, as its marker has it.

    Raises:
        RunError: it cannot be read, or has changed since it was written.
    """
    try:
        content = place.read(file_of(folder, shard))
    except OSError as error:
        raise unusable(place, folder, shard, error) from error
    check_part(place, folder, shard, hashlib.sha256(content).hexdigest())
    return content


def check_part(place: Place, folder: str, shard: int, digest: str) -> None:
    """Refuse a shard's file that has another SHA-256 than its marker says (RunError)."""
    if digest != read_marker(place, shard).files.get(file_of(folder, shard)):
        raise unusable(place, folder, shard, ValueError("it has changed since it was written"))


def unusable(place: Place, folder: str, shard: int, error: Exception) -> RunError:
    """Make the error of a shard's file that cannot be used, and say how it is made again."""
    return RunError(
        f"{place.name_of(file_of(folder, shard))} cannot be read ({first_line(error)}); remove the "
        f"marker of its shard, {file_of(DONE, shard)}, and 'mambaad inspect --resume' makes it "
        "again"
    )


def read_records(place: Place, shard: int) -> list[Record]:
    """Read the records of a shard (RunError: they cannot be read, or have changed)."""
    lines = read_part(place, LINES, shard).splitlines()
    try:
        return list(map(Record.model_validate_json, lines))
    except ValidationError as error:
        raise unusable(place, LINES, shard, error) from error


def read_columns(place: Place, shard: int, columns: Sequence[str]) -> Any:
    """Read columns of a shard's records, as a table of pyarrow.

    Raises:
        RunError: they cannot be read.
    """
    content = read_part(place, PARQUET, shard)
    try:
        table = pq.read_table(pa.BufferReader(content)).select(columns)
        table.validate(full=True)  # text is UTF-8
        return table.cast(pa.schema([SCHEMA.field(name) for name in columns]))
    except (OSError, pa.ArrowException, KeyError) as error:  # of another version
        raise unusable(place, PARQUET, shard, error) from error


def _parquet(inspections: Sequence[Inspection]) -> bytes:
    rows = []
    for one in inspections:
        height, width = one.shape or (None, None)
        rows.append(
            {
                **one.record.model_dump(mode="json"),
                "observed_score": one.observed_score,
                "height": height,
                "width": width,
            }
        )
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), file, compression="zstd")
    return file.getvalue()


def _maps(inspections: Sequence[Inspection], size: tuple[int, int]) -> bytes:
    maps = np.full((len(inspections), *size), np.nan, np.float16)
    for row, one in enumerate(inspections):
        if one.anomaly_map is not None:
            maps[row] = one.anomaly_map
    file = io.BytesIO()
    np.save(file, maps, allow_pickle=False)
    return file.getvalue()
