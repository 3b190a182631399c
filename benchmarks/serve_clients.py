"""Clients of a service, in a process of their own: parts at a rate, or as fast as they answer.

    python benchmarks/serve_clients.py PORT IMAGES SECONDS [--rate PARTS_A_SECOND | --clients N]

Prints one line of JSON. They speak HTTP over plain sockets, so that most of the processor is left
to what is measured, and say how much of it they took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

MOST = 1000  # requests under way at a time


class Clients:
    """Sends parts to a service, each with a key of its own, over connections that are kept."""

    def __init__(self, port: int, images: list[bytes], name: str) -> None:
        self._port, self._images, self._name = port, images, name
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.statuses: Counter[str] = Counter()
        self.retry_after: Counter[str] = Counter()
        self.milliseconds: dict[str, list[float]] = {}
        self.answered: dict[str, str] = {}
        self.sent = 0

    async def send(self, *, is_new: bool = False) -> int:
        """Send a part; returns the status, 0 where the connection broke."""
        number = self.sent
        self.sent += 1
        started = time.perf_counter()
        try:
            status, body = await self._post(number, is_new)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.statuses[type(error).__name__] += 1
            return 0
        self.statuses[str(status)] += 1
        self.milliseconds.setdefault(str(status), []).append((time.perf_counter() - started) * 1000)
        if status == 201:
            self.answered[f"{self._name} {number}"] = json.loads(body)["id"]
        return status

    async def _post(self, number: int, is_new: bool) -> tuple[int, bytes]:
        content = self._images[number % len(self._images)]
        head = (
            f"POST /v1/inspections HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: image/png\r\nIdempotency-Key: {self._name} {number}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        while self._idle and self._idle[-1][0].at_eof():
            self._idle.pop()[1].close()
        if self._idle and not is_new:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(head.encode() + content)
        try:  # an answer may come before the part is sent
            answer = await reader.readuntil(b"\r\n\r\n")
            lines = [line.partition(": ") for line in answer.decode().lower().splitlines()]
            headers = {name: value for name, _, value in lines}
            body = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            writer.close()
            raise
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        if "retry-after" in headers:
            self.retry_after[headers["retry-after"]] += 1
        return int(answer[9:12]), body

    async def at_rate(self, rate: float, seconds: float) -> None:
        """Send so many a second, whether the former ones are answered or not."""
        started = time.monotonic()
        running: set[asyncio.Task[int]] = set()
        while (elapsed := time.monotonic() - started) < seconds:
            if self.sent <= elapsed * rate and len(running) < MOST:
                task = asyncio.create_task(self.send())
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(max((self.sent / rate) - elapsed, 0))
        await asyncio.gather(*running)

    async def in_turns(self, clients: int, seconds: float) -> None:
        """So many clients, each of which sends when its last part was answered."""
        end = time.monotonic() + seconds

        async def one() -> None:
            while time.monotonic() < end:
                if await self.send() != 201:
                    await asyncio.sleep(0.02)

        await asyncio.gather(*(one() for _ in range(clients)))

    async def at_once(self, count: int) -> None:
        """So many at once, each over a connection of its own."""
        await asyncio.gather(*(self.send(is_new=True) for _ in range(count)))

    def found(self) -> dict[str, Any]:
        """What was seen."""
        times = {
            status: {
                "median": round(statistics.median(each), 1),
                "p99": round(statistics.quantiles(each, n=100)[-1], 1) if each[1:] else each[0],
            }
            for status, each in self.milliseconds.items()
        }
        return {
            "sent": self.sent,
            "statuses": dict(sorted(self.statuses.items())),
            "retry_after_s": dict(self.retry_after),
            "answer_ms": times,
            "clients_cpu_seconds": round(time.process_time(), 1),
            "answered": self.answered,
        }


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("images", type=Path, help="a folder of PNG files")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--name", default="part", help="what the keys of parts begin with")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--rate", type=float)
    how.add_argument("--clients", type=int)
    how.add_argument("--at-once", type=int)
    given = parser.parse_args()
    images = [path.read_bytes() for path in sorted(given.images.glob("*.png"))]
    clients = Clients(given.port, images, given.name)
    started = time.monotonic()
    if given.rate:
        await clients.at_rate(given.rate, given.seconds)
    elif given.clients:
        await clients.in_turns(given.clients, given.seconds)
    else:
        await clients.at_once(given.at_once)
    print(json.dumps({"seconds": round(time.monotonic() - started, 2), **clients.found()}))


if __name__ == "__main__":
    asyncio.run(main())
