"""Running a plan job by job, each in its own process, and resuming after an interruption."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from pydantic import BaseModel, Field, ValidationError, model_validator

from mambaad.artifacts.manifest import has_begun
from mambaad.artifacts.run_folder import read_config, training_seconds
from mambaad.artifacts.snapshot import opened
from mambaad.data.checks import read_checked
from mambaad.documents import DocumentError, read_json
from mambaad.errors import MambaADError, RunError
from mambaad.file_errors import cannot_write
from mambaad.files import open_text, write_text
from mambaad.inference.engine import Engine
from mambaad.inspection.inspector import Inspector
from mambaad.metrics.names import METRICS, MetricValues
from mambaad.process import end_with_parent, process_context, sigterm_as_interrupt
from mambaad.progress import say
from mambaad.setting_checks import problem_of
from mambaad.types import ProductClass
from mambaad.workflows.benchmark.peer_settings import peer_settings
from mambaad.workflows.benchmark.peers import PatchCore
from mambaad.workflows.benchmark.plan import RESULT, Job, Plan
from mambaad.workflows.evaluate import Evaluation, evaluate, evaluate_engine
from mambaad.workflows.profile import profile
from mambaad.workflows.train import train

BEGUN, RUN, PROBLEM = "job.json", "run", "problem.txt"
_SPEED_ROUNDS = 7
_LONGEST_PROBLEM = 10_000


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job: its ``result`` (see ``docs/benchmark.md``), or its ``problem``."""

    job: Job
    result: dict[str, Any] | None
    problem: str | None = None

    @property
    def mean(self) -> MetricValues | None:
        """The means of the metrics over the classes; None without a result."""
        return self.result["mean"] if self.result else None


def run_plan(plan: Plan, out: Path) -> list[Outcome]:
    """Run all jobs that have no result yet; a job that fails is reported, and the others run.

    The caller holds the lock of ``out`` (:func:`mambaad.files.locked`).

    If this process is killed, so is the running job, whose training resumes from its last epoch.

    Raises:
        RunError: a folder that cannot be written, or that holds another plan's results.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; the running job has saved its state.
    """
    jobs = plan.jobs()
    results = {job.folder: read_result(job, out) for job in jobs}
    took: list[float] = []
    outcomes = []
    for number, job in enumerate(jobs, start=1):
        problem = None
        if results[job.folder] is None:
            waiting = sum(results[other.folder] is None for other in jobs[number - 1 :])
            left = f" ({waiting * sum(took) / len(took) / 60:.0f} min left)" if took else ""
            say(f"[{number}/{len(jobs)}] {job.title}{left}")
            began = time.monotonic()
            problem = _run_in_process(job, out)
            if problem:
                say(f"{job.title}: failed: {problem}")
            else:
                took.append(time.monotonic() - began)
                results[job.folder] = read_result(job, out)
        outcomes.append(Outcome(job, results[job.folder], problem))
    return outcomes


def read_result(job: Job, out: Path) -> dict[str, Any] | None:
    """Read the result of a job; None if it has not ended.

    Raises:
        RunError: the folder holds a damaged result, or one of a job with other settings.
    """
    folder = out / job.folder
    begun = _read_json(folder / BEGUN)
    if begun and begun.get("training") != job.training:
        raise RunError(
            f"{folder} was made with other settings than the plan's for '{job.title}'; choose "
            f"another --out, or delete {folder} to train again"
        )
    result = _read_json(folder / RESULT)
    if result and result.get("fingerprint") != job.fingerprint:
        raise RunError(
            f"{folder / RESULT} was made under another protocol than the plan's; choose another "
            f"--out, or delete {folder / RESULT} to evaluate again"
        )
    if result:
        try:
            _Result.model_validate(result)
        except ValidationError as error:
            raise RunError(
                f"{folder / RESULT} is damaged ({' '.join(problem_of(error)).strip()}); delete "
                "it to evaluate again"
            ) from None
    return result


class _Result(BaseModel):
    """What the tables take of a result."""

    mean: MetricValues
    classes: dict[str, MetricValues]
    protocol: str
    size: tuple[int, int]
    settings: dict[str, Any]
    images_per_s: float = Field(gt=0)
    parameters: float | None = None
    flops: float | None = None
    train_minutes: float | None = None
    peak_mib: float | None = None

    @model_validator(mode="after")
    def _check_metrics(self) -> _Result:
        for values in (self.mean, *self.classes.values()):
            if missing := set(METRICS) - set(values):
                raise ValueError(f"a row lacks {min(missing)}")
        return self


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = read_json(path)
    except DocumentError as error:
        raise RunError(f"{error}; or delete {path.parent} to run this job again") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged; delete {path.parent} to run this job again")
    return content


def _run_in_process(job: Job, out: Path) -> str | None:
    """Run a job in its own process, whose crash ends no other; return its problem, if any."""
    folder = out / job.folder
    problem = folder / PROBLEM
    try:
        folder.mkdir(parents=True, exist_ok=True)
        problem.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    if not (folder / BEGUN).is_file():
        write_text(folder / BEGUN, json.dumps({"training": job.training}) + "\n")
    process = process_context(__name__).Process(target=_run_job, args=(job, folder))
    with sigterm_as_interrupt():  # so that a job does not outlive the benchmark
        process.start()
        try:
            process.join()
        except KeyboardInterrupt:
            process.terminate()  # Ctrl-C may not have reached it; on SIGTERM it saves its state
            process.join()
            raise
    if process.exitcode == 0:
        return None
    if problem.is_file():
        with open_text(problem) as file:
            return file.read(_LONGEST_PROBLEM)
    return f"its process ended with exit code {process.exitcode}"


def _run_job(job: Job, folder: Path) -> None:
    try:
        end_with_parent()
        result = run_peer(job) if "peer" in job.settings else run_system(job, folder / RUN)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # of any kind, peers' included: the other jobs must run
        is_ours = isinstance(error, MambaADError)
        reason = str(error) if is_ours else f"{type(error).__name__}: {error}"
        write_text(folder / PROBLEM, " ".join(reason.split()))
        sys.exit(1)
    settings = dict(job.settings)
    if "encoder_weights" in settings:  # its folder belongs to the machine, not to the result
        settings["encoder_weights"] = Path(settings["encoder_weights"]).name
    record = {
        "system": job.system,
        "data": job.data_name,
        "seed": job.seed,
        "settings": settings,
        "peak_mib": _peak_mib(),
        "fingerprint": job.fingerprint,
        "threads": torch.get_num_threads(),
    }
    text = json.dumps({**record, **result}, indent=2, default=str) + "\n"
    write_text(folder / RESULT, text)


def run_system(job: Job, run: Path) -> dict[str, Any]:
    """Train and evaluate one of this project's systems; see ``docs/benchmark.md``."""
    train(job.data.path, run, resume=has_begun(run), **job.settings)
    inspector = Inspector(run)
    evaluation = evaluate(inspector, job.data.path, protocol=job.protocol)
    with opened(run) as trained:
        whole, seconds = profile(read_config(trained))[-1], training_seconds(trained)
    return {
        **_metrics(evaluation),
        "parameters": whole.parameters,
        "trained_parameters": whole.trained,
        "flops": whole.flops,
        "train_minutes": seconds / 60,
        "images_per_s": images_per_second(inspector.engine),
    }


def run_peer(job: Job) -> dict[str, Any]:
    """Fit and evaluate a system of anomalib."""
    classes = read_for_peer(job)
    peer = PatchCore(peer_settings(job.settings))
    began = time.perf_counter()
    peer.fit([sample for c in classes for sample in c.train])
    minutes = (time.perf_counter() - began) / 60
    evaluation = evaluate_engine(peer, [c for c in classes if c.test], job.protocol)
    bank = peer.model.memory_bank.numel()
    return {
        **_metrics(evaluation),
        "parameters": sum(p.numel() for p in peer.model.parameters()) + bank,
        "trained_parameters": bank,
        "flops": None,
        "train_minutes": minutes,
        "images_per_s": images_per_second(peer),
    }


def read_for_peer(job: Job) -> list[ProductClass]:
    """Read a data set for a peer as the systems of this project read it."""
    given = peer_settings(job.settings).of_data
    return read_checked(
        job.data.path,
        job.data.classes,
        layout=job.data.layout,
        exclude=given.exclude,
        reading=given.reading,
    )


def _metrics(evaluation: Evaluation) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(evaluation.to_json())
    return metrics


def images_per_second(engine: Engine) -> float:
    """Measure the median rate of the model with its map alone, one image at a time."""
    image = np.random.default_rng(0).integers(0, 256, (1, *engine.size, 3), dtype=np.uint8)
    times = []
    for _ in range(_SPEED_ROUNDS + 2):
        began = time.perf_counter()
        engine.observe(image)
        times.append(time.perf_counter() - began)
    return 1 / sorted(times[2:])[_SPEED_ROUNDS // 2]


def _peak_mib() -> int:
    """Return the peak memory of this process so far."""
    try:
        import resource
    except ImportError:  # on Windows
        memory: Any = psutil.Process().memory_info()
        return int(memory.peak_wset) // 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
