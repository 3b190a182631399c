"""Peak memory of inspecting one image of 16384 x 16384 pixels in tiles, each case by itself.

``python benchmarks/tiles_memory.py FOLDER [--side 16384] [--json FILE]``. The image is a drawn
field, repeated. All tiles are cut and merged; the network looks at the first ones only and
its maps serve for the others too: it would take an hour on a few cores, in the same memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

LOOKED_AT = 3


def make_image(path: Path, side: int) -> None:
    """Write the image, strip by strip."""
    import pyvips

    from mambaad.data.synthetic.render import render_part

    field = pyvips.Image.new_from_array(render_part("leather", 0, size=512).image)
    repeated = field.replicate(side // 512, side // 512).copy(interpretation="srgb")
    options: dict[str, Any] = {"compression": 1} if path.suffix == ".png" else {}
    repeated.write_to_file(str(path), **options)


def inspect(path: Path, run: Path, decoding: str) -> None:
    """Inspect the image in this process, and print its peak memory."""
    from mambaad.data import strips
    from mambaad.inference.engine import Observation
    from mambaad.inspection.inspector import Inspector
    from mambaad.inspection.stream import observe_one
    from mambaad.inspection.tiles import TiledEngine

    class FirstOnes:
        """The engine, whose first observations serve again."""

        batch_size = 1

        def __init__(self, engine: Any) -> None:
            self._engine, self._found = engine, []

        def __getattr__(self, name: str) -> Any:
            return getattr(self._engine, name)

        def observe(self, images: np.ndarray) -> list[Observation]:
            if len(self._found) < LOOKED_AT:
                self._found += self._engine.observe(images)
            return self._found[-1:]

    if decoding == "whole":
        strips.STREAMED = 2**40
    inspector = Inspector(run, max_pixels=2**30)
    assert isinstance(inspector.engine, TiledEngine)
    inspector.engine.engine = FirstOnes(inspector.engine.engine)
    began, cpu = time.perf_counter(), time.process_time()
    inspected = inspector.judge(observe_one(inspector.engine, inspector.item(path)), None)
    assert inspected.prediction is not None, inspected.record.error
    found = {
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "seconds without the network": round(time.perf_counter() - began, 1),
        "processor seconds": round(time.process_time() - cpu, 1),
        "map": list(inspected.prediction.anomaly_map.shape),
    }
    print(json.dumps(found))


def main() -> None:
    """Measure each format and way of decoding in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with the run 'tiled' of tiles.py")
    parser.add_argument("--side", type=int, default=16384)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    run = arguments.folder / "tiled"
    if arguments.one:
        inspect(Path(arguments.one[0]), run, arguments.one[1])
        return
    results: dict[str, Any] = {"machine": {**machine(), "load": os.getloadavg()}}
    for suffix in (".png", ".jpg", ".tif"):
        path = arguments.folder / f"large_{arguments.side}{suffix}"
        if not path.exists():
            make_image(path, arguments.side)
        for decoding in ("strips", "whole"):
            command = [
                sys.executable,
                __file__,
                str(arguments.folder),
                "--one",
                str(path),
                decoding,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            name = f"{suffix[1:]}, {decoding}"
            results[name] = json.loads(done.stdout) if done.returncode == 0 else done.stderr[-300:]
            print(name, results[name], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
