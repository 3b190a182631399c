"""The executor of one machine: a worker for each core, which take shards in their order."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Generator, Sequence

from mambaad.progress import say
from mambaad.shards.child import Child
from mambaad.shards.plan import Plan
from mambaad.shards.results import Done
from mambaad.shards.worker import Stopped, Worker


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Processes:
    """Executes a job in processes of this machine; see :class:`mambaad.shards.plan.Executor`.

    Args:
        workers: how many; by default one for each core, or one in all on a GPU.

    Attributes:
        pids: of the workers' processes that were started, and may have ended.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers
        self.pids: list[int] = []

    def run(self, plan: Plan, shards: Sequence[int]) -> Generator[Done, None, None]:
        """Have shards inspected; see :meth:`mambaad.shards.plan.Executor.run`."""
        if not shards:
            return
        first = Worker(plan, self._note)
        try:
            is_gpu = first.start().device != "cpu"
        except BaseException:
            first.stop()
            first.end()
            raise
        wanted = self._workers or (1 if is_gpu else cores())
        more = [Worker(plan, self._note) for _ in range(min(wanted, len(shards)) - 1)]
        workers = [first, *more]
        say(f"{len(workers)} workers: {len(shards)} shards")
        left, taking = iter(shards), threading.Lock()
        results = queue.Queue[Done | BaseException]()

        def serve(worker: Worker) -> None:
            try:
                worker.start()  # before it takes a shard, for which the others would have to wait
                while True:
                    with taking:
                        shard = next(left, None)
                    if shard is None:
                        break
                    results.put(worker.inspect(shard))
            except Stopped:
                pass
            except BaseException as error:
                results.put(error)
            worker.end()

        threads = [
            threading.Thread(target=serve, args=(worker,), name="worker", daemon=True)
            for worker in workers
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in shards:
                found = results.get()
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            with taking:
                left = iter(())
            for worker in workers:
                worker.stop()
            for thread in threads:
                thread.join()

    def _note(self, child: Child) -> None:
        if child.pid is not None:
            self.pids.append(child.pid)
