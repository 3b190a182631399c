"""The service under load: five times what it can do, hours of most of it, very many at once."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.serve.killing import Served, account

CLIENTS = Path(__file__).with_name("serve_clients.py")
HEALTH = """
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
SAMPLES = 120  # of memory in a run
Save = Callable[[dict[str, Any]], None]


class Loaded:
    """A service under load, and what is measured meanwhile.

    Args:
        bundle, images, folder: what inspects, a folder of PNG files, and where data go.
        options: of the service.
    """

    def __init__(self, bundle: Path, images: Path, folder: Path, *options: str) -> None:
        self.data = folder / "data"
        free = ("--rate", "1e6", "--min-free-mb", "1")
        self.served = Served(bundle, self.data, "--mode", "throughput", *free, *options)
        self._images = images
        self._server = psutil.Process(self.served.process.pid)
        self.answered: dict[str, str] = {}
        self.series: list[dict[str, float]] = []

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        if self.served.process.poll() is None:
            self.served.kill()

    def clients(self, name: str, seconds: float, *how: str) -> subprocess.Popen[str]:
        """Start clients; see :mod:`serve_clients`."""
        program = [sys.executable, str(CLIENTS), str(self.served.port), str(self._images)]
        command = [*program, str(seconds), "--name", name, *how]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def seen(self, clients: subprocess.Popen[str]) -> dict[str, Any]:
        """Wait for clients; returns what they saw, less the parts, which are kept for the end."""
        text = clients.communicate()[0]
        assert clients.returncode == 0
        found: dict[str, Any] = json.loads(text)
        self.answered |= found.pop("answered")
        return found

    def sustainable(self, seconds: float) -> float:
        """Parts a second that are inspected where there is always one waiting."""
        how = ("--clients", str(2 * len(self.served.workers()) + 1))
        found = self.seen(self.clients("first", seconds, *how))
        return float(found["statuses"]["201"] / found["seconds"])

    def measure(self, rate: float, seconds: float, save: Save) -> dict[str, Any]:
        """Send parts at a rate, and measure memory, processor time, and the time of /healthz."""
        health = subprocess.Popen(
            [sys.executable, "-c", HEALTH, str(self.served.port)], stdout=subprocess.PIPE, text=True
        )
        before, started = self._processor_seconds(), time.monotonic()
        clients = self.clients("part", seconds, "--rate", str(rate))
        every = max(seconds / SAMPLES, 1.0)
        while clients.poll() is None and time.monotonic() - started < seconds:
            self.series.append({"seconds": round(time.monotonic() - started, 1), **self.resident()})
            save({"memory_mib": self.series})
            time.sleep(every)
        found = self.seen(clients)
        spent, of_clients = time.monotonic() - started, found.pop("clients_cpu_seconds")
        after = self._processor_seconds()
        health.terminate()
        times = [float(line) for line in health.communicate()[0].split()]
        return {
            "rate": round(rate, 2),
            **found,
            "cores_used": {
                "server": round((after[0] - before[0]) / spent, 3),
                "workers": round((after[1] - before[1]) / spent, 3),
                "clients": round(of_clients / spent, 3),
            },
            "healthz_ms": {
                "calls": len(times),
                "median": round(statistics.median(times), 1),
                "p99": round(statistics.quantiles(times, n=100)[-1], 1),
            },
            "load_average": [round(each, 1) for each in os.getloadavg()],
            "memory_slope_mib_an_hour": self.slopes(),
            "memory_mib": self.series,
        }

    def end(self) -> dict[str, Any]:
        """End the service, and account for every part that was answered."""
        code = self.served.stop()
        return {"exit_code": code, **account(self.data, self.answered)}

    def slopes(self) -> dict[str, float]:
        """Least-squares slopes of memory, without the first fifth of the time."""
        later = self.series[len(self.series) // 5 :]
        if len(later) < 3:
            return {}
        times = [each["seconds"] / 3600 for each in later]
        return {
            name: round(statistics.linear_regression(times, [s[name] for s in later]).slope, 1)
            for name in ("server", "workers")
        }

    def resident(self) -> dict[str, float]:
        """MiB of the service's process, and of its inference processes together."""
        workers = 0
        for process in self._workers():
            with suppress(psutil.NoSuchProcess):  # it was just replaced
                workers += process.memory_info().rss
        return {
            "server": round(self._server.memory_info().rss / 2**20, 1),
            "workers": round(workers / 2**20, 1),
        }

    def _processor_seconds(self) -> tuple[float, float]:
        server = sum(self._server.cpu_times()[:2])
        workers = 0.0
        for process in self._workers():
            with suppress(psutil.NoSuchProcess):
                workers += sum(process.cpu_times()[:2])
        return server, workers

    def _workers(self) -> Iterator[psutil.Process]:
        for pid in self.served.workers():
            with suppress(psutil.NoSuchProcess):
                yield psutil.Process(pid)


def overload(bundle: Path, images: Path, folder: Path, seconds: float, save: Save) -> Any:
    """Five times as many parts as can be inspected."""
    with Loaded(bundle, images, folder, "--queue", "16") as loaded:
        rate = loaded.sustainable(min(seconds / 2, 30.0))
        found = loaded.measure(5 * rate, seconds, save)
        return {"sustainable_rate": round(rate, 2), **found, **loaded.end()}


def soak(bundle: Path, images: Path, folder: Path, seconds: float, save: Save) -> Any:
    """Four fifths of the parts that can be inspected, for long."""
    with Loaded(bundle, images, folder, "--keep-gb", "2") as loaded:
        rate = loaded.sustainable(min(seconds / 2, 60.0))
        found = loaded.measure(0.8 * rate, seconds, save)
        return {"sustainable_rate": round(rate, 2), **found, **loaded.end()}


def uploads(bundle: Path, images: Path, folder: Path, count: int, save: Save) -> Any:
    """So many uploads at once, each over a connection of its own."""
    del save
    with Loaded(bundle, images, folder) as loaded:
        before = loaded.resident()
        found = loaded.seen(loaded.clients("part", 0, "--at-once", str(count)))
        memory = {"before": before, "after": loaded.resident()}
        return {"uploads": count, **found, "memory_mib": memory, **loaded.end()}
