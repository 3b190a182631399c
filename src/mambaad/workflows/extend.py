"""Adding a product to a trained model without forgetting the others: training with replay."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mambaad.artifacts.fingerprint import fingerprint, part_digests, summarise_data
from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import NAMES, PAGE, WEIGHTS, has_begun
from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.run_folder import (
    create_run,
    is_finished,
    new_folder,
    read_config,
    read_data_summary,
)
from mambaad.artifacts.snapshot import Snapshot, opened
from mambaad.artifacts.tensors import Content
from mambaad.config import TrainConfig
from mambaad.data.checks import check_masks, check_with_progress
from mambaad.data.depth import decided_depth, with_reading
from mambaad.data.exclusion import without
from mambaad.data.splits import hold_out, shuffled
from mambaad.data.unread import list_data
from mambaad.data.walk import text
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.files import folder_written_whole, locked, remove_folder
from mambaad.inference.device import find_device
from mambaad.inference.weights import load_model
from mambaad.inspection.inspector import Inspector
from mambaad.metrics.names import HEADINGS, METRICS, MetricValues
from mambaad.progress import say
from mambaad.training.devices import make_fabric
from mambaad.training.finish import finish
from mambaad.training.loop import fit
from mambaad.training.samples import training_samples
from mambaad.types import ProductClass, Sample
from mambaad.workflows.calibrate import FOLDS
from mambaad.workflows.evaluate import evaluate_engine
from mambaad.workflows.train import Interrupted
from mambaad.workflows.training_pages import TrainingPages

EPOCHS = 3
LR_SHARE = 0.5
"""Share of the run's learning rate: its weights are trained already and should change little."""


@dataclass(frozen=True)
class MetricChange:
    """A metric of one of the old products, before and after, each in [0, 1]."""

    product: str
    metric: str
    before: float
    after: float

    @property
    def drop(self) -> float:
        """The amount by which it fell; negative where it rose."""
        return self.before - self.after


@dataclass(frozen=True)
class Extension:
    """The outcome of adding a product.

    Attributes:
        run: the folder of the extended model, which took the old run's place if ``is_accepted``.
        former: the folder of the old run's copy in that case.
        max_drop: the largest drop that is accepted, of any metric.
        changes: the metrics of the old products that have good and defective test images.
        product: the name of the new product.
        metrics: its metrics; None without test images.
        untested: the old products that lack such test images, so that nothing is known of them.
    """

    run: Path
    former: Path
    max_drop: float
    changes: tuple[MetricChange, ...]
    product: str
    metrics: MetricValues | None
    untested: tuple[str, ...]

    @property
    def too_large(self) -> tuple[MetricChange, ...]:
        """The changes that forbid replacing the run; one that is not a number is among them."""
        return tuple(c for c in self.changes if not c.drop <= self.max_drop)

    @property
    def is_accepted(self) -> bool:
        """Whether no metric fell too far."""
        return not self.too_large

    def to_rows(self) -> list[list[str]]:
        """Make a heading and a row per product, in per cent; for the old ones before > after."""
        rows = [["class", *(HEADINGS[m] for m in METRICS)]]
        for product in dict.fromkeys(c.product for c in self.changes):
            found = {c.metric: c for c in self.changes if c.product == product}
            rows.append([product, *(_cell(found.get(m)) for m in METRICS)])
        if self.metrics:
            shown = (self.metrics[m] for m in METRICS)
            rows.append([self.product, *("-" if v is None else f"{100 * v:.1f}" for v in shown)])
        return rows


def _cell(change: MetricChange | None) -> str:
    return f"{100 * change.before:.1f} > {100 * change.after:.1f}" if change else "-"


def extend(
    run: str | Path,
    new: str | Path,
    old: str | Path,
    *,
    epochs: int = EPOCHS,
    replay: float = 1.0,
    max_drop: float = 0.03,
    skip_unreadable: bool = False,
    device: str = "auto",
) -> Extension:
    """Teach a trained model a further product, and accept the result only if it forgets nothing.

    Training continues from the run's weights, on the good parts of the new product and, replayed,
    of the old ones. Then both models are evaluated on the old products' test images.

    Args:
        run: the folder that training made. It is changed only if no metric of an old product
            falls by more than ``max_drop``; a copy of the old run is kept beside it.
        new: the folder of one class, MVTec AD layout; its name is the product's.
        old: the data set that the run was trained on.
        epochs: passes over the new parts and the replayed ones, 1 or more.
        replay: share of each old product's good parts that is replayed, above 0 up to 1.
        max_drop: largest drop of any of the seven metrics, each in [0, 1]. With 1 nothing is
            refused, and the old products need no test images.
        skip_unreadable: leave unreadable images out instead of stopping.
        device: see :class:`mambaad.Inspector`.

    Returns:
        The metrics, and the folder of the extended run: ``RUN.extended-PRODUCT`` if it was
        refused. After an interruption, a second call with the same arguments resumes.

    Raises:
        ConfigError, DataError, RunError: before any training; the run is as it was. So it is if
            another process writes to it.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    run, new, old = Path(run), Path(new), Path(old)
    run = run if run.name else run.resolve()
    name = text(new.resolve().name)
    work, former = (run.with_name(f"{run.name}.{what}-{name}") for what in ("extended", "before"))
    _remove_accepted(run, work)
    with opened(run) as snapshot:
        _check(snapshot, name, former, epochs, replay, max_drop)
    with ExitStack() as stack:
        stack.enter_context(locked(run))
        with opened(run) as snapshot:
            config = _check(snapshot, name, former, epochs, replay, max_drop)
            old_classes, added = _read(snapshot, config, new, old, skip_unreadable)
            weights = snapshot.digest(WEIGHTS)
        if depth := decided_depth([added]):
            config = config.model_copy(update={"bit_depth": depth})
        tested = _tested(old_classes, max_drop)
        classes = sorted([*old_classes, added], key=lambda c: c.name)
        trained_on, held_out = hold_out(classes, share=config.holdout, seed=config.seed)
        samples = training_samples(_replayed(trained_on, name, replay, config.seed), config)
        about = {"from": weights, "product": name, "epochs": epochs, "replay": replay}
        summary = summarise_data(classes, held_out, excluded=config.exclude or ())
        stack.enter_context(_begun(work, config, {**summary, "extension": about}))
        if not _has_ended(work):
            place = find_device(device)
            _train(run, work, config, epochs, samples, place)
            # The head again, if any: what it has learnt was of the former reconstruction.
            if not finish(work, config, samples, trained_on, place):
                raise _interrupted(work)
        before = _metrics(run, tested, device)
        after = _metrics(work, [*tested, added], device)
        changes = [
            MetricChange(c.name, metric, float(was), float(now))
            for c in tested
            for metric in METRICS
            if (was := before[c.name][metric]) is not None
            and (now := after[c.name][metric]) is not None
        ]
        untested = tuple(c.name for c in old_classes if c not in tested)
        found = Extension(work, former, max_drop, tuple(changes), name, after.get(name), untested)
        if not found.is_accepted:
            return found
        _replace(run, work, former)
        TrainingPages(run).write_last(trained_on, held_out, device)
    return replace(found, run=run)


def _replace(run: Path, work: Path, former: Path) -> None:
    """Make the extended run the next generation of the former one, of which a copy is kept.

    The caller has both locks. A kill leaves the former run or the extended one, each whole, and
    what the same command takes or removes.
    """
    commit(run, {})  # so that one of a former version has a manifest
    with opened(run) as before:
        if not _is_copy(former, before):
            with folder_written_whole(former) as folder:
                commit(folder, _contents(before))
    remove_folder(run / FOLDS)  # of an interrupted calibration of the former weights
    try:
        with opened(work) as after:
            (run / PAGE).unlink(missing_ok=True)  # of the former run
            commit(run, _contents(after), removed=set(NAMES) - set(after.names()))
    except RunError:
        with opened(run) as before:
            if _is_copy(former, before):
                remove_folder(former)
        raise
    remove_folder(work)


def _contents(run: Snapshot) -> dict[str, Content]:
    return {name: [run.read(name)] for name in run.names()}


def _is_copy(folder: Path, run: Snapshot) -> bool:
    """Whether a folder holds the very files of a run."""
    if not has_begun(folder):
        return False
    with opened(folder) as other:
        return _digests(other) == _digests(run)


def _digests(run: Snapshot) -> dict[str, str]:
    return {name: run.digest(name) for name in run.names()}


def _remove_accepted(run: Path, work: Path) -> None:
    """Remove an extended run that has taken its place, which only a kill leaves."""
    if has_begun(run) and has_begun(work):
        with locked(run), locked(work), opened(run) as extended:
            if _is_copy(work, extended):
                remove_folder(work)


def _has_ended(folder: Path) -> bool:
    if not has_begun(folder):
        return False
    with opened(folder) as run:
        return is_finished(run)


def _check(
    snapshot: Snapshot, name: str, former: Path, epochs: int, replay: float, max_drop: float
) -> TrainConfig:
    """Check the arguments, and return the run's settings with the new product's name."""
    run, config = snapshot.source, read_config(snapshot)
    if not is_finished(snapshot):
        command = f"mambaad train DATA --out {shlex.quote(str(run))} --resume"
        raise RunError(f"{run}: training has not ended; finish it first: {command}")
    products = read_prototypes(snapshot).products
    if name in products:
        raise ConfigError(
            f"{run} has a product '{name}' already; rename the folder, or train a new run"
        )
    if not products:
        raise RunError(f"{run} has no list of its products, so nothing can be replayed")
    if not 1 <= epochs <= 10**6:
        raise ConfigError(f"--epochs: expected 1 to 1000000, got {epochs}")
    if not 0 < replay <= 1:
        raise ConfigError(f"--replay: expected a share above 0 and up to 1, got {replay}")
    if not 0 <= max_drop <= 1:
        raise ConfigError(f"--max-drop: expected 0 to 1, got {max_drop}")
    if former.exists() and not _is_copy(former, snapshot):
        raise RunError(f"{former} exists, where the present run would be moved; move it away")
    names = (*config.classes, name) if config.classes else None
    return config.model_copy(update={"classes": names})


def _read(
    snapshot: Snapshot, config: TrainConfig, new: Path, old: Path, skip_unreadable: bool
) -> tuple[list[ProductClass], ProductClass]:
    """Read the products that the run was trained on, and the new one, and check their images."""
    if not (new / "train" / "good").is_dir():
        raise DataError(
            f"{new} has no folder train/good; give the folder of one class in MVTec AD's layout"
        )
    names, skip = read_prototypes(snapshot).products, skip_unreadable
    classes = list_data(old, names, layout=config.layout, skip_unreadable=skip)
    classes = without(classes, old, config.exclude or ())
    place = new.resolve()
    classes += list_data(
        place.parent, [place.name], layout="mvtec", skip_unreadable=skip, below=place
    )
    classes = with_reading(classes, config.reading)
    check_masks(classes)
    classes = check_with_progress(classes, skip_unreadable=skip_unreadable)
    if fingerprint(part_digests(classes[:-1])) != read_data_summary(snapshot)["fingerprint"]:
        raise DataError(
            f"{old} does not hold the parts that {snapshot.source} was trained on (other contents, "
            "or another order); give those"
        )
    return classes[:-1], classes[-1]


def _tested(classes: Sequence[ProductClass], max_drop: float) -> list[ProductClass]:
    """Choose the old products whose test images can show forgetting."""
    tested = [c for c in classes if len({s.is_defective for s in c.test}) == 2]
    if not tested and max_drop < 1:
        raise DataError(
            "no old product has good and defective test images, so forgetting cannot be "
            "measured; add some, or give --max-drop 1 to replace the run regardless"
        )
    return tested


def _replayed(
    classes: Sequence[ProductClass], new: str, share: float, seed: int
) -> list[ProductClass]:
    """Draw a share of each old product's good parts, at least one, and all of the new one's."""
    chosen: list[ProductClass] = []
    for c in classes:
        drawn = shuffled(c.name, len(c.train), seed)
        count = len(drawn) if c.name == new else math.ceil(share * len(drawn))
        chosen.append(replace(c, train=tuple(c.train[i] for i in sorted(drawn[:count]))))
    return chosen


@contextmanager
def _begun(work: Path, config: TrainConfig, summary: Mapping[str, Any]) -> Iterator[None]:
    """Hold the lock of the extended run's folder, new or of the same extension."""
    with ExitStack() as stack:
        if has_begun(work):
            stack.enter_context(locked(work))
            with opened(work) as begun:
                found = read_data_summary(begun)
            if {**found, "classes": None} != {**summary, "classes": None}:
                raise RunError(
                    f"{work} was started with other images or settings, or from other weights; "
                    "give the same ones, or delete that folder"
                )
        else:
            try:
                stack.enter_context(new_folder(work))
                create_run(work, config, summary)
            except RunError as error:
                raise RunError(
                    f"{work} exists, or cannot be created; move it away: {error}"
                ) from error
        yield


def _train(
    run: Path,
    work: Path,
    config: TrainConfig,
    epochs: int,
    samples: tuple[Sample, ...],
    device: torch.device,
) -> None:
    """Continue from the run's weights, at a lower rate that falls to 0."""
    tuned = config.model_copy(
        # One device, whatever the run had: it is a short training.
        update={"epochs": epochs, "lr": LR_SHARE * config.lr, "schedule": "cosine", "devices": 1}
    )
    counts = Counter(s.class_name for s in samples)
    shown = ", ".join(f"{name} {count}" for name, count in counts.items())
    say(f"{len(samples)} training images, the old products' replayed: {shown}")
    torch.manual_seed(config.seed)
    fabric = make_fabric(tuned.devices, tuned.precision, device)
    with opened(run) as trained:
        model = load_model(trained)
    if not fit(fabric, tuned, model, samples, work):
        raise _interrupted(work)


def _interrupted(work: Path) -> Interrupted:
    return Interrupted(f"interrupted; run the same command again to resume in {work}")


def _metrics(run: Path, classes: Sequence[ProductClass], device: str) -> dict[str, MetricValues]:
    tested = [c for c in classes if c.test]
    if not tested:
        return {}
    return evaluate_engine(Inspector(run, device=device).engine, tested, "exact").classes
