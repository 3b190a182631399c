"""``mambaad calibrate``: thresholds from good parts that the model was not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mambaad.artifacts.fingerprint import known_parts
from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import CALIBRATION, WEIGHTS, has_begun
from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.run_folder import check_finished, read_config, read_data_summary
from mambaad.artifacts.snapshot import opened
from mambaad.config import TrainConfig
from mambaad.data.depth import with_reading
from mambaad.data.exclusion import without
from mambaad.data.parts import Parts, PartSequence, as_source
from mambaad.data.splits import hold_out
from mambaad.data.unread import list_data
from mambaad.errors import ConfigError, DataError
from mambaad.file_errors import cannot_read
from mambaad.files import locked, open_regular, remove_folder
from mambaad.inference.compute import Precision, check_device, check_precision
from mambaad.inference.engine import Engine, Observation
from mambaad.inspection.calibration import (
    Calibration,
    CalibrationPart,
    Method,
    calibrate_class,
    calibration_content,
    summarise_part,
)
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.product_settings import ProductSettings, read_product_settings
from mambaad.inspection.rates import check_rates
from mambaad.inspection.stream import Item, Region, observe_stream, readable
from mambaad.inspection.tiles import choose_tiling
from mambaad.progress import ProgressBar, say, warn
from mambaad.types import ProductClass, Sample
from mambaad.workflows.training_parts import training_classes

FOLDS = "cross_fit"
"""The folder of a run that holds the models of cross-fitting until calibration has ended."""


@dataclass(frozen=True)
class _Source:
    """Good parts, and the run that scores them; ``fold`` is that run's, if cross-fitting."""

    run: Path
    parts: Mapping[str, tuple[Sample, ...]]
    fold: tuple[int, int] | None = None


def calibrate(
    run: str | Path,
    data: str | Path | PartSequence,
    *,
    target_fpr: float = 0.01,
    review_fpr: float = 0.05,
    cross_fit: int | None = None,
    new_parts: bool = False,
    products: str | Path | None = None,
    precision: Precision = "float32",
    device: str = "auto",
    skip_unreadable: bool = False,
    max_pixels: int | None = None,
    tiles: str | tuple[int, int] | None = None,
) -> Calibration:
    """Set the thresholds of PASS, REVIEW and FAIL for each class, on good parts only.

    The good parts are those held out of training (``holdout``); with ``cross_fit``, all training
    parts, each scored by one of several further models that was not trained on it; with
    ``new_parts``, those of another data set.

    Args:
        run: the run folder, which gets ``calibration-*.safetensors``.
        data: the folder, or the parts, that it was trained on; or with ``new_parts`` others of the
            same classes.
        target_fpr: share of good parts that may FAIL, in (0, 1).
        review_fpr: share of good parts that may be anything but a PASS, at least ``target_fpr``.
        cross_fit: number of further models, 2 or more. Each takes about as long to train as the
            run did. After an interruption, call again with the same arguments to resume.
        new_parts: all good parts of ``data``, in train and test, are new to the model.
        products: a YAML file of settings, see
            :func:`mambaad.inspection.product_settings.read_product_settings`.
        precision: the precision that inspection will use.
        device: see :class:`mambaad.Inspector`. Thresholds in float32 hold on any device, those in
            bfloat16 on this type only.
        skip_unreadable: skip unreadable images instead of stopping.
        max_pixels: images with more are refused; by default as in training.
        tiles: in which large images are seen, by the calibrated model too (see
            :class:`mambaad.Inspector`); by default as in training.

    Raises:
        ConfigError, DataError, RunError: wrong arguments, parts or run; nothing is written.
        Interrupted: after Ctrl-C while a model of cross-fitting is trained.
    """
    run, source = Path(run), as_source(data)
    check_precision(precision)
    check_device(device)
    check_rates(target_fpr, review_fpr)
    with opened(run) as snapshot:
        config = read_config(snapshot)
        holdout = config.holdout
        if snapshot.export:
            raise ConfigError(
                f"{run} is an export, whose thresholds are its own; calibrate the run that it was "
                "made of, and export again"
            )
        check_finished(snapshot)
    tiling = choose_tiling(run, config.size, config.tiles, tiles)
    if cross_fit is not None and (new_parts or holdout):
        other = "--new-parts" if new_parts else "the run's own hold-out"
        raise ConfigError(f"--cross-fit and {other} exclude each other; omit --cross-fit")
    if cross_fit is not None and cross_fit < 2:
        raise ConfigError(f"--cross-fit: expected 2 models or more, got {cross_fit}")
    if not (holdout or cross_fit or new_parts):
        raise ConfigError(
            f"{run} was trained on all of its good parts, and thresholds need others: give "
            "--cross-fit 3, or new ones with --new-parts, or train with --holdout 0.2"
        )
    with locked(run):  # so that the thresholds are of the weights that stay
        calibration = _calibrate(
            run,
            source,
            (target_fpr, review_fpr),
            cross_fit,
            new_parts,
            products,
            precision,
            device,
            skip_unreadable,
            max_pixels,
            (tiling.size, tiling.stride) if tiling else None,
        )
        commit(run, {CALIBRATION: calibration_content(calibration)})
        remove_folder(run / FOLDS)  # this calibration's, or an interrupted one's
    return calibration


def calibrate_export(
    folder: Path, data: str | Path, before: Calibration | None, *, source: Path, new_parts: bool
) -> Calibration:
    """Set the thresholds of an export, whose values are not those of its model.

    Args:
        folder: of the export.
        data: the data set that the model was trained on, some of it held out; or with
            ``new_parts`` another one of the same classes.
        before: the model's calibration, whose rates and settings of products are used again.
        source: what it was made of, as errors name it.
        new_parts: all good parts of ``data`` are new to the model.

    Raises:
        ConfigError, DataError, RunError: see :func:`calibrate`.
    """
    rates, settings = (0.01, 0.05), None
    with opened(folder) as run:
        tiles = read_config(run).tiles
    if before:
        first = next(iter(before.classes.values()))
        rates = (first.fail.asked, first.review.asked)
        settings = {name: c.settings for name, c in before.classes.items()}
    found = _calibrate(
        *(folder, as_source(data), rates, None, new_parts, settings),
        # An export has its own precision; it inspects in the tiles that were calibrated.
        *("float32", "cpu", False, None, before.tiles if before else tiles),
        called=source,
    )
    with opened(folder) as run:
        export = run.export
    assert export is not None
    return replace(found, precision=export.precision, runtime=export.target)


def _calibrate(
    run: Path,
    data: Path | Parts,
    rates: tuple[float, float],
    cross_fit: int | None,
    new_parts: bool,
    products: str | Path | Mapping[str, ProductSettings] | None,
    precision: Precision,
    device: str,
    skip_unreadable: bool,
    max_pixels: int | None,
    tiles: tuple[int, int] | None,
    *,
    called: Path | None = None,
) -> Calibration:
    """:func:`calibrate`, while nothing else writes into the run; ``called``: by errors."""
    called = called or run
    with opened(run) as snapshot:
        config, summary = read_config(snapshot), read_data_summary(snapshot)
        names, weights = read_prototypes(snapshot).products, snapshot.digest(WEIGHTS)
    reading = config.reading
    if max_pixels is not None:
        reading = replace(reading, max_pixels=max_pixels)
    most = reading.max_pixels
    given: Mapping[str, ProductSettings] = {}
    if isinstance(products, Mapping):
        given = products
    elif products:
        given = read_product_settings(Path(products), names, config.size, most)
    settings = {name: given.get(name, ProductSettings()) for name in names}
    if isinstance(data, Parts):
        classes = data.classes(names, reading=reading, skip_unreadable=skip_unreadable)
    else:
        classes = list_data(data, names, layout=config.layout, skip_unreadable=skip_unreadable)
        classes = with_reading(classes, reading)
        if not new_parts:
            classes = without(classes, data, config.exclude or ())
        if skip_unreadable:
            classes = [_openable(c) for c in classes]
    method: Method = "new parts" if new_parts else "cross-fit" if cross_fit else "hold-out"
    if new_parts:
        sources = [_Source(run, {c.name: _good_samples((*c.train, *c.test)) for c in classes})]
        _check_new(called, summary, data, sources[0])
    else:
        classes = training_classes(called, summary, data, classes, skip_unreadable)
        # All folds before the first training, so that an error in any of them comes at once.
        folds = [(k, cross_fit) for k in range(1, cross_fit + 1)] if cross_fit else [None]
        sources = [_held_out_source(run, config, classes, fold) for fold in folds]
    for name in names:
        if not any(source.parts[name] for source in sources):
            raise DataError(
                f"{data} has no good parts of {name} to calibrate on; give some with --new-parts"
            )
    for source in sources:
        if source.fold:
            _train_fold(config, data, source.run, source.fold, device, skip_unreadable)
    parts, used = _observe(sources, settings, precision, device, skip_unreadable, tiles)
    for name in names:
        if not parts[name]:
            raise DataError(f"none of the good parts of {name} can be read; repair or replace them")
    return Calibration(
        {
            name: calibrate_class(
                parts[name],
                index,
                [part for other in names if other != name for part in parts[other]],
                settings[name],
                fail_fpr=rates[0],
                review_fpr=rates[1],
            )
            for index, name in enumerate(names)
        },
        method,
        cross_fit or 0,
        precision,
        weights,
        used,
        tiles=tiles,
    )


def _good_samples(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    # Even training images may be defective in some data sets (Real-IAD).
    return tuple(sample for sample in samples if not sample.is_defective)


def _openable(c: ProductClass) -> ProductClass:
    """The class without the files that cannot even be opened, which are reported."""

    def can_open(sample: Sample) -> bool:
        try:
            open_regular(sample.path).close()
        except OSError as error:
            warn(f"left out: {cannot_read(sample.path, error)}")
            return False
        return True

    return replace(c, train=tuple(filter(can_open, c.train)), test=tuple(filter(can_open, c.test)))


def _held_out_source(
    run: Path,
    config: TrainConfig,
    classes: Sequence[ProductClass],
    fold: tuple[int, int] | None,
) -> _Source:
    """Pair the run, or the run of one of its folds, with the good parts that it holds out."""
    _, held_out = hold_out(classes, share=config.holdout, fold=fold, seed=config.seed)
    folder = run / FOLDS / f"{fold[0]}_of_{fold[1]}" if fold else run
    return _Source(folder, {c.name: _good_samples(c.train) for c in held_out}, fold)


def _check_new(run: Path, summary: Mapping[str, Any], data: Path | Parts, source: _Source) -> None:
    samples = [sample for parts in source.parts.values() for sample in parts]
    known = known_parts(summary, samples)
    if known:
        raise DataError(
            f"{data} holds {len(known)} of the parts that {run} was trained on, such as "
            f"{known[0]}; remove them, or omit --new-parts"
        )


def _train_fold(
    config: TrainConfig,
    data: Path | Parts,
    folder: Path,
    fold: tuple[int, int],
    device: str,
    skip_unreadable: bool,
) -> None:
    """Train a model without one of K folds of the good parts, for as many steps as the run."""
    from mambaad.workflows.train import train_run  # PyTorch takes seconds to load

    epochs = round(config.epochs * fold[1] / (fold[1] - 1))
    config = config.model_copy(update={"fold": fold, "logger": "none", "epochs": epochs})
    say(f"cross-fitting: model {fold[0]} of {fold[1]}")
    train_run(
        data,
        folder,
        config,
        resume=has_begun(folder),
        skip_unreadable=skip_unreadable,
        device=device,
    )


def _observe(
    sources: Sequence[_Source],
    settings: Mapping[str, ProductSettings],
    precision: Precision,
    device: str,
    skip_unreadable: bool,
    tiles: tuple[int, int] | None,
) -> tuple[dict[str, list[CalibrationPart]], str]:
    """Observe the good parts, each with its source's model: summaries by class, and the device."""
    counts = {name: sum(len(source.parts[name]) for source in sources) for name in settings}
    summaries: dict[str, list[CalibrationPart]] = {name: [] for name in settings}
    done, used = 0, ""

    def load(run: Path) -> Engine:
        tiled = tiles or "off"
        return Inspector(run, precision, device=device, tiles=tiled).engine

    def region_of(item: Item, whole: Observation) -> Region | None:
        assert item.sample is not None
        return settings[item.sample.class_name].inspected

    with ProgressBar("calibrating") as bar:
        for source in sources:
            engine = load(source.run)
            samples = [sample for parts in source.parts.values() for sample in parts]
            classes = [ProductClass(name, parts) for name, parts in source.parts.items()]
            items = map(Item.of, samples)
            stream = observe_stream(
                engine, items, batch_size=engine.batch_size, region_of=region_of
            )
            for image in readable(stream, classes, skip_unreadable):
                observation, quality = image.result
                assert image.item.sample is not None
                name = image.item.sample.class_name
                summaries[name].append(
                    summarise_part(observation, quality, settings[name], counts[name])
                )
                done += 1
                bar.update(done, sum(counts.values()), name)
            used = engine.device
    return summaries, used
