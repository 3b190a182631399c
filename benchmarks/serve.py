"""The service beside the bare Inspector and predict, in one run; and under overload.

    python benchmarks/serve.py line.mambaad IMAGES --json FILE [--overload SECONDS] [--uploads N]

What is compared takes turns, so that whatever else the machine does slows both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine

from mambaad.inspection.inspector import Inspector
from mambaad.workflows.predict import predict
from tests.serve.killing import Served, account

WATCH = """
import http.client, sys, time
while True:
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    print((time.perf_counter() - started) * 1000, flush=True)
    time.sleep(0.05)
"""
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


def resident(served: Served) -> int:
    """MiB of the service and its processes."""
    root = psutil.Process(served.process.pid)
    return round(sum(p.memory_info().rss for p in (root, *root.children(recursive=True))) / 2**20)


def overload(bundle: Path, images: list[Path], folder: Path, seconds: float, clients: int) -> Any:
    """Many clients that never wait: what is refused, memory, and the time of /healthz."""
    data = folder / "overload"
    options = ("--mode", "throughput", "--queue", "16", "--rate", "1e6", "--min-free-mb", "1")
    served = Served(bundle, data, *options)
    contents = [path.read_bytes() for path in images]
    statuses: Counter[int] = Counter()
    answered: dict[str, str] = {}
    retry_after: Counter[str] = Counter()
    stop = threading.Event()

    def flood(number: int) -> None:
        with httpx.Client(base_url=served.url, timeout=120) as client:
            part = 0
            while not stop.is_set():
                key = f"{number}-{part}"
                part += 1
                answer = client.post(
                    "/v1/inspections",
                    content=contents[part % len(contents)],
                    headers={**HEADERS, "Idempotency-Key": key},
                )
                statuses[answer.status_code] += 1
                if answer.is_success:
                    answered[key] = answer.json()["id"]
                else:
                    retry_after[answer.headers.get("Retry-After", "none")] += 1
                    time.sleep(0.02)

    threads = [threading.Thread(target=flood, args=(n,)) for n in range(clients)]
    # In a process of its own: in this one it would wait for the clients.
    watch = subprocess.Popen(
        [sys.executable, "-c", WATCH, str(served.port)], stdout=subprocess.PIPE, text=True
    )
    memory = [(0.0, resident(served))]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    while time.monotonic() - started < seconds:
        time.sleep(max(seconds / 10, 1))
        memory.append((round(time.monotonic() - started, 1), resident(served)))
    stop.set()
    watch.terminate()
    health = [float(line) for line in watch.communicate()[0].split()]
    for thread in threads:
        thread.join()
    served.stop()
    return {
        "seconds": seconds,
        "clients": clients,
        "statuses": {str(k): v for k, v in sorted(statuses.items())},
        "retry_after_s": dict(retry_after),
        "healthz_ms": {
            "calls": len(health),
            "median": round(statistics.median(health), 1),
            "p99": round(statistics.quantiles(health, n=100)[-1], 1),
        },
        "memory_mib": memory,
        **account(data, answered),
    }


def uploads(bundle: Path, images: list[Path], folder: Path, count: int) -> Any:
    """That many uploads at once."""
    data = folder / "uploads"
    served = Served(bundle, data, "--mode", "throughput", "--rate", "1e6", "--min-free-mb", "1")
    contents = [path.read_bytes() for path in images]

    async def send() -> tuple[Counter[str], dict[str, str]]:
        limits = httpx.Limits(max_connections=count, max_keepalive_connections=0)
        found: Counter[str] = Counter()
        answered: dict[str, str] = {}
        async with httpx.AsyncClient(base_url=served.url, timeout=300, limits=limits) as client:

            async def one(number: int) -> None:
                key = f"upload {number}"
                headers = {**HEADERS, "Idempotency-Key": key}
                content = contents[number % len(contents)]
                try:
                    answer = await client.post("/v1/inspections", content=content, headers=headers)
                except httpx.TransportError as error:
                    found[type(error).__name__] += 1
                    return
                found[str(answer.status_code)] += 1
                if answer.is_success:
                    answered[key] = answer.json()["id"]

            await asyncio.gather(*(one(number) for number in range(count)))
        return found, answered

    statuses, answered = asyncio.run(send())
    memory = resident(served)
    served.stop()
    found = account(data, answered)
    return {"uploads": count, "outcomes": dict(statuses), "memory_mib": memory, **found}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path, help="a folder of PNG files")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--overload", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--clients", type=int, default=48)
    parser.add_argument("--uploads", type=int, default=1000)
    given = parser.parse_args()
    images = sorted(given.images.glob("*.png"))
    found: dict[str, Any] = {"machine": machine(), "load": [os.getloadavg()[0]]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["one_thread"] = latency(given.bundle, images, folder, 1, given.rounds)
        found["latency"] = latency(given.bundle, images, folder, os.cpu_count() or 1, given.rounds)
        found["throughput"] = throughput(given.bundle, images, folder, max(given.rounds // 12, 3))
        found["overload"] = overload(given.bundle, images, folder, given.overload, given.clients)
        found["uploads"] = uploads(given.bundle, images, folder, given.uploads)
    found["load"].append(os.getloadavg()[0])
    text = json.dumps(found, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
