"""``mambaad inspect``: the records of very many images, by many workers, whatever dies."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from mambaad.artifacts.manifest import WEIGHTS
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.signatures import required_key
from mambaad.artifacts.snapshot import opened
from mambaad.documents import shortened
from mambaad.errors import ConfigError, RunError
from mambaad.files import locked, sweep
from mambaad.inference.compute import Precision, check_device, check_precision
from mambaad.inspection.calibration import read_calibration
from mambaad.inspection.records import Record
from mambaad.process import sigterm_as_interrupt
from mambaad.progress import ProgressBar, say
from mambaad.shards.claim import claimed
from mambaad.shards.job import JOB, Job, identity_of, read_job, write_job
from mambaad.shards.manifest import check_manifest, digest_of_manifest, write_manifest
from mambaad.shards.plan import Executor, Plan
from mambaad.shards.processes import Processes
from mambaad.shards.results import (
    DONE,
    LINES,
    MAPS,
    PARQUET,
    Done,
    finished,
    read_done,
    read_records,
)
from mambaad.shards.stores import STORE_SECONDS, Place, first_line, is_url, plain
from mambaad.workflows.inspect_sources import find_rows

SHARD_SIZE = 256
IMAGE_SECONDS = 120.0


@dataclass
class Summary:
    """The outcome of a job, without its records, of which there may be very many.

    ``place``: its folder. ``rows``: of the manifest. ``errors``: those without a result.
    ``skipped``: those that nobody expects to have one. ``verdicts``: numbers of parts by product
    (empty: not known) and verdict (empty: none). ``inspected``: rows of this call's shards.
    """

    place: Place
    job: Job
    rows: int = 0
    errors: int = 0
    skipped: int = 0
    inspected: int = 0
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def by_verdict(self) -> Counter[str]:
        """The numbers of parts by verdict, of all products."""
        found = Counter[str]()
        for (_, verdict), number in self.verdicts.items():
            if verdict:
                found[verdict] += number
        return found

    def records(self) -> Iterator[Record]:
        """Read the records, in the order of the manifest (RunError)."""
        for shard in range(self.job.shards):
            yield from read_records(self.place, shard)

    def add(self, done: Done) -> None:
        """Count a shard."""
        self.rows += done.rows
        self.errors += done.errors
        self.skipped += done.skipped
        for product, verdicts in done.verdicts.items():
            for verdict, number in verdicts.items():
                self.verdicts[product, verdict] += number


def inspect(
    source: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    executor: Executor | None = None,
    resume: bool = False,
    product: str | None = None,
    precision: Precision = "float32",
    device: str = "auto",
    max_pixels: int | None = None,
    shard_size: int = SHARD_SIZE,
    maps: bool = False,
    digests: bool = False,
    image_seconds: float = IMAGE_SECONDS,
    store_seconds: float = STORE_SECONDS,
    time: str | None = None,
    report: Path | None = None,
) -> Summary:
    """Inspect very many images, in shards that are each done once, whatever dies.

    ``out`` gets ``job.json``, ``manifest.parquet``, and of each shard its records in ``jsonl/`` and
    ``parquet/``, its maps in ``maps/`` if they are kept, and last its marker in ``done/``. The
    records are those of :func:`mambaad.predict` but for their times. After Ctrl-C or SIGTERM
    (raised as KeyboardInterrupt) the same call with ``resume`` goes on.

    Args:
        source: a run folder or a bundle.
        sources: see :func:`mambaad.workflows.inspect_sources.find_rows`.
        out: the folder of the job, or the URL of one in a store.
        executor: what has the shards inspected; by default processes of this machine.
        resume: go on with the job that is there, if one is.
        product: the product of all images, if known.
        precision, device, max_pixels: see :class:`mambaad.Inspector`.
        shard_size: images to a shard.
        maps: keep the anomaly maps, as float16.
        digests: keep the SHA-256 of each file, and inspect only what still has it.
        image_seconds: how long an image may take.
        store_seconds: how long workers wait for a store that fails; then the job ends, and can be
            resumed.
        time: that the records carry, ISO 8601; by default that of the job's begin.
        report: a folder of results that is not searched for images.

    Raises:
        ConfigError, DataError, RunError: wrong arguments, no images, a folder that cannot be
            written or has another job, or workers that cannot go on.
    """
    check_precision(precision)
    check_device(device)
    if shard_size < 1:
        raise ConfigError(f"--shard-size: expected 1 or more, got {shard_size}")
    if image_seconds <= 0:
        raise ConfigError(f"--image-seconds: expected more than 0, got {image_seconds:g}")
    if store_seconds < 0:
        raise ConfigError(f"--store-seconds: expected 0 or more, got {store_seconds:g}")
    place = Place(str(out))
    with opened(source) as run:
        config = read_config(run)
        model, identity, size = run.digest(WEIGHTS), identity_of(run), config.size
        calibration = read_calibration(run, size)
        if maps and (calibration.tiles if calibration else config.tiles):
            raise ConfigError(
                f"--maps: {source} sees large images in tiles, whose maps have no common size; "
                "omit it"
            )
    wanted = Job(
        model=model,
        identity=identity,
        sources=tuple(plain(str(one)) for one in sources),
        base=str(Path.cwd()),
        product=product,
        precision=precision,
        max_pixels=max_pixels,
        shard_size=shard_size,
        maps=maps,
        digests=digests,
        time=time or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        size=size,
        rows=0,
        shards=0,
    )
    lock = locked(place.folder, make=True) if place.folder is not None else nullcontext()
    with lock, sigterm_as_interrupt():
        job = _begun(place, wanted, resume, report, has_time=time is not None)
        key = required_key()
        plan = Plan(
            source=_absolute(str(source)),
            out=_absolute(place.url),
            identity=identity,
            time=job.time,
            base=job.base,
            product=product,
            precision=precision,
            device=device,
            max_pixels=max_pixels,
            maps=maps,
            image_seconds=image_seconds,
            store_seconds=store_seconds,
            public_key=_absolute(str(key)) if key else None,
        )
        return _executed(place, job, plan, executor or Processes())


def _absolute(name: str) -> str:
    return name if is_url(name) else os.path.abspath(name)  # noqa: PTH100  # links stay


def _begun(place: Place, wanted: Job, resume: bool, report: Path | None, has_time: bool) -> Job:
    """Begin a job, or go on with the one that is there."""
    former = read_job(place)
    if former is None:
        if _names(place):
            raise RunError(
                f"{place} has results of a job, but no {JOB}; restore it, or give another --out"
            )
        with nullcontext(_nothing) if place.folder else claimed(place) as check:
            return _new(place, wanted, report, check)
    if not resume:
        raise RunError(
            f"{place} has the results of a job already; go on with it by --resume, or give another "
            "--out"
        )
    _check_same(place, former, wanted, has_time)
    check_manifest(place, former.manifest, former.rows, former.shards)
    return former


def _nothing() -> None:
    """A folder of this machine is locked: there is nothing to check."""


def _new(place: Place, wanted: Job, report: Path | None, check: Callable[[], None]) -> Job:
    """List the images, and begin a job."""
    rows = find_rows(wanted.sources, place.folder, report, digests=wanted.digests)
    with ProgressBar("listing"):
        count = write_manifest(place, rows, wanted.shard_size)
    shards = -(-count // wanted.shard_size)
    listed = digest_of_manifest(place)
    job = wanted.model_copy(update={"rows": count, "shards": shards, "manifest": listed})
    check()
    write_job(place, job)
    return job


def _check_same(place: Place, former: Job, wanted: Job, has_time: bool) -> None:
    """Refuse to go on with a job that had other settings (ConfigError)."""
    expected = wanted.model_dump(exclude=_OWN if has_time else {*_OWN, "time"})
    for name, value in former.model_dump(include=set(expected)).items():
        if value != expected[name]:
            flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
            raise ConfigError(
                f"{flag}: {place} was begun with {_shown(value)}, got {_shown(expected[name])}; "
                "give the same to resume it, or another --out"
            )


def _names(place: Place) -> list[str]:
    """The names of a folder's markers."""
    try:
        return place.names(DONE)
    except OSError as error:
        raise RunError(f"{place} cannot be listed ({first_line(error)})") from error


_OWN = {"base", "version", "rows", "shards", "manifest"}
"""What a job has by itself, however it is asked for."""
_FLAGS = {
    "model": "BUNDLE",
    "identity": "BUNDLE",
    "size": "BUNDLE",
    "sources": "SOURCE",
    "product": "--class",
    "digests": "--digest",
}


def _shown(value: object) -> str:
    return shortened(" ".join(map(str, value)) if isinstance(value, tuple) else str(value))


def _executed(place: Place, job: Job, plan: Plan, executor: Executor) -> Summary:
    try:
        has = finished(place, job.shards)
    except OSError as error:
        raise RunError(f"{place} cannot be listed ({first_line(error)})") from error
    left = [shard for shard in range(job.shards) if shard not in has]
    if has:
        say(f"{place}: {len(has)} of {job.shards} shards are done already")
    summary = Summary(place, job)
    former = read_done(place, (shard for shard in range(job.shards) if shard in has))
    with ProgressBar("inspecting") as bar, closing(executor.run(plan, left)) as results:
        for done in former:
            summary.add(done)
        for done in results:
            summary.add(done)
            summary.inspected += done.rows
            bar.update(summary.rows, job.rows)
    if place.folder is not None:
        for name in (LINES, PARQUET, MAPS, DONE):
            sweep(place.folder / name)  # what killed workers were writing
    if summary.rows != job.rows:
        raise RunError(
            f"{place} has records of {summary.rows} rows, expected {job.rows}; begin again in "
            "another folder"
        )
    return summary
