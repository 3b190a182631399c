"""A part's way: from its bytes to a verdict that is on disk, exactly once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from mambaad.data.containers import find_format
from mambaad.errors import MambaADError
from mambaad.progress import say
from mambaad.serve.bundles import Bundles
from mambaad.serve.inference.pool import InferencePool, PoolClosed, QueueFull
from mambaad.serve.inference.worker import Result, Task
from mambaad.serve.leftovers import drop, reconcile
from mambaad.serve.metrics import Metrics
from mambaad.serve.problems import Problem, problem_of
from mambaad.serve.review.sampling import draw, read_secret
from mambaad.serve.settings import ServeSettings
from mambaad.serve.store.changes import Conflict
from mambaad.serve.store.images import ImageStore, Retention
from mambaad.serve.store.rows import Job, NewInspection, NewPart, digest_of, new_id, now
from mambaad.serve.store.store import Store
from mambaad.serve.store.writer import StoreError

T = TypeVar("T")
_LONGEST_PAUSE = 30.0


@dataclass(frozen=True)
class Received:
    """A part as it came: the bytes of its image, and what is known about it.

    ``actor``: who sent it; empty where the source says it all.
    """

    content: bytes
    source: str
    serial: str | None = None
    product: str | None = None
    file_name: str = ""
    key: str | None = None
    actor: str = ""


class Intake:
    """Takes parts, has them inspected, and keeps them.

    A part is in the spool before it is accepted, and in the store before it is answered; see
    :mod:`mambaad.serve.store.images`. Used from the event loop alone.

    Args:
        settings: the limits, what is kept, and the share for review.
        store, images, bundles, metrics: of the service.
        sinks: the names of those that every inspection is sent to.
    """

    def __init__(
        self,
        settings: ServeSettings,
        store: Store,
        images: ImageStore,
        bundles: Bundles,
        metrics: Metrics,
        sinks: tuple[str, ...] = (),
    ) -> None:
        self._settings, self._store, self._images = settings, store, images
        self._bundles, self._metrics, self._sinks = bundles, metrics, sinks
        self.retention = Retention(
            settings.keep, settings.keep_share, settings.keep_days, settings.keep_gb
        )
        self._secret = read_secret(settings.data)
        self._threads = ThreadPoolExecutor(8, "files")
        self._in_flight = self._bytes = 0
        self._keyed: dict[str, tuple[str, asyncio.Future[str]]] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self.is_ending = False

    @property
    def pool(self) -> InferencePool:
        """What inspects (Problem: it has not started yet)."""
        if self._bundles.pool is None:
            raise Problem(503, "starting", "the service is not ready", "try again", retry=2)
        return self._bundles.pool

    def check_place(self, size: int) -> None:
        """See whether there is a place for a part of so many bytes; takes none (see place)."""
        if self.is_ending:
            raise Problem(503, "ending", "the service is ending", "try again", retry=10)
        pool = self.pool
        most = max(self._settings.queue_bytes, size)
        if self._in_flight >= self._settings.queue or self._bytes + size > most:
            raise _full(pool.retry_after)
        self._images.check_space()

    @contextmanager
    def place(self, size: int) -> Iterator[None]:
        """Hold one of the places of parts that are received, wait or are inspected.

        What is raised meanwhile is counted as a part that was not accepted.

        Args:
            size: how many bytes the part may have.

        Raises:
            Problem, StoreError: there is none, no space on disk, or the service is starting or
                ending.
        """
        try:
            self.check_place(size)
            with self._counted(size):
                yield
        except MambaADError as error:
            self.count_refused(error)
            raise

    def count_refused(self, error: MambaADError) -> None:
        """Count a part that was not accepted."""
        self._metrics.refused.labels(problem_of(error).code).inc()

    @contextmanager
    def _counted(self, size: int) -> Iterator[None]:
        self._in_flight += 1
        self._bytes += size
        self._metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self._bytes -= size
            self._metrics.in_flight.set(self._in_flight)

    async def inspect(self, received: Received) -> str:
        """Inspect a part and keep it; returns the inspection's id once its record is on disk.

        With the key of a part that is waiting, returns its id at once.

        Raises:
            Problem: not an image, an unknown product, or a key that was used for another part.
            StoreError: it could not be kept, and nothing is.
        """

        async def run(part: NewPart, inspection_id: str) -> None:
            started = time.perf_counter()
            inspecting: asyncio.Future[Result]
            inspecting = asyncio.wrap_future(self._submit(_task(received)))
            spooling = self._in_thread(lambda: self._images.spool(part, received.content))
            result, spooled = await asyncio.gather(inspecting, spooling, return_exceptions=True)
            try:
                for outcome in (spooled, result):
                    if isinstance(outcome, PoolClosed):
                        raise Problem(503, "ending", str(outcome), "try again", retry=10)
                    if isinstance(outcome, BaseException):
                        raise outcome
                assert isinstance(result, Result)
                if result.refused:
                    raise Problem(422, "not_inspected", result.refused, "send another image")
                await self._keep(part, inspection_id, result)
            except BaseException:
                self._threads.submit(drop, self._store, self._images, part)
                raise
            self._threads.submit(self._images.release, part)
            self._metrics.seconds.observe(time.perf_counter() - started)

        return await self._once(received, run)

    async def accept(self, received: Received) -> str:
        """Keep a part to be inspected later; returns the id that its inspection will have.

        Raises:
            Problem: not an image, or a key that was used for another part.
            StoreError: it could not be kept, and nothing is.
        """

        async def run(part: NewPart, inspection_id: str) -> None:
            job = Job(inspection_id, part)
            await self._in_thread(lambda: self._images.spool(part, received.content))
            try:
                await self._written(part, "waiting", self._store.add_job(job))
            except BaseException:
                self._threads.submit(drop, self._store, self._images, part)
                raise
            self._begin(job)

        return await self._once(received, run)

    async def resume(self) -> None:
        """Go on with the parts that were accepted before the service ended, and tidy up."""
        jobs = await self._in_thread(self._store.jobs)
        waiting = {job.part.id for job in jobs}
        await self._in_thread(
            lambda: self._images.recover(
                waiting.__contains__, self._store.has_part, self._store.has_image
            )
        )
        for job in jobs:
            self._begin(job)
        self._threads.submit(
            reconcile, self._store, self._images, time.time() - 1, lambda: not self.is_ending
        )

    async def _written(self, part: NewPart, state: str, writing: Future[str]) -> None:
        """Wait until a part is in a state; also where it is and the answer was lost (StoreError).

        A connection may end after its transaction was kept.
        """
        try:
            await asyncio.wrap_future(writing)
        except (StoreError, Conflict):
            if await asyncio.wrap_future(self._store.state_of(part.id)) != state:
                raise

    async def finish(self) -> None:
        """Take no more parts, and finish those in work but jobs, which go on at the next start."""
        self.is_ending = True
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        deadline = time.monotonic() + self._settings.part_seconds
        while self._in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        if self._bundles.pool is not None:
            await asyncio.to_thread(self._bundles.pool.close)
        self._threads.shutdown()

    def _begin(self, job: Job) -> None:
        task = asyncio.get_running_loop().create_task(self._do(job))
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _do(self, job: Job) -> None:
        """Inspect a part that was accepted, however often that fails for want of space."""
        with self._counted(job.part.bytes):
            pause = 0.5
            while True:
                try:
                    content = await self._in_thread(lambda: self._images.spooled(job.part))
                    part = job.part
                    task = Task(content, part.product_given, part.file_name)
                    result = await asyncio.wrap_future(self._submit(task))
                    await self._keep(part, job.inspection_id, result)
                    self._threads.submit(self._images.release, part)
                    return
                except PoolClosed:
                    return
                except Conflict as error:  # its key has made another part: it cannot be kept
                    say(f"part {job.part.id} stays without an inspection: {error}")
                    return
                except (StoreError, Problem) as error:
                    say(f"part {job.part.id} waits: {error}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                with suppress(StoreError):
                    state = await asyncio.wrap_future(self._store.state_of(job.part.id))
                    if state == "kept":  # though its answer was lost
                        self._threads.submit(self._images.release, job.part)
                        return

    async def _keep(self, part: NewPart, inspection_id: str, result: Result) -> None:
        """Put a part and its inspection on disk."""
        record = json.loads(result.record)
        drawn = draw(part.sha256, self._secret, self._settings.review_share)
        inspection = NewInspection(
            id=inspection_id,
            part_id=part.id,
            at=now(),
            record=result.record,
            bundle=result.bundle,
            bundle_version=self._bundles.version_of(result.bundle),
            queue_ms=result.queue_ms,
            worker_ms=result.worker_ms,
            attempts=result.attempts,
            sampled=drawn.drawn,
            sample_probability=drawn.probability,
        )
        verdict = record["verdict"]
        if self.retention.keeps(part.id, verdict, inspection.sampled):
            await self._in_thread(lambda: self._images.keep(part, result.map, result.thumbnail))
        else:
            await self._in_thread(lambda: self._images.keep_thumbnail(part, result.thumbnail))
        adding = self._store.add_inspection(part, inspection, self._sinks)
        await self._written(part, "kept", adding)
        labels = (record["product"] or "", verdict or ("error" if record["error"] else "none"))
        self._metrics.inspections.labels(*labels).inc()
        self._metrics.worker_seconds.observe(result.worker_ms / 1000)

    async def _once(
        self, received: Received, run: Callable[[NewPart, str], Awaitable[None]]
    ) -> str:
        """Run what makes an inspection, unless its key has made one; returns its id."""
        part, inspection_id = await self._in_thread(lambda: self._part(received)), new_id()
        key = received.key
        if key is None:
            await run(part, inspection_id)
            return inspection_id
        if key in self._keyed:
            digest, running = self._keyed[key]
            _check_same(key, digest, part.request_digest)
            return await asyncio.shield(running)
        mine: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._keyed[key] = (part.request_digest, mine)
        try:
            known = await self._in_thread(lambda: self._store.request_of(key))
            if known:
                _check_same(key, known[0], part.request_digest)
                inspection_id = known[1]
            else:
                await run(part, inspection_id)
        except BaseException as error:
            mine.set_exception(error)
            mine.exception()  # whoever waits gets it; nobody may
            raise
        else:
            mine.set_result(inspection_id)
        finally:
            del self._keyed[key]
        return inspection_id

    def _part(self, received: Received) -> NewPart:
        kind = find_format(received.content)
        if kind is None:
            raise Problem(
                415,
                "not_an_image",
                "the file is no image that can be read",
                "send a PNG, JPEG, BMP, TIFF or WebP file",
            )
        products = self.pool.loaded.products
        if received.product is not None and products and received.product not in products:
            raise Problem(
                422,
                "unknown_product",
                f"the model was not trained on '{received.product}'",
                f"choose from {', '.join(products)}",
            )
        sha256 = hashlib.sha256(received.content).hexdigest()
        return NewPart(
            id=new_id(),
            received_at=now(),
            source=received.source,
            sha256=sha256,
            bytes=len(received.content),
            format=kind,
            request_digest=digest_of([sha256, received.serial, received.product]),
            serial=received.serial,
            product_given=received.product,
            file_name=received.file_name,
            idempotency_key=received.key,
            actor=received.actor,
        )

    def _submit(self, task: Task) -> Future[Result]:
        try:
            return self.pool.submit(task)
        except QueueFull as full:
            raise _full(full.retry_after) from None
        except PoolClosed as closed:
            raise Problem(503, "ending", str(closed), "try again", retry=10) from None

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _task(received: Received) -> Task:
    return Task(received.content, received.product, received.file_name)


def _full(retry_after: float) -> Problem:
    return Problem(
        429, "queue_full", "as many parts wait as may", "send it again later", retry=retry_after
    )


def _check_same(key: str, known: str, given: str) -> None:
    if known != given:
        raise Problem(
            422,
            "key_reused",
            f"the Idempotency-Key {key} was used for another part",
            "give each part a key of its own",
        )
