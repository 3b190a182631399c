"""A long watch of a stream: does memory grow, and does each part have its record?

    python benchmarks/soak.py RUN --minutes 60

A program's frames come at a steady pace, and a part comes by now and then; or a camera is watched
(``--address``), which may be broken off meanwhile. The slope is that of a straight line through the
process's resident memory, after the first fifth of the time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from mambaad import Inspector
from mambaad.capture.plan import Plan
from mambaad.workflows.watch import Watched, watch


def frames(rate: float, seconds: float, size: int) -> Iterator[np.ndarray]:
    """Noisy frames at a pace, of which six of every twenty show a part."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    disc = np.hypot(rows - size / 2, columns - size / 2) < size / 3
    began, number = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        shape = disc if number % 20 < 6 else 0 * disc
        noise = random.integers(-10, 11, (size, size, 3))
        yield (60 + 120 * shape[..., None] + noise).astype(np.uint8)
        number += 1
        time.sleep(max(began + number / rate - time.monotonic(), 0.0))


class Memory(threading.Thread):
    """Notes the resident memory, in MiB, every second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self.values: list[float] = []
        self._end = threading.Event()

    def run(self) -> None:
        process, began = psutil.Process(), time.monotonic()
        while not self._end.wait(1.0):
            self.seconds.append(time.monotonic() - began)
            self.values.append(process.memory_info().rss / 2**20)

    def stop(self) -> None:
        self._end.set()
        self.join()

    def slope(self) -> float:
        """MiB an hour, after the first fifth, in which models and caches are filled."""
        first = len(self.seconds) // 5
        return 3600 * float(np.polyfit(self.seconds[first:], self.values[first:], 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder or bundle")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=25.0, help="frames a second")
    parser.add_argument("--size", type=int, default=256, help="height and width of the frames")
    parser.add_argument("--policy", default="every-part", choices=("every-part", "live"))
    parser.add_argument("--address", help="watch this camera or video instead; end it yourself")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    inspector, watched, memory = Inspector(given.run), Watched(), Memory()
    source = given.address or frames(given.rate, 60 * given.minutes, given.size)
    product = inspector.products[0]
    memory.start()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        try:
            plan = Plan("change", frames=3)
            watch(
                source, inspector, folder, plan, product=product, policy=given.policy,
                watched=watched,
            )  # fmt: skip
        except KeyboardInterrupt:
            print("interrupted")
        seconds = time.monotonic() - began
        memory.stop()
        with (Path(folder) / "predictions.jsonl").open() as lines:
            numbers = [json.loads(line)["cycle"] for line in lines]
    figures = {
        "seconds": round(seconds),
        "parts": watched.parts,
        "failed": watched.failed,
        "dropped": watched.dropped,
        "waited_s": round(watched.waited, 1),
        "reconnections": watched.reconnections,
        "each_part_once": len(numbers) == len(set(numbers)) == watched.parts,
        "none_missing": not numbers or len(numbers) + watched.dropped == numbers[-1],
        "memory_mib": [round(memory.values[0]), round(memory.values[-1])],
        "slope_mib_an_hour": round(memory.slope(), 1),
    }
    print(json.dumps(figures, indent=2))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
