"""The inference pool: a bounded queue, and the processes that work on it."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from mambaad.errors import MambaADError, RunError
from mambaad.progress import say
from mambaad.serve.inference.child import Child
from mambaad.serve.inference.worker import Loaded, Plan, Result, Task, failure

_ATTEMPTS = 2
_ENDING = "the service is ending; try again later"
_LOOK = 0.5  # seconds between looks at a process that has nothing to do
_LONGEST_PAUSE = 30.0  # between attempts to start a process
GROWTH = 2048.0
"""MiB by which a process may grow before another one takes its place."""


class QueueFull(MambaADError, RuntimeError):
    """No more parts can wait. ``retry_after``: seconds after which some will be done."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the queue of parts is full; try again later")
        self.retry_after = retry_after


class PoolClosed(MambaADError, RuntimeError):
    """The service is ending."""


@dataclass
class _Waiting:
    task: Task
    future: Future[Result]
    since: float
    attempts: int = 0


@dataclass(eq=False)
class _Generation:
    """The processes of one bundle."""

    plan: Plan
    loaded: Loaded
    threads: list[threading.Thread] = field(default_factory=list)


class InferencePool:
    """Processes that inspect parts out of one queue.

    Args:
        plan: what each process loads.
        processes: how many.
        queue: how many parts may wait.
        part_seconds: how long one may take; longer is as a process that died.
        growth: MiB; a process that grows by more is replaced by another, which is loaded first.

    Attributes:
        restarts: how many processes were replaced.

    Raises:
        RunError: the model cannot be loaded.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        processes: int,
        queue: int,
        part_seconds: float,
        growth: float = GROWTH,
    ) -> None:
        self.processes, self.limit, self.restarts = processes, queue, 0
        self._part_seconds, self._growth = part_seconds, growth
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._working: dict[int, int | None] = {}  # by thread: the process's id
        self._times: deque[float] = deque([1.0], maxlen=50)
        self._current = self._started(plan)

    @property
    def loaded(self) -> Loaded:
        """What inspects now."""
        return self._current.loaded

    @property
    def waiting(self) -> int:
        """How many parts wait."""
        return len(self._queue)

    @property
    def pids(self) -> list[int]:
        """The inference processes' ids."""
        return [pid for pid in list(self._working.values()) if pid]

    @property
    def is_ready(self) -> bool:
        """Whether a process is there to inspect."""
        return bool(self.pids) and not self._is_closed

    @property
    def retry_after(self) -> float:
        """Seconds until the queue will be shorter, from the last parts' times."""
        each = statistics.fmean(list(self._times)) / self.processes
        return max(each * max(self.waiting, 1) / 2, 1.0)

    def submit(self, task: Task) -> Future[Result]:
        """Queue an image.

        Raises:
            QueueFull: as many wait as may.
            PoolClosed: the service is ending.
        """
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()  # what was accepted is inspected
        with self._changed:
            if self._is_closed:
                raise PoolClosed(_ENDING)
            if len(self._queue) >= self.limit:
                raise QueueFull(self.retry_after)
            self._queue.append(_Waiting(task, future, time.perf_counter()))
            self._changed.notify_all()  # who waits for something else waits on
        return future

    def switch(self, plan: Plan, then: Callable[[Loaded], None] | None = None) -> Loaded:
        """Have another bundle inspect from now on; parts in work end on the old one.

        Args:
            plan: what to load.
            then: called when it is loaded and before it inspects; if it raises, nothing changes.

        Raises:
            RunError: it cannot be loaded, and the old one goes on.
        """
        former = self._current
        generation = self._started(plan, then)
        for thread in former.threads:
            thread.join()
        return generation.loaded

    def close(self) -> None:
        """Finish the parts in work, and end the processes; those that wait raise PoolClosed."""
        with self._changed:
            self._is_closed = True
            left = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for waiting in left:
            waiting.future.set_exception(PoolClosed(_ENDING))
        for thread in self._current.threads:
            thread.join()

    def _started(self, plan: Plan, then: Callable[[Loaded], None] | None = None) -> _Generation:
        """Start a generation's processes, all at a time, and wait for them (RunError)."""
        started: list[Child | Exception] = []

        def start() -> None:
            try:
                started.append(Child(plan))
            except Exception as error:
                started.append(error)

        starting = [threading.Thread(target=start) for _ in range(self.processes)]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()
        processes = [one for one in started if isinstance(one, Child)]
        problems = [one for one in started if isinstance(one, Exception)]
        try:
            if problems:
                raise problems[0]
            if len({one.loaded.digest for one in processes}) > 1:
                raise RunError(f"{plan.source} changed while it was loaded; try again")
            if then:
                then(processes[0].loaded)
        except BaseException:
            for one in processes:
                one.end()
            raise
        generation = _Generation(plan, processes[0].loaded)
        for one in processes:
            thread = threading.Thread(
                target=self._serve, args=(generation, one), name="inference", daemon=True
            )
            generation.threads.append(thread)
        with self._changed:
            self._current = generation
            self._changed.notify_all()  # the former one's threads end
        for thread in generation.threads:
            thread.start()
        return generation

    def _take(
        self, generation: _Generation, process: Child, next_one: Future[Child] | None
    ) -> _Waiting | None:
        """Wait for a part; None if there is no more to do, the process died, or the next one is
        there."""
        with self._changed:
            while self._current is generation and not (next_one and next_one.done()):
                if not process.is_alive or (self._is_closed and not self._queue):
                    return None
                if self._queue:
                    return self._queue.popleft()
                self._changed.wait(_LOOK)
        return None

    def _serve(self, generation: _Generation, process: Child) -> None:
        """A process's thread: give it one part after the other, and replace it if it dies."""
        me = threading.get_ident()
        self._working[me] = process.pid
        next_one: Future[Child] | None = None  # takes the place of one that has grown
        not_before = 0.0
        try:
            while True:
                waiting = self._take(generation, process, next_one)
                if waiting is None and next_one is not None and next_one.done():
                    process, next_one = self._relieved(process, next_one), None
                elif waiting is None and (process.is_alive or self._is_over(generation)):
                    break
                elif waiting is None or not self._work(generation, process, waiting):
                    self._working[me] = None
                    process.kill()
                    replaced = self._replace(generation)
                    if replaced is None:
                        return
                    process = replaced
                elif (
                    next_one is None
                    and time.monotonic() > not_before
                    and process.grown > self._growth
                ):
                    not_before = time.monotonic() + _LONGEST_PAUSE
                    next_one = self._loading(generation)
                self._working[me] = process.pid
            process.end()
        finally:
            self._working.pop(me, None)
            if next_one is not None:
                next_one.add_done_callback(_end)

    def _is_over(self, generation: _Generation) -> bool:
        """Whether another bundle inspects, or nothing will."""
        return self._current is not generation or self._is_closed

    def _loading(self, generation: _Generation) -> Future[Child]:
        """Begin to load a process that will take the place of another."""
        future: Future[Child] = Future()

        def load() -> None:
            try:
                future.set_result(_new(generation))
            except Exception as error:
                future.set_exception(error)
            with self._changed:
                self._changed.notify_all()

        threading.Thread(target=load, name="loading", daemon=True).start()
        return future

    def _relieved(self, process: Child, next_one: Future[Child]) -> Child:
        """Put a process in the place of one that has grown; the same if it was not loaded."""
        try:
            successor = next_one.result()
        except Exception as error:
            say(f"an inference process has grown by {process.grown:.0f} MiB and stays: {error}")
            return process
        say(f"an inference process had grown by {process.grown:.0f} MiB and was replaced")
        process.end()
        self.restarts += 1
        return successor

    def _work(self, generation: _Generation, process: Child, waiting: _Waiting) -> bool:
        """Inspect a part; False if the process is of no more use."""
        started = time.perf_counter()
        waiting.attempts += 1
        try:
            result = process.work(waiting.task, self._part_seconds)
        except Exception as error:  # whatever reading a broken pipe raises
            reason = (
                f"took longer than {self._part_seconds:g} s"
                if isinstance(error, TimeoutError)
                else "the inference process ended"
            )
            say(f"a part was not inspected: {reason}; attempt {waiting.attempts} of {_ATTEMPTS}")
            self._again(generation, waiting, reason)
            return False
        self._times.append(time.perf_counter() - started)
        waiting.future.set_result(
            replace(
                result,
                queue_ms=(started - waiting.since) * 1000,
                attempts=waiting.attempts,
                bundle=generation.loaded.digest,
            )
        )
        return True

    def _again(self, generation: _Generation, waiting: _Waiting, reason: str) -> None:
        with self._changed:
            if waiting.attempts < _ATTEMPTS and not self._is_closed:
                self._queue.appendleft(waiting)
                self._changed.notify_all()
                return
        loaded = generation.loaded
        error = f"the part could not be inspected in {_ATTEMPTS} attempts: {reason}"
        record = failure(waiting.task, loaded.model, error)
        waiting.future.set_result(Result(record, attempts=waiting.attempts, bundle=loaded.digest))

    def _replace(self, generation: _Generation) -> Child | None:
        """Start another process of the same bundle, however often that fails; None at the end."""
        pause = 0.5
        while self._current is generation:
            with self._changed:
                if self._is_closed:
                    return None
            try:
                process = _new(generation)
            except RunError as error:
                say(str(error))
            else:
                self.restarts += 1
                return process
            with self._changed:
                self._changed.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return None


def _new(generation: _Generation) -> Child:
    """Load another process of a bundle (RunError: it cannot be loaded, or was changed)."""
    process = Child(generation.plan)
    if process.loaded.digest == generation.loaded.digest:
        return process
    process.end()
    raise RunError(f"{generation.plan.source} was changed; put it back, or start the service again")


def _end(loaded: Future[Child]) -> None:
    """End a process that is not needed any more."""
    if loaded.exception() is None:
        loaded.result().end()
