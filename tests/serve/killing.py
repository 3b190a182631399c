"""A service that is killed at random moments under load, and an account of every part.

Used by tests/serve/test_kills.py, with few kills, and by benchmarks/serve_kills.py, with many.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from mambaad.serve.store import audit
from mambaad.serve.store.database import connect
from mambaad.serve.store.tables import inspection, job, part


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Served:
    """``mambaad serve`` in a process of its own."""

    def __init__(self, bundle: Path, data: Path, *options: str, port: int = 0) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        program = "from mambaad.cli.app import main; main()"
        command = [sys.executable, "-c", program, "serve", str(bundle), "--data", str(data)]
        self._log = (data.parent / f"{data.name}.log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), *options],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 180
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the service did not start; see {self._log.name}")
            time.sleep(0.1)

    def workers(self) -> list[int]:
        """The ids of its inference processes."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        # The forkserver and the resource tracker have processes, or none, of their own.
        servers = {child.ppid() for child in children} - {self.process.pid}
        return [child.pid for child in children if child.ppid() in servers]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    def stop(self) -> int:
        """End it as Ctrl-C does; returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self._log.close()
        return code


@dataclass
class Load:
    """Clients that send parts until told to stop, each part until it is answered."""

    images: list[bytes]
    url: str
    clients: int = 4
    answered: dict[str, str] = field(default_factory=dict)  # key: inspection
    statuses: Counter[int] = field(default_factory=Counter)
    retried: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._send, args=(n,), daemon=True) for n in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a client waits for an answer"

    def _send(self, number: int) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            self._send_with(client, random.Random(number))

    def _send_with(self, client: httpx.Client, chosen: random.Random) -> None:
        while not self._stop.is_set():
            key = uuid.uuid4().hex
            headers = {"Idempotency-Key": key, "content-type": "image/png"}
            if chosen.random() < 0.4:
                headers["Prefer"] = "respond-async"
            content = chosen.choice(self.images)
            while True:  # a part is sent until it is answered, with the same key
                try:
                    answer = client.post("/v1/inspections", content=content, headers=headers)
                    with self._lock:
                        self.statuses[answer.status_code] += 1
                    if answer.is_success:
                        with self._lock:
                            self.answered[key] = answer.json()["id"]
                        break
                    assert answer.status_code in (429, 503), answer.text
                except httpx.TransportError:
                    with self._lock:
                        self.retried += 1
                time.sleep(0.2)


def account(data: Path, answered: dict[str, str]) -> dict[str, Any]:
    """Compare what was answered with what is in the store and on disk, after the service's end."""
    engine = connect(f"sqlite:///{data / 'store.sqlite'}")
    verified = audit.verify(engine)
    with engine.connect() as connection:
        rows = connection.execute(
            part.join(inspection, inspection.c.part_id == part.c.id, isouter=True).select()
        ).mappings()
        found = [dict(row) for row in rows]
        waiting = connection.execute(job.select()).all()
    engine.dispose()
    by_key = Counter(row["idempotency_key"] for row in found)
    ids = {row["idempotency_key"]: row["id_1"] for row in found}
    images = [data / "images" / r["sha256"][:2] / f"{r['sha256']}.png" for r in found]
    files = [path for path in data.rglob("*") if path.is_file()]
    return {
        "answered": len(answered),
        "parts": len(found),
        "answered_without_inspection": sum(ids.get(key) != id for key, id in answered.items()),
        "parts_without_inspection": sum(row["id_1"] is None for row in found),
        "keys_twice": sum(count > 1 for count in by_key.values()),
        "jobs_left": len(waiting),
        "images_missing": sum(not path.is_file() for path in images),
        "half_written": sum(path.suffix == ".tmp" or path.parent.name == "spool" for path in files),
        "errors": sum(json.loads(row["record"])["error"] is not None for row in found),
        "audit_rows": verified.rows,
        "audit_problem": verified.problem,
    }


def kill_often(
    bundle: Path, data: Path, images: list[bytes], kills: int, seed: int = 0
) -> dict[str, Any]:
    """Kill a loaded service ``kills`` times, two of three times a worker of it, and account."""
    chosen = random.Random(seed)
    options = ("--mode", "throughput", "--workers", "1", "--min-free-mb", "1")
    served = Served(bundle, data, *options)
    load = Load(images, served.url)
    killed: Counter[str] = Counter()
    while sum(killed.values()) < kills:
        time.sleep(chosen.uniform(0.0, 1.5))
        workers = served.workers()
        if workers and chosen.random() < 2 / 3:
            with suppress(ProcessLookupError):
                os.kill(chosen.choice(workers), signal.SIGKILL)
                killed["worker"] += 1
            continue
        served.kill()
        killed["server"] += 1
        served = Served(bundle, data, *options, port=served.port)
    load.stop()
    deadline = time.monotonic() + 120
    while served_jobs(data) and time.monotonic() < deadline:
        time.sleep(0.1)
    code = served.stop()
    return {
        "kills": dict(killed),
        "exit_code": code,
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
        "connections_lost": load.retried,
        **account(data, load.answered),
    }


def served_jobs(data: Path) -> int:
    """The number of parts that were accepted and are not inspected yet."""
    engine = connect(f"sqlite:///{data / 'store.sqlite'}")
    with engine.connect() as connection:
        found = len(connection.execute(job.select()).all())
    engine.dispose()
    return found
