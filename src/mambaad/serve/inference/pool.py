"""The inference pool: a bounded queue, and the processes that work on it."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

from mambaad.errors import MambaADError, RunError
from mambaad.process import process_context
from mambaad.progress import say
from mambaad.serve.inference.worker import Loaded, Plan, Result, Task, failure, run_worker

_ATTEMPTS = 2
_LOAD_SECONDS = 300.0
_ENDING = "the service is ending; try again later"
_LONGEST_PAUSE = 30.0  # between attempts to start a process


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


class _Process:
    """An inference process that has loaded a model.

    Raises:
        RunError: it cannot load it.
    """

    def __init__(self, plan: Plan) -> None:
        context = process_context(
            "mambaad.serve.inference.worker",
            "mambaad.inference.torch_engine",
            "mambaad.inspection.inspector",
        )
        self.pipe: Connection[Any, Any]
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=run_worker, args=(plan, theirs), daemon=True)
        self._process.start()
        theirs.close()
        try:
            if not self.pipe.poll(_LOAD_SECONDS):
                raise RunError(f"{plan.source} was not loaded within {_LOAD_SECONDS:.0f} s")
            answer = self.pipe.recv()
        except (EOFError, OSError):
            answer = f"{plan.source}: the inference process ended while it loaded the model"
        except BaseException:
            self.kill()
            raise
        if not isinstance(answer, Loaded):
            self.kill()
            raise RunError(answer)
        self.loaded = answer

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def work(self, task: Task, seconds: float) -> Result:
        """Inspect an image (EOFError, OSError: the process died; TimeoutError)."""
        self.pipe.send(task)
        if not self.pipe.poll(seconds):
            raise TimeoutError
        result = self.pipe.recv()
        assert isinstance(result, Result)
        return result

    def end(self) -> None:
        try:
            self.pipe.send(None)
            self._process.join(5)
        except OSError:
            pass
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


class InferencePool:
    """Processes that inspect parts out of one queue.

    Args:
        plan: what each process loads.
        processes: how many.
        queue: how many parts may wait.
        part_seconds: how long one may take; longer is as a process that died.

    Attributes:
        restarts: how many processes were replaced.

    Raises:
        RunError: the model cannot be loaded.
    """

    def __init__(self, plan: Plan, *, processes: int, queue: int, part_seconds: float) -> None:
        self.processes, self.limit, self.restarts = processes, queue, 0
        self._part_seconds = part_seconds
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
            self._changed.notify()
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
        started: list[_Process | Exception] = []

        def start() -> None:
            try:
                started.append(_Process(plan))
            except Exception as error:
                started.append(error)

        starting = [threading.Thread(target=start) for _ in range(self.processes)]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()
        processes = [one for one in started if isinstance(one, _Process)]
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

    def _take(self, generation: _Generation) -> _Waiting | None:
        """Wait for a part; None if this generation has no more to do."""
        with self._changed:
            while self._current is generation:
                if self._queue:
                    return self._queue.popleft()
                if self._is_closed:
                    return None
                self._changed.wait()
        return None

    def _serve(self, generation: _Generation, process: _Process) -> None:
        """A process's thread: give it one part after the other, and replace it if it dies."""
        me = threading.get_ident()
        self._working[me] = process.pid
        try:
            while (waiting := self._take(generation)) is not None:
                if not self._work(generation, process, waiting):
                    self._working[me] = None
                    process.kill()
                    replaced = self._replace(generation)
                    if replaced is None:
                        return
                    process = replaced
                    self._working[me] = process.pid
            process.end()
        finally:
            self._working.pop(me, None)

    def _work(self, generation: _Generation, process: _Process, waiting: _Waiting) -> bool:
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

    def _replace(self, generation: _Generation) -> _Process | None:
        """Start another process of the same bundle, however often that fails; None at the end."""
        pause = 0.5
        while self._current is generation:
            with self._changed:
                if self._is_closed:
                    return None
            try:
                process = _Process(generation.plan)
                if process.loaded.digest == generation.loaded.digest:
                    self.restarts += 1
                    return process
                process.end()
                say(
                    f"{generation.plan.source} was changed; put it back, or start the service again"
                )
            except RunError as error:
                say(str(error))
            with self._changed:
                self._changed.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return None
