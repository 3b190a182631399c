"""Inspect images with a trained model: load once, inspect many."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from PIL.Image import Image as PillowImage

from mambaad.artifacts.manifest import WEIGHTS
from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.run_folder import read_config, read_data_summary
from mambaad.artifacts.snapshot import opened
from mambaad.data.given import Color, Tensor, check_color, check_float_range, given_pixels
from mambaad.errors import ConfigError
from mambaad.inference.compute import (
    Compilation,
    Precision,
    check_compilation,
    check_device,
    check_precision,
)
from mambaad.inference.engine import Engine, Observation
from mambaad.inspection.calibration import read_calibration
from mambaad.inspection.decision import decide, nearest_product
from mambaad.inspection.loading import Running, load_engine, mismatch
from mambaad.inspection.prediction import Origin, Prediction
from mambaad.inspection.records import Record, record_of
from mambaad.inspection.stream import (
    Item,
    Observed,
    Pixels,
    Region,
    observe_one,
    observe_stream,
)
from mambaad.inspection.tiles import TiledEngine, choose_tiling
from mambaad.progress import warn
from mambaad.types import Reading

Image = str | os.PathLike[str] | bytes | bytearray | memoryview | PillowImage | np.ndarray | Tensor
"""An image as a program has it; see :meth:`Inspector.inspect`."""
BitDepth = Literal[8, 10, 12, 14, 16]
BIT_DEPTHS: tuple[BitDepth, ...] = (8, 10, 12, 14, 16)


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
        source: the run folder that training wrote, or a bundle (``.mambaad``) or an export made
            from it. An export is run by its own runtime, on the CPU, without PyTorch.
        precision: ``"float32"``, or ``"bfloat16"`` for matrix products and convolutions: faster
            where the processor has it, to about three digits; on a GPU by autocast. An export has
            the one that it was made with.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``"auto"`` is the first NVIDIA or
            AMD GPU that works, else the CPU.
        compile: ``"default"`` or ``"cuda-graphs"`` compile the network with torch.compile, see
            :mod:`mambaad.inference.compiled`; on a CPU that replaces the packed form. ``"auto"``
            is ``"cuda-graphs"`` on a GPU, else ``"off"``.
        keep_trained: also keep a copy of the model as trained, which explanations need.
        keep_evidence: give observations their :class:`mambaad.inference.engine.Evidence`.
        max_pixels: images with more are refused; by default as in training.
        tiles: size and stride of the tiles in which images larger than one are seen, such as
            ``"512:384"``; ``"off"`` for none. The size is that of the model's images. By default
            as calibrated, or else as trained.
        require_signature: the file of a public key; refuse what is not a bundle that was signed
            with its private key (``mambaad bundle --sign``).

    Attributes:
        source: as given.
        precision: as given, or that of the export.
        tiling: where the tiles of large images lie; None: they are only seen as a whole.
        engine: runs the model (:class:`mambaad.inference.engine.Engine`).
        config: the settings that it was trained with.
        products: the classes that the model was trained on; empty if not known.
        reading: how the pixels of files are read, as in training.
        size: height and width of the resized images and of the anomaly maps, in pixels. Maps of
            images in tiles have their own size (:func:`mambaad.inspection.tiles.map_shape`).
        heatmap_range: the map's values at both ends of the heatmaps of classes without a
            calibration.
        calibration: the per-class thresholds; None without one, or with one that does not apply.
        weights: the SHA-256 of the weights that were loaded, which identifies the model.
        is_finished: whether training has ended; until then the heatmap range is provisional and
            predictions name no product.

    Raises:
        ConfigError: an unknown precision or way to compile, a device that is not available, no
            public key, or tiles of another size than the model's images.
        RunError: not a run or bundle, a damaged one, or one whose first epoch has not ended; or
            a bundle that was made with other tiles.
    """

    def __init__(
        self,
        source: str | Path,
        precision: Precision = "float32",
        *,
        device: str = "auto",
        compile: Compilation = "auto",
        keep_trained: bool = False,
        keep_evidence: bool = False,
        max_pixels: int | None = None,
        tiles: int | str | tuple[int, int] | None = None,
        require_signature: str | Path | None = None,
    ) -> None:
        check_precision(precision)
        check_device(device)
        check_compilation(compile)
        self.source = source
        with opened(source, require_signature) as run:  # all of one generation
            self.config = read_config(run)
            self.reading = self.config.reading
            if max_pixels is not None:
                self.reading = replace(self.reading, max_pixels=max_pixels)
            self.size = self.config.size
            calibration = read_calibration(run, self.size)
            made = calibration.tiles if calibration else self.config.tiles
            self.tiling = choose_tiling(source, self.size, made, tiles)
            engine, self.precision, runtime = load_engine(
                run,
                precision,
                device=device,
                compile=compile,
                keep_trained=keep_trained,
                keep_evidence=keep_evidence or self.tiling is not None,
            )
            self.engine: Engine = engine
            if self.tiling:
                self.engine = TiledEngine(engine, self.tiling, keep_evidence=keep_evidence)
            prototypes = read_prototypes(run)
            self.products = prototypes.products or tuple(read_data_summary(run)["classes"])
            self.weights = run.digest(WEIGHTS)
        self.heatmap_range = prototypes.heatmap_range
        self.is_finished = not self.products or bool(prototypes.products)
        running = Running(
            self.weights,
            self.precision,
            runtime,
            self.engine.device,
            self.config.head,
            (self.tiling.size, self.tiling.stride) if self.tiling else None,
        )
        problem = calibration and mismatch(calibration, running)
        if problem:
            warn(f"{source}: {problem}")
        self.calibration = None if problem else calibration

    @overload
    def inspect(  # type: ignore[overload-overlap]  # a text is a path, not a sequence of images
        self,
        image: Image,
        product: str | None = None,
        *,
        color: Color = "rgb",
        bit_depth: BitDepth | None = None,
        float_range: tuple[float, float] | None = None,
    ) -> Prediction: ...

    @overload
    def inspect(
        self,
        image: Sequence[Image],
        product: str | None = None,
        *,
        color: Color = "rgb",
        bit_depth: BitDepth | None = None,
        float_range: tuple[float, float] | None = None,
    ) -> list[Prediction]: ...

    def inspect(
        self,
        image: Image | Sequence[Image],
        product: str | None = None,
        *,
        color: Color = "rgb",
        bit_depth: BitDepth | None = None,
        float_range: tuple[float, float] | None = None,
    ) -> Prediction | list[Prediction]:
        """Score one image, and decide on a verdict if its class is calibrated; or a batch of them.

        An array, a tensor, a Pillow image or the bytes of a file give the same as the file that
        they come from. Only of 16-bit colours Pillow itself keeps but the upper 8 bits.

        Args:
            image: of any size: a path; bytes of an image file; a Pillow image, turned as its EXIF
                says; a NumPy array, h x w or h x w x c; a torch tensor, h x w or c x h x w, on any
                device. c is 1 (grey), 2 (grey and alpha), 3 or 4 (alpha, which is dropped). Or a
                list (or tuple) of these, of one size or several: the predictions are those of the
                images one by one, on a GPU up to rounding.
            product: its class, if known; in a batch that of all. Without it the prediction names
                the class with the nearest prototype, or says that none is near enough.
            color: the order of the channels of arrays and tensors: ``"rgb"``, or ``"bgr"`` as
                OpenCV has it.
            bit_depth: bits in use of pixels stored with more than 8; by default as in training.
            float_range: the values of black and white in floats: required for arrays of floats,
                unless training had it. By default 0 and 1 for tensors.

        Raises:
            DataError: a file that is not an image, or values out of range; names it.
            ConfigError: something else, a shape or type that is no image, or a product the model
                does not know; says what was expected.
            RunError: the model's values are not finite.
        """
        self.check_product(product)
        given = _Given(self.reading, color, bit_depth, float_range)
        if not isinstance(image, (list, tuple)):
            item = given.item(image, "image", product)
            observed = observe_one(self.engine, item, self.region_of)
            return _prediction(self.judge(observed, product), self)
        items = (given.item(one, f"images[{i}]", product) for i, one in enumerate(image))
        stream = observe_stream(
            self.engine,
            items,
            batch_size=self.engine.batch_size,
            is_live=False,
            region_of=self.region_of,
        )
        return [_prediction(self.judge(observed, product), self) for observed in stream]

    def inspect_many(
        self,
        images: Iterable[Image],
        product: str | None = None,
        *,
        color: Color = "rgb",
        bit_depth: BitDepth | None = None,
        float_range: tuple[float, float] | None = None,
    ) -> Iterator[Prediction]:
        """Inspect images one after another; files are read ahead.

        Pixels are copied at once, so that a camera may reuse its buffer, and their prediction is
        yielded before the next image is requested, so that a camera may wait for it.

        Yields:
            The predictions in the order of the images, each the same as that of :meth:`inspect`,
            which documents the arguments and errors.
        """
        self.check_product(product)
        given = _Given(self.reading, color, bit_depth, float_range)
        items = (given.item(one, f"image {i}", product) for i, one in enumerate(images))
        for inspected in self.stream(items):
            yield _prediction(inspected, self)

    def item(self, image: str | Path | Pixels, product: str | None = None) -> Item:
        """Make an item of a file, which is read as the training images were, or of RGB pixels."""
        return Item(
            image if isinstance(image, np.ndarray) else Path(image), product, reading=self.reading
        )

    def stream(self, items: Iterable[Item], *, batch_size: int = 1) -> Iterator[Inspected]:
        """Inspect images in their order; see :func:`mambaad.inspection.stream.observe_stream`."""
        stream = observe_stream(self.engine, items, batch_size=batch_size, region_of=self.region_of)
        for observed in stream:
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

    def region_of(self, item: Item, whole: Observation) -> Region | None:
        """Where an image is inspected, by the settings of its product; None: everywhere."""
        product = item.product
        if product is None:
            product, _ = nearest_product(self.products, whole.distances, self.calibration)
        c = self.calibration.classes.get(product or "") if self.calibration else None
        return c.settings.inspected if c else None

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


class _Given:
    """How images that a program gives are read; see :meth:`Inspector.inspect`."""

    def __init__(
        self,
        reading: Reading,
        color: Color,
        bit_depth: BitDepth | None,
        float_range: tuple[float, float] | None,
    ) -> None:
        check_color(color)
        self._color: Color = color
        self._float_range = float_range
        if bit_depth is not None:
            if bit_depth not in BIT_DEPTHS:
                raise ConfigError(
                    f"bit_depth: expected one of {', '.join(map(str, BIT_DEPTHS))}, got {bit_depth}"
                )
            reading = replace(reading, bit_depth=bit_depth)
        if float_range is not None:
            check_float_range(float_range)
            reading = replace(reading, float_range=float_range)
        self._reading = reading

    def item(self, image: Any, name: str, product: str | None) -> Item:
        """Make an item: of a path a file to be read, of all else its pixels."""
        if isinstance(image, (str, os.PathLike)):
            if self._color != "rgb":
                raise ConfigError(
                    f"color: {os.fspath(image)} is a file, which says itself what its channels "
                    "are; omit color, or give an array"
                )
            return Item(Path(image), product, reading=self._reading)
        pixels = given_pixels(
            image, name, self._reading, color=self._color, float_range=self._float_range
        )
        return Item(pixels, product)


def _prediction(inspected: Inspected, inspector: Inspector) -> Prediction:
    """The prediction of an image, with what it is drawn of; or its error, raised."""
    observed, prediction = inspected.observed, inspected.prediction
    if observed.error:
        raise observed.error
    assert prediction is not None  # without an error there is one
    assert observed.pixels is not None
    record = inspected.record.model_dump(mode="json")
    origin = Origin(observed.pixels, record, inspector.range_of(prediction))
    return replace(prediction, _origin=origin)
