"""An inference process: an inspector that takes the bytes of images and gives their records."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mambaad.data.decoding import decode_bytes
from mambaad.data.images import to_rgb
from mambaad.errors import ConfigError, DataError, MambaADError
from mambaad.files import file_digest, printable
from mambaad.inspection.records import record_of
from mambaad.process import end_with_parent
from mambaad.types import Reading

if TYPE_CHECKING:
    from mambaad.inspection.inspector import Inspected, Inspector
    from mambaad.inspection.stream import Pixels

THUMBNAIL = 192
"""The larger side of thumbnails, in pixels."""
NICE = 5
"""The priority of inference processes; 0 is that of the service, and larger ones give way."""


@dataclass(frozen=True)
class Plan:
    """What an inference process loads, and with how many threads it computes.

    ``settings``: of products, made on the page: JSON of
    :class:`mambaad.serve.product_setting.ProductSetting` by name.
    """

    source: Path
    threads: int
    device: str = "auto"
    precision: str = "float32"
    max_pixels: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """What an inference process has loaded.

    ``digest``: the SHA-256 of the bundle's file; of a run folder, that of its weights.
    ``model``: the SHA-256 of the weights. ``reading``: how images are read.
    ``size``: height and width of the maps.
    """

    source: Path
    digest: str
    model: str
    products: tuple[str, ...]
    is_calibrated: bool
    reading: Reading
    size: tuple[int, int]


@dataclass(frozen=True)
class Task:
    """An image to inspect: the bytes of its file, its product if it is known, its name."""

    content: bytes
    product: str | None = None
    name: str = ""


@dataclass(frozen=True)
class Result:
    """An image's inspection.

    ``record``: the JSON line of predictions.jsonl. ``map``: an .npz with ``map`` (float32, h x w),
    ``regions`` (bool, h x w), ``range`` (the ends of the heatmap), and what explains the score:
    ``at`` (row and column of the map where it is highest), ``shares`` of the scales there and their
    ``strides``, and the image's ``embedding`` (float16); None with an error. ``thumbnail``: JPEG;
    None with an error. ``refused``: why the image cannot be inspected, where that is the image's
    fault. ``worker_ms``: the time of the work; ``queue_ms``: of the wait before it. ``attempts``:
    how often it was begun. ``bundle``: the digest of what inspected it.
    """

    record: str
    map: bytes | None = None
    thumbnail: bytes | None = None
    refused: str | None = None
    worker_ms: float = 0.0
    queue_ms: float = 0.0
    attempts: int = 1
    bundle: str = ""


def run_worker(plan: Plan, pipe: Connection) -> None:
    """Load a model, say so, and inspect what comes, until None does or the service ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service ends it, when its parts are done
    end_with_parent()
    _give_way()
    try:
        inspector, loaded = load(plan)
    except Exception as error:
        text = str(error) if isinstance(error, MambaADError) else f"{type(error).__name__}: {error}"
        pipe.send(printable(text))
        return
    pipe.send(loaded)
    try:
        while (task := pipe.recv()) is not None:
            pipe.send(inspect(inspector, task))
    except (EOFError, OSError):  # the service ended
        return


def _give_way() -> None:
    """Have the process that answers requests go first: it needs little, and cannot wait."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), NICE))


def load(plan: Plan) -> tuple[Inspector, Loaded]:
    """Load a model in this process (see :class:`mambaad.Inspector` for the errors)."""
    import torch

    from mambaad.inspection.inspector import Inspector

    torch.set_num_threads(plan.threads)
    inspector = Inspector(
        plan.source,
        plan.precision,  # type: ignore[arg-type]  # it checks it
        device=plan.device,
        max_pixels=plan.max_pixels,
        keep_evidence=True,
    )
    digest = file_digest(plan.source) if plan.source.is_file() else inspector.weights
    if inspector.calibration is not None and plan.settings:
        from mambaad.serve.product_setting import ProductSetting, adjusted

        settings = {
            name: ProductSetting.model_validate_json(content)
            for name, content in plan.settings.items()
            if name in inspector.calibration.classes
        }
        inspector.calibration = adjusted(inspector.calibration, settings, inspector.size, digest)
    # The first image takes longer, as memory is laid out for it.
    height, width = inspector.size
    inspector.inspect(np.zeros((height, width, 3), np.uint8))
    return inspector, Loaded(
        plan.source,
        digest,
        inspector.weights,
        inspector.products,
        inspector.calibration is not None,
        inspector.reading,
        inspector.size,
    )


def inspect(inspector: Inspector, task: Task) -> Result:
    """Inspect an image from the bytes of its file; never raises for what they may be."""
    from mambaad.inspection.stream import observe_one

    started = time.perf_counter()
    try:
        inspector.check_product(task.product)
        pixels = read_pixels(task.content, inspector.reading)
        item = inspector.item(pixels, task.product)
        observed = observe_one(inspector.engine, item, inspector.region_of)
        inspected = inspector.judge(observed, task.product)
    except (DataError, ConfigError) as error:
        return Result(failure(task, inspector.weights, str(error)), refused=str(error))
    inspected.record.path = printable(task.name)
    record_json = inspected.record.model_dump_json()
    drawn = None if inspected.prediction is None else _map(inspector, inspected)
    small = None if drawn is None else thumbnail(pixels)
    elapsed = (time.perf_counter() - started) * 1000
    return Result(record_json, drawn, small, worker_ms=elapsed)


def failure(task: Task, model: str, error: str) -> str:
    """The record of an image that was not inspected, as JSON."""
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return record_of(task.name, None, model=model, time=time, error=error).model_dump_json()


def read_pixels(content: bytes, reading: Reading) -> Pixels:
    """Decode the bytes of an image file as 8-bit RGB, as files are read (DataError)."""
    path = Path("the image")  # for messages
    return to_rgb(decode_bytes(content, path, reading.max_pixels), path, reading)


def thumbnail(pixels: Pixels) -> bytes:
    """A small JPEG of an image."""
    image = Image.fromarray(pixels)
    # Whole steps first, which are fast; then to size.
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=80)
    return file.getvalue()


def _map(inspector: Inspector, inspected: Inspected) -> bytes:
    prediction = inspected.prediction
    assert prediction is not None
    regions = prediction.region_mask
    if regions is None:
        regions = np.zeros(prediction.anomaly_map.shape, bool)
    file = io.BytesIO()
    np.savez(
        file,
        map=prediction.anomaly_map,
        regions=regions,
        range=np.asarray(inspector.range_of(prediction), np.float64),
        **_explanation(inspector, inspected),  # type: ignore[arg-type]  # arrays all
    )
    return file.getvalue()


def _explanation(inspector: Inspector, inspected: Inspected) -> dict[str, np.ndarray]:
    """What explains a score, small enough to be kept with every map."""
    import torch

    from mambaad.inspection.calibration import inspected_map
    from mambaad.models.scoring import scale_shares

    observation, prediction = inspected.observed.result[0], inspected.prediction
    evidence, calibration = observation.evidence, inspector.calibration
    assert evidence is not None
    assert prediction is not None
    c = calibration.classes.get(prediction.product or "") if calibration else None
    scored = observation.scored_map
    searched = inspected_map(scored, c.settings) if c else scored
    at = np.unravel_index(searched.argmax(), searched.shape)
    maps = torch.from_numpy(evidence.scale_maps)
    shares = scale_shares(maps, (int(at[0]), int(at[1])), evidence.smoothing)
    return {
        "at": np.asarray(at, np.int32),
        "shares": shares.numpy(),
        "strides": np.asarray(evidence.strides, np.int32),
        "embedding": evidence.embedding.astype(np.float16),
    }
