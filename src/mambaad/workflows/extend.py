"""A further product for a trained model, without forgetting the others: training with replay."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mambaad.artifacts.run_folder import (
    CHECKPOINT,
    CONFIG,
    GOOD_PARTS,
    create_run,
    fingerprint,
    load_model,
    part_digests,
    read_config,
    read_data_summary,
    read_good_parts,
    save_good_parts,
    summarise_data,
    weights_digest,
)
from mambaad.config import TrainConfig
from mambaad.data.checks import check_images
from mambaad.data.layouts import read_data
from mambaad.data.splits import keep_out
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.files import TEMPORARY
from mambaad.inspection.inspector import Inspector
from mambaad.metrics import METRICS, MetricValues
from mambaad.models.prototypes import look_at_good_parts
from mambaad.progress import ProgressBar, say
from mambaad.training.loop import fit, make_fabric
from mambaad.types import ProductClass, Sample
from mambaad.workflows.evaluate import HEADINGS, evaluate_scorer
from mambaad.workflows.train import Interrupted

EPOCHS = 3
LR_SHARE = 0.5
"""Of the learning rate of the run: it has its weights already, and they should stay about there."""


@dataclass(frozen=True)
class Change:
    """A metric of one of the old products, before and after, each in [0, 1]."""

    product: str
    metric: str
    before: float
    after: float

    @property
    def drop(self) -> float:
        """By how much it fell; negative where it rose."""
        return self.before - self.after


@dataclass(frozen=True)
class Extension:
    """What came of adding a product.

    ``run``: the folder of the extended model; in place of the old one if ``is_accepted``.
    ``former``: where the old run is then. ``changes``: of the old products that have test images.
    ``product``: the new one, with its ``metrics``, if it has test images. ``untested``: the old
    products of which nothing is known, for want of good and defective test images.
    """

    run: Path
    former: Path
    max_drop: float
    changes: tuple[Change, ...]
    product: str
    metrics: MetricValues | None
    untested: tuple[str, ...]

    @property
    def too_large(self) -> tuple[Change, ...]:
        """The changes that speak against it."""
        return tuple(c for c in self.changes if not c.drop <= self.max_drop)

    @property
    def is_accepted(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.too_large

    def to_rows(self) -> list[list[str]]:
        """A heading, and a row for each product, in per cent; of the old ones before > after."""
        rows = [["class", *(HEADINGS[m] for m in METRICS)]]
        for product in dict.fromkeys(c.product for c in self.changes):
            found = {c.metric: c for c in self.changes if c.product == product}
            rows.append([product, *(_cell(found.get(m)) for m in METRICS)])
        if self.metrics:
            shown = (self.metrics[m] for m in METRICS)
            rows.append([self.product, *("-" if v is None else f"{100 * v:.1f}" for v in shown)])
        return rows


def _cell(change: Change | None) -> str:
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
) -> Extension:
    """Teach a trained model a further product, and take it only if it forgets nothing.

    It goes on from the run's weights, on the new product's good parts and, replayed, the old ones';
    the encoder's maps of all of them are stored in the first epoch and are what later ones see.
    Then the old products' test images are evaluated with both models.

    Args:
        run: the folder that training made. It is replaced only if no metric of an old product
            falls by more than ``max_drop``; the old run is kept beside it.
        new: the folder of one class, MVTec AD layout; its name is the product's.
        old: the data set that the run was trained on.
        epochs: over the new parts and those replayed.
        replay: share of each old product's good parts that is shown again, above 0 up to 1.
        max_drop: of any of the seven metrics, each in [0, 1]. With 1 nothing is refused, and the
            old products need no test images.
        skip_unreadable: leave unreadable images out instead of stopping.

    Returns:
        What was measured, and where the extended run is: ``RUN.extended-PRODUCT`` if refused. A
        second call with the same settings goes on with an interrupted one.

    Raises:
        ConfigError, DataError, RunError: before any training; the run is as it was.
        Interrupted: after Ctrl-C.
    """
    run, new, old = Path(run), Path(new), Path(old)
    run = run if run.name else run.resolve()
    name = new.resolve().name
    work, former = (run.with_name(f"{run.name}.{what}-{name}") for what in ("extended", "before"))
    _finish_replacing(run, work, former)
    config = _check(run, name, former, epochs, replay, max_drop)
    old_classes, added = _read(run, config, new, old, skip_unreadable)
    tested = _tested(old_classes, max_drop)
    classes = sorted([*old_classes, added], key=lambda c: c.name)
    left, out = keep_out(classes, share=config.holdout, seed=config.seed)
    samples = _replayed(left, name, replay, config.seed)
    about = {"from": weights_digest(run), "product": name, "epochs": epochs, "replay": replay}
    _prepare_folder(work, config, {**summarise_data(classes, out), "extension": about})
    if not (work / GOOD_PARTS).is_file():
        device = _train(run, work, config, epochs, samples)
        good_parts = look_at_good_parts(load_model(work).to(device), left, config.size)
        save_good_parts(work, good_parts)
        (work / CHECKPOINT).unlink(missing_ok=True)
    before, after = _metrics(run, tested), _metrics(work, [*tested, added])
    changes = [
        Change(c.name, metric, float(was), float(now))
        for c in tested
        for metric in METRICS
        if (was := before[c.name][metric]) is not None
        and (now := after[c.name][metric]) is not None
    ]
    untested = tuple(c.name for c in old_classes if c not in tested)
    found = Extension(work, former, max_drop, tuple(changes), name, after.get(name), untested)
    if not found.is_accepted:
        return found
    try:
        run.rename(former)
        work.rename(run)
    except OSError as error:
        _finish_replacing(run, work, former)
        raise RunError(
            f"{run} stays as it is: {work} cannot be put in its place ({error.strerror}); make "
            "room, and type the same again"
        ) from error
    return replace(found, run=run)


def _finish_replacing(run: Path, work: Path, former: Path) -> None:
    """After a kill between the two renames: back to before the first."""
    if not run.exists() and former.is_dir() and (work / GOOD_PARTS).is_file():
        former.rename(run)


def _check(
    run: Path, name: str, former: Path, epochs: int, share: float, max_drop: float
) -> TrainConfig:
    """The run's settings, with the new product's name; or what is wrong with the arguments."""
    config = read_config(run)
    if not (run / GOOD_PARTS).is_file():
        raise RunError(f"{run}: training has not ended; finish it (mambaad train --resume) first")
    products = read_good_parts(run).products
    if name in products:
        raise ConfigError(
            f"{run} knows a product '{name}' already; rename the folder, or train anew"
        )
    if not products:
        raise RunError(f"{run} does not know what it was trained on, so nothing can be replayed")
    if epochs < 1:
        raise ConfigError(f"--epochs: expected 1 or more, got {epochs}")
    if not 0 < share <= 1:
        raise ConfigError(f"--replay: expected a share above 0 and up to 1, got {share}")
    if not 0 <= max_drop <= 1:
        raise ConfigError(f"--max-drop: expected 0 to 1, got {max_drop}")
    if former.exists():
        raise RunError(f"{former} is in the way: the run as it is now goes there; move it")
    names = (*config.classes, name) if config.classes else None
    return config.model_copy(update={"classes": names})


def _read(
    run: Path, config: TrainConfig, new: Path, old: Path, skip_unreadable: bool
) -> tuple[list[ProductClass], ProductClass]:
    """The products that the run was trained on, and the new one, their images checked."""
    if not (new / "train" / "good").is_dir():
        raise DataError(f"{new} has no folder train/good; give the folder of one class, as MVTec's")
    classes = read_data(old, read_good_parts(run).products, layout=config.layout)
    classes += read_data(new.resolve().parent, [new.resolve().name], layout="mvtec")
    with ProgressBar("reading images") as bar:
        classes, skipped = check_images(
            classes, skip_unreadable=skip_unreadable, progress=bar.update
        )
    for problem in skipped:
        say(f"left out: {problem}")
    if fingerprint(part_digests(classes[:-1])) != read_data_summary(run)["fingerprint"]:
        raise DataError(
            f"{old} does not hold the parts that {run} was trained on (other contents, or another "
            "order); give those"
        )
    return classes[:-1], classes[-1]


def _tested(classes: Sequence[ProductClass], max_drop: float) -> list[ProductClass]:
    """The old products on which forgetting can be seen."""
    tested = [c for c in classes if len({s.is_defective for s in c.test}) == 2]
    if not tested and max_drop < 1:
        raise DataError(
            "no old product has good and defective test images, so what is forgotten would not "
            "show; add some, or give --max-drop 1 to replace the run all the same"
        )
    return tested


def _replayed(
    classes: Sequence[ProductClass], new: str, share: float, seed: int
) -> tuple[Sample, ...]:
    """All good parts of the new product, and a share of each old one's, at least one."""
    chosen: list[Sample] = []
    for c in classes:
        drawn = np.random.default_rng([seed, zlib.crc32(c.name.encode())]).permutation(len(c.train))
        count = len(drawn) if c.name == new else math.ceil(share * len(drawn))
        chosen += [c.train[i] for i in sorted(drawn[:count])]
    return tuple(chosen)


def _prepare_folder(work: Path, config: TrainConfig, summary: Mapping[str, Any]) -> None:
    """Make the folder of the extended run, or see that it was made for the same."""
    if not (work / CONFIG).is_file():
        try:
            create_run(work, config, summary)
        except RunError as error:
            raise RunError(f"{work} is in the way, or cannot be made; move it: {error}") from error
    elif {**read_data_summary(work), "classes": None} != {**summary, "classes": None}:
        raise RunError(
            f"{work} was begun with other parts or settings, or from other weights; give the same, "
            "or remove it"
        )
    for leftover in work.glob(f"*{TEMPORARY}"):
        leftover.unlink()


def _train(
    run: Path, work: Path, config: TrainConfig, epochs: int, samples: tuple[Sample, ...]
) -> torch.device:
    """Go on from the run's weights, at a lower rate that falls to 0; says where it computed."""
    tuned = config.model_copy(
        # One device, whatever the run had: it is a short training.
        update={"epochs": epochs, "lr": LR_SHARE * config.lr, "schedule": "cosine", "devices": 1}
    )
    counts = Counter(s.class_name for s in samples)
    shown = ", ".join(f"{name} {count}" for name, count in counts.items())
    say(f"{len(samples)} good parts, the old products' replayed: {shown}")
    torch.manual_seed(config.seed)
    fabric = make_fabric(tuned)
    if not fit(fabric, tuned, load_model(run), samples, work):
        raise Interrupted(f"interrupted; the same command goes on in {work}")
    return fabric.device


def _metrics(run: Path, classes: Sequence[ProductClass]) -> dict[str, MetricValues]:
    tested = [c for c in classes if c.test]
    return evaluate_scorer(Inspector(run), tested, "exact").classes if tested else {}
