"""A whole data set of rendered parts, in the MVTec AD layout, with a manifest."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mambaad.data.synthetic.catalogue import PRODUCTS
from mambaad.data.synthetic.noise import stream
from mambaad.data.synthetic.panel import render_panel
from mambaad.data.synthetic.render import render_part
from mambaad.data.synthetic.settings import LARGEST_PART, PRODUCT_NAMES, check_drawing
from mambaad.errors import DataError, RunError
from mambaad.file_errors import cannot_write
from mambaad.files import folder_written_whole, is_empty
from mambaad.process import THREAD_VARIABLES, end_with_parent
from mambaad.progress import ProgressBar

MANIFEST = "manifest.json"
FORMAT = 1
_CHUNK = 8  # images a process draws before it reports
_WORTH_PROCESSES = 64  # starting processes takes as long as drawing this many


@dataclass(frozen=True)
class _Job:
    """One image to draw."""

    product: str
    split: str
    name: str
    seed: int
    defect: str | None


def make_data(
    out: Path,
    classes: Sequence[str] | None = None,
    *,
    train: int = 40,
    test: int = 40,
    size: int = 256,
    seed: int = 0,
    difficulty: float = 0.5,
) -> Path:
    """Draw a data set: the same arguments give the same pixels on every machine.

    ``manifest.json`` beside the classes records how each image was made: ``render_part`` with an
    image's product, seed and defect, and the manifest's size and difficulty, draws it again.
    More than a few images are drawn by one process a core, so a script must call it under
    ``if __name__ == "__main__":``.

    Args:
        out: the folder to make; may exist if it is empty. It is made completely or not at all.
        classes: some of ``PRODUCTS``; all of them by default.
        train: good parts a class, 2 or more.
        test: parts a class to test on, 0 or more: half of them good, the others with the defects
            that the product can have, in turn.
        size: side of the images in pixels, a multiple of 32 from 64 to 1024; or of 512 up to 16384:
            panels of many parts, whose defects are 8 to 24 pixels long
            (:func:`mambaad.data.synthetic.panel.render_panel`), of all products but ``kit``.
        seed: 0 or more; another seed is another day's production.
        difficulty: of the defects, from 0 (large and obvious) to 1 (small and faint).

    Returns:
        ``out``.

    Raises:
        ConfigError: an argument is not as described.
        DataError: ``out`` is not empty, or cannot be made.
        RunError: writing failed, or another process makes ``out``.
    """
    out = Path(out)
    names = list(dict.fromkeys(PRODUCT_NAMES if classes is None else classes))
    check_drawing(names, train, test, size, seed, difficulty)
    try:
        _check_free(out)
    except OSError as error:  # such as too long a name
        raise cannot_write(out, error) from error
    jobs = [job for name in names for job in _jobs(name, train, test, size, seed)]
    try:
        with folder_written_whole(out) as temporary:
            images = _draw_all(jobs, temporary, size, difficulty)
            manifest = {
                "format": FORMAT,
                "seed": seed,
                "size": size,
                "difficulty": difficulty,
                "classes": names,
                "train": train,
                "test": test,
                "versions": {
                    name: version(name) for name in ("mambaad", "numpy", "pillow", "scipy")
                },
                "images": images,
            }
            text = json.dumps(manifest, indent=1)
            (temporary / MANIFEST).write_text(text, encoding="utf-8")
    except BrokenProcessPool as error:
        raise RunError(
            f"{out} was not made: a drawing process ended (too little memory, or a script that "
            'calls make_data outside of if __name__ == "__main__":)'
        ) from error
    return out


def _check_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or not is_empty(out)):
        raise DataError(f"{out} exists and is not an empty folder; give another place for the data")
    if out.exists() and (os.path.ismount(out) or out.resolve() == Path.cwd()):
        raise DataError(
            f"{out} is a mount point or the current folder, which cannot be replaced; give the "
            f"name of a folder in it: {out / 'data'}"
        )
    parent = out.resolve().parent
    if not parent.is_dir():
        raise DataError(f"{parent} is not a folder; make it, or write elsewhere")


def _jobs(product: str, train: int, test: int, size: int, seed: int) -> Iterator[_Job]:
    """List the images of a class; each has a seed of its own, independent of their number."""
    made = PRODUCTS[product]
    kinds = made.surface_defects if size > LARGEST_PART else made.defects
    good = (test + 1) // 2
    for number in range(train):
        yield _Job(product, "train", f"{number:03}", _seed(seed, product, "train", number), None)
    for number in range(good):
        yield _Job(product, "test", f"{number:03}", _seed(seed, product, "good", number), None)
    for number in range(test - good):
        kind = kinds[number % len(kinds)]
        name = f"{number // len(kinds):03}"
        yield _Job(product, "test", name, _seed(seed, product, "bad", number), kind)


def _seed(seed: int, product: str, purpose: str, number: int) -> int:
    """Draw a seed of 53 bits, which every JSON reader keeps exactly."""
    return int(stream(seed, product, purpose, str(number)).integers(2**53))


def _draw(job: _Job, root: Path, size: int, difficulty: float) -> dict[str, Any]:
    """Draw one image, and its mask where it has a defect; its entry in the manifest."""
    render = render_panel if size > LARGEST_PART else render_part
    part = render(job.product, job.seed, size=size, defect=job.defect, difficulty=difficulty)
    path = Path(job.product, job.split, job.defect or "good", f"{job.name}.png")
    entry = {
        "path": path.as_posix(),
        "seed": job.seed,
        "pixels": hashlib.sha256(part.image.tobytes()).hexdigest(),
        **part.parameters,
    }
    _save(part.image, root / path)
    if job.defect:
        mask = Path(job.product, "ground_truth", job.defect, f"{job.name}_mask.png")
        _save(part.mask.astype(np.uint8) * 255, root / mask)
        entry["mask"] = mask.as_posix()
    return entry


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=2)  # noise hardly compresses


def _draw_chunk(jobs: list[_Job], root: Path, size: int, difficulty: float) -> list[dict[str, Any]]:
    return [_draw(job, root, size, difficulty) for job in jobs]


def _draw_all(jobs: list[_Job], root: Path, size: int, difficulty: float) -> list[dict[str, Any]]:
    """Draw all images, on all cores if they are many; the entries keep the order of the jobs."""
    with ProgressBar("drawing") as bar:
        processes = _processes(len(jobs) * max(size // 256, 1) ** 2)
        if processes > 1:
            chunk = 1 if size > LARGEST_PART else _CHUNK
            chunks = [jobs[start : start + chunk] for start in range(0, len(jobs), chunk)]
            return _share(
                chunks, root, size, difficulty, processes, lambda done: bar.update(done, len(jobs))
            )
        entries = []
        for job in jobs:
            entries.append(_draw(job, root, size, difficulty))
            bar.update(len(entries), len(jobs))
        return entries


def _processes(jobs: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 1 if jobs < _WORTH_PROCESSES else cores or 1


def _share(
    chunks: list[list[_Job]],
    root: Path,
    size: int,
    difficulty: float,
    processes: int,
    drawn: Callable[[int], None],
) -> list[dict[str, Any]]:
    results: dict[int, list[dict[str, Any]]] = {}
    # Spawned, as PyTorch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=end_with_parent)
    try:
        with _for_workers():
            numbers = {
                pool.submit(_draw_chunk, chunk, root, size, difficulty): number
                for number, chunk in enumerate(chunks)
            }
        for future in as_completed(numbers):
            results[numbers[future]] = future.result()
            drawn(sum(map(len, results.values())))
    finally:
        # After Ctrl-C too: nothing may write any more once the folder is removed.
        pool.shutdown(wait=True, cancel_futures=True)
    return [entry for number in range(len(chunks)) for entry in results[number]]


@contextmanager
def _for_workers() -> Iterator[None]:
    """Let processes started in this context run one thread each, and ignore Ctrl-C.

    A terminal sends Ctrl-C to all processes; only this one reacts, and stops the others in order.
    """
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
