"""The service beside the bare Inspector and predict, in one run; and under load.

    python benchmarks/serve.py line.mambaad IMAGES --json FILE --latency 60 --throughput 5
    python benchmarks/serve.py line.mambaad IMAGES --json FILE --overload 5min --uploads 1000
    python benchmarks/serve.py line.mambaad IMAGES --json FILE --soak 60min

What is compared takes turns, so that whatever else the machine does slows both alike. A section
that is whole in FILE is not measured again; one that was interrupted begins again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import httpx
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine
from serve_load import Save, overload, soak, uploads

from mambaad.files import write_text
from mambaad.inspection.inspector import Inspector
from mambaad.serve.inference.worker import NICE
from mambaad.workflows.predict import predict
from tests.serve.killing import Served

HEADERS = {"content-type": "image/png"}


def post(client: httpx.Client, content: bytes) -> dict[str, Any]:
    answer = client.post("/v1/inspections", content=content, headers=HEADERS)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def milliseconds(action: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = action()
    return (time.perf_counter() - started) * 1000, found


def latency(bundle: Path, images: list[Path], folder: Path, threads: int, rounds: int) -> Any:
    """Medians of inspecting a file and of posting its bytes, in turns."""
    inspector = Inspector(bundle)
    torch.set_num_threads(threads)
    mode = ["--mode", "latency"] if threads > 1 else ["--mode", "throughput", "--workers", "1"]
    served = Served(bundle, folder / f"latency{threads}", *mode, "--min-free-mb", "1")
    bare, whole, worker, queue = [], [], [], []
    with httpx.Client(base_url=served.url, timeout=60) as client:
        for number in range(rounds):
            path = images[number % len(images)]
            content = path.read_bytes()
            spent, _ = milliseconds(lambda path=path: inspector.inspect(path))
            bare.append(spent)
            spent, found = milliseconds(lambda content=content: post(client, content))
            whole.append(spent)
            worker.append(found["worker_ms"])
            queue.append(found["queue_ms"])
    served.stop()
    beside = [a - b for a, b in zip(whole, worker, strict=True)]
    return {
        "threads": threads,
        "parts": rounds,
        "inspector_ms": round(statistics.median(bare), 2),
        "service_ms": round(statistics.median(whole), 2),
        "worker_ms": round(statistics.median(worker), 2),
        "overhead_ms": round(statistics.median(whole) - statistics.median(bare), 2),
        "beside_the_worker_ms": round(statistics.median(beside), 2),
        "beside_the_worker_p90_ms": round(statistics.quantiles(beside, n=10)[-1], 2),
    }


def throughput(bundle: Path, images: list[Path], folder: Path, rounds: int) -> Any:
    """Images a second of predict and of the service with one process a core, in turns."""
    inspector = Inspector(bundle)
    torch.set_num_threads(os.cpu_count() or 1)
    served = Served(
        bundle, folder / "throughput", "--mode", "throughput", "--min-free-mb", "1", "--rate", "1e6"
    )
    workers = len(served.workers())
    contents = [path.read_bytes() for path in images]
    rates: dict[str, list[float]] = {"predict": [], "service": []}
    with (
        httpx.Client(base_url=served.url, timeout=60) as client,
        ThreadPoolExecutor(2 * workers + 1) as clients,
    ):
        list(clients.map(lambda content: post(client, content), contents[:4]))
        for number in range(rounds):
            with redirect_stderr(io.StringIO()):
                spent, _ = milliseconds(
                    lambda number=number: predict(inspector, images, folder / f"out{number}")
                )
            rates["predict"].append(len(images) / spent * 1000)
            spent, _ = milliseconds(
                lambda: list(clients.map(lambda content: post(client, content), contents))
            )
            rates["service"].append(len(images) / spent * 1000)
    served.stop()
    medians = {name: round(statistics.median(found), 2) for name, found in rates.items()}
    ratios = [a / b for a, b in zip(rates["service"], rates["predict"], strict=True)]
    return {
        "images": len(images),
        "rounds": rounds,
        "processes": workers,
        "images_a_second": medians,
        "service_to_predict": round(statistics.median(ratios), 3),
    }


class Results:
    """A JSON file of sections, each written when it is done, so that a run can be continued.

    Args:
        path: of the file; None for none.
        again: whether sections that are there are measured again.
    """

    def __init__(self, path: Path | None, again: bool) -> None:
        self._path, self._again = path, again
        is_there = path is not None and path.is_file()
        self.found: dict[str, Any] = json.loads(path.read_bytes()) if path and is_there else {}

    def section(self, name: str, measure: Callable[[Path, Save], Any]) -> None:
        """Measure a section in a new folder, unless it is there and whole."""
        if not self._again and not self.found.get(name, {"unfinished": True}).get("unfinished"):
            print(f"{name}: is there", file=sys.stderr)
            return

        def save(found: dict[str, Any], *, unfinished: bool = True) -> None:
            sign = {"unfinished": True} if unfinished else {"machine": machine()}
            self.found[name] = {**sign, **found}
            if self._path:
                write_text(self._path, json.dumps(self.found, indent=2) + "\n")

        with tempfile.TemporaryDirectory() as folder:
            save(measure(Path(folder), save), unfinished=False)
        print(json.dumps({name: self.found[name]}, indent=2))


def seconds_of(text: str) -> float:
    """Seconds of 30s, 5min or 1h."""
    units = {"s": 1, "min": 60, "h": 3600}
    for unit, each in units.items():
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit():
            return float(number) * each
    raise argparse.ArgumentTypeError(f"{text}: expected a time such as 30s, 5min or 1h")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path, help="a folder of PNG files")
    parser.add_argument("--json", type=Path, help="continued if it is there")
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
    parser.add_argument("--overload", type=seconds_of, metavar="TIME", help="such as 5min")
    parser.add_argument("--soak", type=seconds_of, metavar="TIME", help="such as 60min")
    parser.add_argument("--uploads", type=int, metavar="N", help="such as 1000")
    parser.add_argument("--latency", type=int, metavar="PARTS", help="such as 60")
    parser.add_argument("--throughput", type=int, metavar="ROUNDS", help="such as 5")
    given = parser.parse_args()
    bundle, folder = given.bundle, given.images
    images = sorted(folder.glob("*.png"))
    if not images:
        sys.exit(f"{folder} has no PNG files")
    results = Results(given.json, given.again)
    for load in (overload, soak, uploads):
        if size := getattr(given, load.__name__):
            results.section(
                load.__name__,
                lambda data, save, load=load, size=size: load(bundle, folder, data, size, save),
            )
    # From here on everything has the priority of inference processes: what takes turns with them
    # would go before them otherwise, wherever other programs use the machine.
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    if count := given.latency:
        for name, threads in (("latency_one_thread", 1), ("latency", os.cpu_count() or 1)):
            results.section(
                name,
                lambda data, _, threads=threads: latency(bundle, images, data, threads, count),
            )
    if rounds := given.throughput:
        results.section("throughput", lambda data, _: throughput(bundle, images, data, rounds))


if __name__ == "__main__":
    main()
