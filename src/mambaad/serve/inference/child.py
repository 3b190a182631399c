"""An inference process, as the service sees it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from mambaad.errors import RunError
from mambaad.piped_process import PipedProcess
from mambaad.serve.inference.worker import Loaded, Plan, Result, Task, run_worker

LOAD_SECONDS = 300.0


class Child(PipedProcess):
    """An inference process that has loaded a model.

    Raises:
        RunError: it cannot load it.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(
            run_worker,
            plan,
            "mambaad.serve.inference.worker",
            "mambaad.inference.torch_engine",
            "mambaad.inspection.inspector",
        )
        try:
            if not self.pipe.poll(LOAD_SECONDS):
                raise RunError(f"{plan.source} was not loaded within {LOAD_SECONDS:.0f} s")
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
        self._resident = self._resident_now()

    @property
    def grown(self) -> float:
        """By how many MiB its memory has grown since it loaded the model; 0 where unknown."""
        return self._resident_now() - self._resident

    def work(self, task: Task, seconds: float) -> Result:
        """Inspect an image (EOFError, OSError: the process died; TimeoutError: it was killed)."""
        is_late = threading.Event()

        def stop() -> None:
            is_late.set()
            self.stop()

        # A process that is stopped takes no image either, so that sending one may take as long.
        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            self.pipe.send(task)
            result = self.pipe.recv()
        except (EOFError, OSError) as error:
            if is_late.is_set():
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()
        assert isinstance(result, Result)
        return result

    def _resident_now(self) -> float:
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20
        except (OSError, IndexError):  # another system, or the process died
            return 0.0
