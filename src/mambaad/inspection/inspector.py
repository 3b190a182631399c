"""Inspect images with a trained model: load once, inspect many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mambaad.artifacts.manifest import WEIGHTS
from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.run_folder import read_config, read_data_summary
from mambaad.artifacts.snapshot import opened
from mambaad.errors import ConfigError
from mambaad.inference.compute import (
    Compilation,
    Precision,
    check_compilation,
    check_device,
    check_precision,
)
from mambaad.inspection.calibration import Calibration, read_calibration
from mambaad.inspection.decision import decide
from mambaad.inspection.records import Record, record_of
from mambaad.inspection.stream import Item, Observed, Pixels, observe_one, observe_stream
from mambaad.progress import warn
from mambaad.types import Prediction

Image = str | Path | Pixels


class Inspected(NamedTuple):
    """One image of the stream: its record, and what sinks may need beside it.

    ``prediction``: None if the image could not be observed; ``record.error`` says why.
    ``observed``: see :class:`mambaad.inspection.stream.Observed`.
    """

    record: Record
    prediction: Prediction | None
    observed: Observed

    def failed(self, problem: Exception) -> Inspected:
        """Record an error, for an image whose results could not be written."""
        record = record_of(
            self.record.path,
            None,
            model=self.record.model,
            time=self.record.time,
            error=str(problem),
        )
        return self._replace(record=record)


class Inspector:
    """A trained model, ready to inspect images.

    Args:
        source: the run folder that training wrote, or a bundle (``.mambaad``) made from it.
        precision: ``"float32"``, or ``"bfloat16"`` for matrix products and convolutions: faster
            where the processor has it, to about three digits; on a GPU by autocast.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``"auto"`` is the first NVIDIA or
            AMD GPU that works, else the CPU.
        compile: ``"default"`` or ``"cuda-graphs"`` compile the network with torch.compile, see
            :mod:`mambaad.inference.compiled`; on a CPU that replaces the packed form. ``"auto"``
            is ``"cuda-graphs"`` on a GPU, else ``"off"``.
        keep_trained: also keep a copy of the model as trained, which explanations need.
        max_pixels: images with more are refused; by default as in training.
        require_signature: the file of a public key; refuse what is not a bundle that was signed
            with its private key (``mambaad bundle --sign``).

    Attributes:
        source, precision: as given.
        engine: runs the model (:class:`mambaad.inference.engine.Engine`).
        config: the settings that it was trained with.
        products: the classes that the model was trained on; empty if not known.
        reading: how the pixels of files are read, as in training.
        size: height and width of the resized images and of the anomaly maps, in pixels.
        heatmap_range: the map's values at both ends of the heatmaps of classes without a
            calibration.
        calibration: the per-class thresholds; None without one, or with one that does not apply.
        weights: the SHA-256 of the weights that were loaded, which identifies the model.
        is_finished: whether training has ended; until then the heatmap range is provisional and
            predictions name no product.

    Raises:
        ConfigError: an unknown precision or way to compile, a device that is not available, or no
            public key.
        RunError: not a run or bundle, a damaged one, or one whose first epoch has not ended.
    """

    def __init__(
        self,
        source: str | Path,
        precision: Precision = "float32",
        *,
        device: str = "auto",
        compile: Compilation = "auto",
        keep_trained: bool = False,
        max_pixels: int | None = None,
        require_signature: str | Path | None = None,
    ) -> None:
        check_precision(precision)
        check_device(device)
        check_compilation(compile)
        self.source = source
        self.precision = precision
        with opened(source, require_signature) as run:  # all of one generation
            self.config = read_config(run)
            self.reading = self.config.reading
            if max_pixels is not None:
                self.reading = replace(self.reading, max_pixels=max_pixels)
            from mambaad.inference.torch_engine import load_engine  # PyTorch takes seconds to load

            self.engine = load_engine(
                run, precision, device=device, compile=compile, keep_trained=keep_trained
            )
            self.size = self.config.size
            prototypes = read_prototypes(run)
            self.products = prototypes.products or tuple(read_data_summary(run)["classes"])
            self.weights = run.digest(WEIGHTS)
            calibration = read_calibration(run, self.size)
        self.heatmap_range = prototypes.heatmap_range
        self.is_finished = not self.products or bool(prototypes.products)
        problem = calibration and _mismatch(
            calibration, self.weights, precision, self.engine.device, self.config.head
        )
        if problem:
            warn(f"{source}: {problem}")
        self.calibration = None if problem else calibration

    def inspect(self, image: Image, product: str | None = None) -> Prediction:
        """Score one image, and decide on a verdict if its class is calibrated.

        Args:
            image: a file, or 8-bit RGB pixels, h x w x 3, of any size.
            product: its class, if known. Without it the prediction names the class with the
                nearest prototype, or says that none is near enough.

        Raises:
            DataError: a file that is not an image.
            ConfigError: pixels of another shape or type, or a product the model does not know.
            RunError: the model's values are not finite.
        """
        self.check_product(product)
        item = self.item(image, product)
        return _prediction(self.judge(observe_one(self.engine, item), product))

    def inspect_many(
        self, images: Iterable[Image], product: str | None = None
    ) -> Iterator[Prediction]:
        """Inspect images one after another; files are read ahead.

        Pixels are copied at once, so that a camera may reuse its buffer, and their prediction is
        yielded before the next image is requested, so that a camera may wait for it.

        Yields:
            The predictions in the order of the images, each the same as that of :meth:`inspect`,
            which documents the arguments and errors.
        """
        self.check_product(product)
        items = (
            self.item(image.copy() if isinstance(image, np.ndarray) else image, product)
            for image in images
        )
        yield from map(_prediction, self.stream(items))

    def item(self, image: Image, product: str | None = None) -> Item:
        """Make an item of an image, whose file is read as the training images were."""
        return Item(
            image if isinstance(image, np.ndarray) else Path(image), product, reading=self.reading
        )

    def stream(self, items: Iterable[Item], *, batch_size: int = 1) -> Iterator[Inspected]:
        """Inspect images in their order; see :func:`mambaad.inspection.stream.observe_stream`."""
        for observed in observe_stream(self.engine, items, batch_size=batch_size):
            yield self.judge(observed, observed.item.product)

    def judge(self, observed: Observed, product: str | None) -> Inspected:
        """Decide on an observed image by the calibration of its class; see :func:`decide`.

        Args:
            observed: an image that this inspector's engine observed.
            product: its class, if the decision may know it.
        """
        item = observed.item
        prediction = None
        if observed.error is None:
            observation, quality = observed.result
            prediction = decide(observation, quality, self.products, self.calibration, product)
        record = record_of(
            "" if isinstance(item.image, np.ndarray) else item.image,
            prediction,
            product_given=product is not None,
            model=self.weights,
            time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            defect_type=item.sample.defect_type if item.sample else None,
            error=str(observed.error) if observed.error else None,
        )
        return Inspected(record, prediction, observed)

    def range_of(self, prediction: Prediction) -> tuple[float, float]:
        """The heatmap range of an image: that of its class, or the run's if it has none."""
        return prediction.heatmap_range or self.heatmap_range

    def check_product(self, product: str | None) -> None:
        """Refuse a class name that the model was not trained on (ConfigError)."""
        if product is not None and self.products and product not in self.products:
            raise ConfigError(
                f"--class: the model was not trained on '{product}'; choose from "
                f"{', '.join(self.products)}"
            )


def _prediction(inspected: Inspected) -> Prediction:
    """The prediction of an image; or its error, raised."""
    if inspected.observed.error:
        raise inspected.observed.error
    assert inspected.prediction is not None  # without an error there is one
    return inspected.prediction


def _mismatch(
    calibration: Calibration, weights: str, precision: Precision, device: str, head: str
) -> str | None:
    """The reason why a calibration does not apply to this model; None if it does."""
    if calibration.weights != weights:
        return "trained further after calibration, so there are no verdicts; calibrate again"
    if calibration.format == 1 and head != "off":
        return (
            "calibrated when the residual head still counted in the score, so there are no "
            "verdicts; calibrate again"
        )
    if calibration.precision != precision:
        return (
            f"calibrated with --precision {calibration.precision}, so there are no verdicts "
            f"with {precision}; use {calibration.precision}, or calibrate again"
        )
    if precision != "float32" and device != calibration.device:
        return (
            f"calibrated with bfloat16 on '{calibration.device}', whose rounding is not that of "
            f"'{device}', so there are no verdicts; use --device {calibration.device}, or "
            "calibrate with float32"
        )
    return None
