"""``mambaad plan``: how long many images take on how many cores or GPUs, by what is measured here.

The arithmetic is apart from the measurement: :class:`Rates` in, hours and cost out.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mambaad.data.decoding import read_image_file
from mambaad.data.images import read_image, resize_image
from mambaad.data.synthetic.render import render_part
from mambaad.errors import ConfigError, DataError
from mambaad.file_errors import cannot_read
from mambaad.files import open_regular, temporary_folder, written_whole
from mambaad.inference.compute import Compilation, Precision
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.stream import Item, observe_one
from mambaad.workflows.predict_inputs import find_inputs

SHARD = 256
"""Images whose records are written together."""
MOST_IMAGES = 64
"""The most images of a sample that are measured; they are taken evenly from all of it."""
_DRAWN, _DRAWN_SIZE = 6, 512
_ROUNDS_S = 5.0  # for which inference is measured at least, after one round that lays out weights
_MB = 1e6


@dataclass(frozen=True)
class Rates:
    """What inspecting an image takes here.

    Attributes:
        device: type of the device that inference is on: ``"cpu"`` (one core), ``"cuda"``, ...
        measured: the number of images.
        drawn: whether they were drawn, for want of real ones.
        megabytes: of an image's file.
        reading, decoding, inference, writing: seconds an image: reading its file, at best from the
            disk itself; decoding and resizing it; the network; the decision and the record, of a
            shard's. Reading by the clock (the median of a megabyte's seconds), inference on a GPU
            too; all else is processor time of one core, so that other programs change it little.
        spread: standard deviation of an image's seconds, inference on a GPU left out.
        start: seconds of a core until a process is ready to inspect.
    """

    device: str
    measured: int
    drawn: bool
    megabytes: float
    reading: float
    decoding: float
    inference: float
    writing: float
    spread: float
    start: float

    @property
    def on_core(self) -> float:
        """Seconds of a core an image: beside a GPU, without inference."""
        beside = self.reading + self.decoding + self.writing
        return beside + (self.inference if self.device == "cpu" else 0.0)

    @property
    def cores_beside(self) -> int:
        """The cores that keep one worker busy: 1, or those beside one GPU."""
        return 1 if self.device == "cpu" else max(1, math.ceil(self.on_core / self.inference))

    @property
    def by_worker(self) -> float:
        """Seconds an image of one core, or of one GPU with the cores beside it."""
        return self.on_core if self.device == "cpu" else self.inference


@dataclass(frozen=True)
class Estimate:
    """Hours and cost on a number of workers: cores, or GPUs with the cores beside them.

    ``cost``: None without a price. ``waits``: the share of the time in which the workers wait for
    the store, which gives no more.
    """

    workers: int
    hours: float
    worker_hours: float
    cost: float | None
    waits: float


def estimate(
    rates: Rates,
    images: int,
    workers: int,
    *,
    store_rate: float | None = None,
    price: float | None = None,
) -> Estimate:
    """Compute hours and cost.

    Args:
        rates: measured here.
        images: their number.
        workers: cores or GPUs, each as fast as here, with equally much to do.
        store_rate: megabytes a second that the images' store gives to all workers together; None:
            as much as they ask for.
        price: of a worker for an hour.
    """
    busy = images * rates.by_worker / min(workers, max(images, 1))
    by_store = images * rates.megabytes / store_rate if store_rate else 0.0
    hours = (rates.start + max(busy, by_store)) / 3600
    cost = None if price is None else price * workers * hours
    waits = max(0.0, by_store - busy) / (rates.start + max(busy, by_store))
    return Estimate(workers, hours, workers * hours, cost, waits)


def workers_for(
    rates: Rates, images: int, hours: float, *, store_rate: float | None = None
) -> int | None:
    """Compute the fewest workers that are done within some hours; None: no number of them is."""
    left = 3600 * hours - rates.start
    if left <= 0 or (store_rate and images * rates.megabytes / store_rate > left):
        return None
    needed = max(1, math.ceil(images * rates.by_worker / left))
    return needed if needed <= images else None


def workers_of_store(rates: Rates, store_rate: float) -> int:
    """Compute how many workers a store keeps busy; more of them wait for it."""
    return max(1, math.floor(store_rate * rates.by_worker / rates.megabytes))


def numbers_of_workers(rates: Rates, images: int) -> list[int]:
    """Choose numbers of workers to show: 1, this machine's cores, and powers of ten."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    here = cores if rates.device == "cpu" else 1
    return sorted({1, here, *(n for n in (10, 100, 1000) if n <= images)})


def shares(rates: Rates) -> dict[str, float]:
    """Compute the share of an image's time that each step takes, of cores and GPU together."""
    steps = {name: getattr(rates, name) for name in STEPS}
    together = sum(steps.values())
    return {name: seconds / together for name, seconds in steps.items()}


STEPS = ("reading", "decoding", "inference", "writing")


def to_json(rates: Rates, images: int, estimates: Sequence[Estimate], **asked: float | None) -> str:
    """Make what ``--json`` writes, which ``benchmarks/scale.py`` reads."""
    found = {
        "images": images,
        **{name: value for name, value in asked.items() if value is not None},
        "rates": {**asdict(rates), "images_per_s": 1 / rates.by_worker},
        "shares": shares(rates),
        "cores_beside_gpu": None if rates.device == "cpu" else rates.cores_beside,
        "estimates": [asdict(estimate) for estimate in estimates],
    }
    return json.dumps(found, indent=2) + "\n"


def measure(
    source: str | Path,
    sample: Sequence[Path] = (),
    *,
    precision: Precision = "float32",
    device: str = "auto",
    compile: Compilation = "auto",
) -> Rates:
    """Measure what inspecting an image takes here, with one core, or with a GPU.

    Args:
        source: a run folder or a bundle.
        sample: images, or folders of them, as they are to be inspected and where they are to be
            read from; by default some are drawn.
        precision, device, compile: see :class:`mambaad.Inspector`.

    Raises:
        ConfigError, DataError, RunError: no images that can be read, no model, no such device.
    """
    with temporary_folder() as folder:
        files = _some(sample, folder) if sample else _draw(folder)
        inspector = Inspector(source, precision, device=device, compile=compile)
        if inspector.tiling:
            raise ConfigError(
                f"{source} sees large images in tiles, whose number depends on each image's size; "
                "time mambaad predict on some of the images instead"
            )
        start = time.process_time()
        with _one_thread(inspector.engine.device):
            return _measure(inspector, files, folder, start, drawn=not sample)


def _some(sample: Sequence[Path], out: Path) -> list[Path]:
    files = list(find_inputs(sample, out, None).targets)
    return files[:: -(-len(files) // MOST_IMAGES)]


def _draw(folder: Path) -> list[Path]:
    files = [folder / f"{number}.png" for number in range(_DRAWN)]
    for number, file in enumerate(files):
        Image.fromarray(render_part("circuit", number, size=_DRAWN_SIZE).image).save(file)
    return files


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """Compute as an inspecting process does: one thread, unless a GPU computes."""
    import torch  # loaded by the inspector

    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure(
    inspector: Inspector, files: Sequence[Path], folder: Path, start: float, *, drawn: bool
) -> Rates:
    engine = inspector.engine
    is_cpu = engine.device == "cpu"
    reading, decoding, sizes, problems = [], [], [], []
    batch: list[np.ndarray] = []
    observed = []
    for file in files:
        try:
            seconds, size = _read(file, inspector.reading.max_pixels)
            began = time.process_time()
            pixels = read_image(file, inspector.reading)
        except DataError as error:
            problems.append(error)
            continue
        resized = resize_image(pixels, inspector.size)
        decoding.append(time.process_time() - began)
        reading.append(seconds)
        sizes.append(size / _MB)
        batch.append(resized)
        observed.append(observe_one(engine, Item(resized)))  # lays out weights, at the first
    if not batch:
        raise problems[0]
    inference = _time_inference(inspector, batch, is_cpu=is_cpu)
    began = time.process_time()
    records = [inspector.judge(one, None).record for one in observed]
    judging = (time.process_time() - began) / len(records)
    lines = [record.model_dump_json() for record in records]
    writing = _time_writing([lines[i % len(lines)] for i in range(SHARD)], folder)
    found = [
        r + d + (i if is_cpu else 0) for r, d, i in zip(reading, decoding, inference, strict=True)
    ]
    return Rates(
        device=engine.device,
        measured=len(batch),
        drawn=drawn,
        megabytes=statistics.fmean(sizes),
        reading=_median_reading(reading, sizes),
        decoding=statistics.fmean(decoding),
        inference=statistics.fmean(inference),
        writing=judging + writing,
        spread=statistics.pstdev(found),
        start=start,
    )


def _median_reading(seconds: Sequence[float], sizes: Sequence[float]) -> float:
    """Seconds of a mean image: a disk that is busy with others for a moment changes it little."""
    each = [s / max(size, 1e-9) for s, size in zip(seconds, sizes, strict=True)]
    return statistics.median(each) * statistics.fmean(sizes)


def _read(file: Path, max_pixels: int) -> tuple[float, int]:
    """Time reading a file, from the disk where the system can be told to forget it (DataError)."""
    try:
        with open_regular(file) as opened:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        size = len(read_image_file(file, max_pixels))
    except OSError as error:
        raise DataError(cannot_read(file, error, "repair or remove it")) from error
    return time.perf_counter() - began, size


def _time_inference(
    inspector: Inspector, images: Sequence[np.ndarray], *, is_cpu: bool
) -> list[float]:
    """Seconds of each image, in batches as they are inspected."""
    engine = inspector.engine
    size = engine.batch_size
    batches = [[images[(i + j) % len(images)] for j in range(size)] for i in range(len(images))]
    clock = time.process_time if is_cpu else time.perf_counter
    took: list[list[float]] = [[] for _ in images]
    engine.observe(np.stack(batches[0]))
    until = time.perf_counter() + _ROUNDS_S
    while not took[-1] or time.perf_counter() < until:
        for seconds, batch in zip(took, batches, strict=True):
            stacked = np.stack(batch)
            began = clock()
            engine.observe(stacked)
            seconds.append((clock() - began) / size)
    return [statistics.median(seconds) for seconds in took]


def _time_writing(lines: Sequence[str], folder: Path) -> float:
    """Seconds a record, of a shard that is written whole."""
    took = []
    for number in range(5):
        began = time.process_time()
        with written_whole(folder / f"{number}.jsonl") as temporary:
            temporary.write_text("\n".join(lines), encoding="utf-8")
        took.append((time.process_time() - began) / len(lines))
    return statistics.median(took)


def check_asked(images: int, rate: float | None, price: float | None, hours: float | None) -> None:
    """Refuse numbers that nothing can be planned with (ConfigError)."""
    if images < 1:
        raise ConfigError(f"--images: expected 1 or more, got {images}")
    for name, value in (("rate", rate), ("hours", hours)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"--{name}: expected a number above 0, got {value}")
    if price is not None and not (price >= 0 and math.isfinite(price)):
        raise ConfigError(f"--price: expected 0 or more, got {price}")
