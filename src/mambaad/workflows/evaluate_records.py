"""Evaluation of what ``mambaad inspect`` has kept: its scores and maps, without the network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mambaad.data.checks import MaskSizeError, read_sample
from mambaad.data.read_ahead import read_ahead
from mambaad.errors import DataError, RunError
from mambaad.files import printable
from mambaad.inference.engine import Observation
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.quality import Quality
from mambaad.inspection.stream import Item, Observed
from mambaad.progress import ProgressBar
from mambaad.shards.job import Job, read_job
from mambaad.shards.maps import StoredMaps
from mambaad.shards.results import finished, read_columns
from mambaad.shards.stores import Place, first_line, is_url
from mambaad.types import ProductClass

_COLUMNS = ("path", "observed_score", "height", "width", "error", "skipped")
_THREADS = 2


class _Kept(NamedTuple):
    """What is kept of an image, and where. ``score``, ``shape``: None with an error."""

    shard: int
    row: int
    score: float | None
    shape: tuple[int, int] | None
    error: str | None


class Recorded:
    """The observations that a job has kept, in place of those of an engine.

    Args:
        out: the folder of the job, or its URL.
        inspector: of the model that the job must have had.
        classes: whose test images are looked for in it, by their paths.

    Raises:
        RunError: there is no finished job, it was another model's, or it has kept no maps though
            there are masks to compare them with.
        DataError: it has not inspected all of the images.
    """

    def __init__(self, out: str, inspector: Inspector, classes: Sequence[ProductClass]) -> None:
        self._place = Place(out)
        self._job = _checked(self._place, inspector)
        if not self._job.maps and any(c.has_masks for c in classes):
            raise RunError(
                f"--records: {out} has no maps, which there are masks to compare with; inspect "
                "again with --maps"
            )
        paths = [sample.path for c in classes for sample in c.test]
        self._kept = self._found(paths)
        missing = [path for path in paths if _key(path) not in self._kept]
        if missing:
            raise DataError(
                f"--records: {out} has no record of {len(missing)} of {len(paths)} test images, "
                f"{missing[0]} the first; inspect their folder"
            )

    def observe(self, items: Sequence[Item]) -> Iterator[Observed]:
        """Yield what is kept of each image, in their order, with its mask if it has one.

        Where there is none, the image itself is not read: its pixels are black, of its size.
        """
        with closing(StoredMaps(self._place, self._job.size)) as maps:

            def read(item: Item) -> Observed:
                return self._read(item, maps)

            with closing(read_ahead(read, items, workers=_THREADS, ahead=2 * _THREADS)) as found:
                yield from found

    def _read(self, item: Item, maps: StoredMaps) -> Observed:
        assert item.sample is not None  # evaluation takes data sets only
        kept = self._kept[_key(item.sample.path)]
        if kept.score is None or kept.shape is None:
            return Observed(item, error=DataError(kept.error or "its record has no score"))
        mask, turned_apart = None, False
        pixels = np.broadcast_to(np.zeros(3, np.uint8), (*kept.shape, 3))
        if item.sample.mask_path is not None:
            try:
                pixels, joined = read_sample(item.sample)
            except MaskSizeError:
                raise
            except DataError as error:
                return Observed(item, error=error)
            if joined is not None:
                mask, turned_apart = joined.marked, joined.turned_apart
        if self._job.maps:
            anomaly_map = maps.read(kept.shard, kept.row)
        else:
            anomaly_map = np.zeros(self._job.size, np.float32)
        observation = Observation(kept.score, anomaly_map, np.empty(0, np.float32))
        nan = float("nan")  # of these there is no need
        quality = Quality(nan, nan, nan, nan, *kept.shape)
        return Observed(item, pixels, mask, quality, observation, turned_apart=turned_apart)

    def _found(self, paths: Sequence[Path]) -> dict[str, _Kept]:
        """Look for images among the records; of those that are there twice the first counts."""
        wanted = set(map(_key, paths))
        kept: dict[str, _Kept] = {}
        with ProgressBar("reading records") as bar:
            for shard in range(self._job.shards):
                table = read_columns(self._place, shard, _COLUMNS)
                columns = [table.column(name).to_pylist() for name in _COLUMNS]
                for row, (path, score, height, width, error, skipped) in enumerate(
                    zip(*columns, strict=True)
                ):
                    key = path if is_url(path) else _key(Path(self._job.base, path))
                    if key in wanted and not skipped:
                        shape = None if height is None else (height, width)
                        kept.setdefault(key, _Kept(shard, row, score, shape, error))
                bar.update(shard + 1, self._job.shards)
        return kept


def _key(path: Path) -> str:
    """A path as records have it, from the root."""
    return printable(os.path.abspath(path))  # noqa: PTH100  # links stay


def _checked(place: Place, inspector: Inspector) -> Job:
    job = read_job(place)
    if job is None:
        raise RunError(f"--records: {place} has no job.json; give the --out of mambaad inspect")
    if job.model != inspector.weights or job.size != inspector.size:
        raise RunError(
            f"--records: {place} has the records of another model; give the one that made them"
        )
    if job.precision != inspector.precision:
        raise RunError(
            f"--records: {place} was made with --precision {job.precision}, got "
            f"{inspector.precision}; give the same"
        )
    try:
        left = job.shards - len(finished(place, job.shards))
    except OSError as error:
        raise RunError(f"--records: {place} cannot be listed ({first_line(error)})") from error
    if left:
        raise RunError(
            f"--records: {left} of {job.shards} shards in {place} are not done; go on with "
            "'mambaad inspect --resume'"
        )
    return job
