"""Calibration of a run on good parts that it was not trained on."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mambaad.artifacts.run_folder import (
    CONFIG,
    GOOD_PARTS,
    fingerprint,
    known_parts,
    part_digests,
    read_config,
    read_data_summary,
    read_good_parts,
    weights_digest,
)
from mambaad.data.checks import check_images
from mambaad.data.images import read_image
from mambaad.data.layouts import read_data
from mambaad.data.read_ahead import read_ahead
from mambaad.data.splits import keep_out
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.inference.packed.pack import Precision, check_precision
from mambaad.inspection.calibration import (
    Calibration,
    ClassCalibration,
    GoodPart,
    Method,
    calibrate_class,
    good_part,
    save_calibration,
)
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.product_settings import ProductSettings, read_product_settings
from mambaad.progress import ProgressBar, say
from mambaad.types import ProductClass, Sample
from mambaad.workflows.train import train

FOLDS = "cross_fit"
"""Where a run keeps the models of cross-fitting until they have done their work."""


@dataclass(frozen=True)
class _Source:
    """Good parts, and the run that was not trained on them, of which it may be a ``fold``."""

    run: Path
    parts: Mapping[str, tuple[Sample, ...]]
    fold: tuple[int, int] | None = None


def calibrate(
    run: str | Path,
    data: str | Path,
    *,
    target_fpr: float = 0.01,
    review_fpr: float = 0.05,
    cross_fit: int | None = None,
    new_parts: bool = False,
    products: str | Path | None = None,
    precision: Precision = "float32",
    skip_unreadable: bool = False,
) -> Calibration:
    """Set the thresholds of PASS, REVIEW and FAIL for each class, on good parts only.

    The good parts are those that training kept out (``holdout``); with ``cross_fit``, all that
    it was trained on, each scored by one of as many further models that have not seen it; with
    ``new_parts``, those of another data set.

    Args:
        run: the folder that training made; gets ``calibration.safetensors``.
        data: the folder it was trained on, or with ``new_parts`` another with the same classes.
        target_fpr: share of good parts that may FAIL.
        review_fpr: share of good parts that may be anything but a PASS.
        cross_fit: number of further models, 2 or more. Each takes about as long to train as the
            run did. Interrupted, a second call goes on.
        new_parts: all good parts of ``data``, in train and test, are new to the model.
        products: a YAML file of settings, see
            :func:`mambaad.inspection.product_settings.read_product_settings`.
        precision: that images will be inspected with.
        skip_unreadable: leave unreadable images out instead of stopping.

    Raises:
        ConfigError, DataError, RunError: nothing is written then.
        Interrupted: after Ctrl-C while a model of cross-fitting is trained.
    """
    run, data = Path(run), Path(data)
    check_precision(precision)
    _check_rates(target_fpr, review_fpr)
    config = read_config(run)
    if not (run / GOOD_PARTS).is_file():
        raise RunError(f"{run}: training has not ended; finish it (mambaad train --resume) first")
    if cross_fit is not None and (new_parts or config.holdout):
        other = "--new-parts" if new_parts else "the run's own hold-out"
        raise ConfigError(f"--cross-fit and {other} exclude each other; leave --cross-fit out")
    if cross_fit is not None and cross_fit < 2:
        raise ConfigError(f"--cross-fit: expected 2 models or more, got {cross_fit}")
    if not (config.holdout or cross_fit or new_parts):
        raise ConfigError(
            f"{run} was trained on all of its good parts, and thresholds need others: give "
            "--cross-fit 3, or new ones with --new-parts, or train with --holdout 0.2"
        )
    names = read_good_parts(run).products
    given = read_product_settings(Path(products), names, config.size) if products else {}
    settings = {name: given.get(name, ProductSettings()) for name in names}
    with ProgressBar("reading images") as bar:
        classes, skipped = check_images(
            read_data(data, names, layout=config.layout),
            skip_unreadable=skip_unreadable,
            progress=bar.update,
        )
    for problem in skipped:
        say(f"left out: {problem}")
    method: Method = "new parts" if new_parts else "cross-fit" if cross_fit else "hold-out"
    if new_parts:
        sources = [_Source(run, {c.name: _good((*c.train, *c.test)) for c in classes})]
        _check_new(run, data, sources[0])
    else:
        _check_known(run, data, classes)
        # All folds, before the first is trained on: what is wrong with them is to be said at once.
        folds = [(k, cross_fit) for k in range(1, cross_fit + 1)] if cross_fit else [None]
        sources = [_kept_out(run, classes, fold) for fold in folds]
    for name in names:
        if not any(source.parts[name] for source in sources):
            raise DataError(
                f"{data} has no good parts of {name} to calibrate on; give some with --new-parts"
            )
    for source in sources:
        if source.fold:
            _train_fold(run, data, source.run, source.fold, skip_unreadable)
    parts = _look(sources, settings, precision)
    calibration = Calibration(
        {
            name: calibrate_class(
                parts[name],
                index,
                [part for other in names if other != name for part in parts[other]],
                settings[name],
                fail_fpr=target_fpr,
                review_fpr=review_fpr,
            )
            for index, name in enumerate(names)
        },
        method,
        cross_fit or 0,
        precision,
        weights_digest(run),
    )
    save_calibration(run, calibration)
    if cross_fit:
        shutil.rmtree(run / FOLDS, ignore_errors=True)
    return calibration


def _good(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Training images too may be defective, where a data set is made so (Real-IAD)."""
    return tuple(sample for sample in samples if not sample.is_defective)


def _kept_out(run: Path, classes: Sequence[ProductClass], fold: tuple[int, int] | None) -> _Source:
    """What the run's training kept out, or will keep out of that of one of its folds."""
    config = read_config(run)
    _, out = keep_out(classes, share=config.holdout, fold=fold, seed=config.seed)
    place = run / FOLDS / f"{fold[0]}_of_{fold[1]}" if fold else run
    return _Source(place, {c.name: _good(c.train) for c in out}, fold)


def _check_known(run: Path, data: Path, classes: Sequence[ProductClass]) -> None:
    if fingerprint(part_digests(classes)) != read_data_summary(run)["fingerprint"]:
        raise DataError(
            f"{data} does not hold the parts that {run} was trained on (other contents, or "
            "another order); give those, or --new-parts if it has seen none of these"
        )


def _check_new(run: Path, data: Path, source: _Source) -> None:
    paths = [sample.path for parts in source.parts.values() for sample in parts]
    known = known_parts(read_data_summary(run), paths)
    if known:
        raise DataError(
            f"{data} holds {len(known)} of the very parts that {run} was trained on, such as "
            f"{known[0]}; take them out, or leave --new-parts out"
        )


def _check_rates(target_fpr: float, review_fpr: float) -> None:
    for flag, rate in (("--target-fpr", target_fpr), ("--review-fpr", review_fpr)):
        if not 0 < rate < 1:
            raise ConfigError(f"{flag}: expected a share above 0 and below 1, got {rate}")
    if review_fpr < target_fpr:
        raise ConfigError(
            f"--review-fpr {review_fpr} is below --target-fpr {target_fpr}, but every FAIL counts "
            "as not passed; give a larger one"
        )


def _train_fold(
    run: Path, data: Path, place: Path, fold: tuple[int, int], skip_unreadable: bool
) -> None:
    """Train a model without one of K parts of the good parts, for as many steps as the run."""
    config = read_config(run)
    epochs = round(config.epochs * fold[1] / (fold[1] - 1))
    config = config.model_copy(update={"fold": fold, "logger": "none", "epochs": epochs})
    say(f"cross-fitting: model {fold[0]} of {fold[1]}")
    train(
        data,
        place,
        resume=(place / CONFIG).is_file(),
        skip_unreadable=skip_unreadable,
        **config.model_dump(),
    )


def _look(
    sources: Sequence[_Source], settings: Mapping[str, ProductSettings], precision: Precision
) -> dict[str, list[GoodPart]]:
    """What each source's model sees in its good parts, by class."""
    counts = {name: sum(len(source.parts[name]) for source in sources) for name in settings}
    looks: dict[str, list[GoodPart]] = {name: [] for name in settings}
    done = 0
    with ProgressBar("calibrating") as bar:
        for source in sources:
            inspector = Inspector(source.run, precision)
            for name, parts in source.parts.items():
                for pixels in read_ahead(read_image, [sample.path for sample in parts]):
                    look = inspector.look(pixels)
                    looks[name].append(good_part(look, settings[name], counts[name]))
                    done += 1
                    bar.update(done, sum(counts.values()), name)
    return looks


def calibration_rows(calibration: Calibration) -> list[list[str]]:
    """A heading, and a row for each class: its good parts, and both thresholds with their rates."""
    rows = [
        ["class", "good parts", "REVIEW above", "rate", "95 %", "FAIL above", "rate", "95 %", ""]
    ]
    for name, c in calibration.classes.items():
        row = [name, str(len(c.scores))]
        for threshold in (c.review, c.fail):
            low, high = threshold.interval
            row += [f"{threshold.value:.4f}", f"{threshold.rate:.1%}", f"{low:.1%}-{high:.1%}"]
        rows.append([*row, _shortfall(c)])
    return rows


def _shortfall(c: ClassCalibration) -> str:
    short = [t for t in (c.review, c.fail) if not t.is_reached]
    if not short:
        return ""
    needed = math.ceil(1 / short[-1].asked - 1e-9) - 1  # rounding must not ask for one more
    return f"{short[-1].asked:.1%} needs {needed} good parts"
