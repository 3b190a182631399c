"""Inspect images with a trained model: load once, inspect many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mambaad.artifacts.bundle import opened
from mambaad.artifacts.run_folder import (
    load_model,
    read_config,
    read_data_summary,
    read_good_parts,
    weights_digest,
)
from mambaad.data.images import read_image
from mambaad.data.read_ahead import read_ahead
from mambaad.data.transforms import Preprocess
from mambaad.errors import ConfigError, RunError
from mambaad.inference.compiled import (
    Compilation,
    begin_step,
    check_compilation,
    compile_system,
    find_device,
)
from mambaad.inference.packed.pack import Precision, check_precision, prepare
from mambaad.inspection.calibration import Look, read_calibration
from mambaad.inspection.decision import decide
from mambaad.inspection.quality import measure_quality
from mambaad.models.scoring import anomaly_map, image_score
from mambaad.process import limit_threads
from mambaad.progress import say
from mambaad.types import Prediction

Image = str | Path | UInt8[np.ndarray, "h w 3"]


class Scored(NamedTuple):
    """What a model says of a batch: maps b x h x w and scores b."""

    anomaly_maps: Float[np.ndarray, "b h w"]
    scores: Float[np.ndarray, " b"]


class Inspector:
    """A trained model, ready to inspect images.

    Args:
        source: the folder that training made, or a bundle (``.mambaad``) made of it.
        precision: ``"float32"``, or ``"bfloat16"`` for matrix products and convolutions, see
            :func:`mambaad.inference.packed.pack.prepare`; on a GPU by autocast.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        compile: ``"default"`` or ``"cuda-graphs"`` have torch.compile make the network's code, see
            :func:`mambaad.inference.compiled.compile_system`; for GPUs, since on a CPU the form for
            inference is given up for it.

    Attributes:
        config: the settings that it was trained with.
        products: the classes that the model was trained on; none if that is not known.
        size: height and width that images are resized to, and of the anomaly maps.
        scale: low and high end of the run's fixed heatmap scale, for classes without a
            calibration.
        calibration: what verdicts are based on; None without one, or with one of another
            precision.
        weights: the SHA-256 of the model's weights, which tells one model from another.
        is_finished: whether training has ended; before, the scale is provisional and no product
            is named.

    Raises:
        ConfigError: no such precision or device.
        RunError: not a run or bundle, a damaged one, or one whose first epoch has not ended.
    """

    def __init__(
        self,
        source: str | Path,
        precision: Precision = "float32",
        *,
        device: str = "cpu",
        compile: Compilation = "off",
    ) -> None:
        check_precision(precision)
        self.device = find_device(device)
        self._compile = check_compilation(compile)
        self._autocast = False
        limit_threads()
        with opened(Path(source)) as run:
            self.model = load_model(run)
            if self.device.type == "cpu" and compile == "off":
                prepare(self.model, precision)
            else:
                self.model.to(self.device)
                compile_system(self.model, compile)
                self._autocast = precision == "bfloat16"
            self.config = read_config(run)
            self.size = self.config.size
            self.preprocess = Preprocess(*self.size)
            self._good_parts = read_good_parts(run)
            self.products = self._good_parts.products or tuple(read_data_summary(run)["classes"])
            self.calibration = read_calibration(run, self.size)
            self.weights = weights_digest(run)
        if self.calibration and self.calibration.weights != self.weights:
            say(f"{source}: trained on since it was calibrated, so there are no verdicts")
            self.calibration = None
        if self.calibration and self.calibration.precision != precision:
            say(
                f"{source}: calibrated with --precision {self.calibration.precision}, so there "
                f"are no verdicts with {precision}"
            )
            self.calibration = None
        if self.calibration and precision != "float32" and self.device.type != "cpu":
            say(f"{source}: a GPU's bfloat16 is not that of calibration, so there are no verdicts")
            self.calibration = None
        self.scale = self._good_parts.scale
        self.is_finished = not self.products or bool(self._good_parts.products)

    def inspect(self, image: Image, product: str | None = None) -> Prediction:
        """Score one image, and judge it if its class is calibrated.

        Args:
            image: a file, or 8-bit RGB pixels of any size.
            product: its class, if known. Without it the prediction names the class whose good
                parts the image is most like, or says that it is like none.

        Raises:
            DataError: a file that is not an image.
            ConfigError: pixels of another shape or type, or a product the model does not know.
            RunError: the model's values are not finite.
        """
        self.check_product(product)
        return self._judge(_pixels(image), product)

    def inspect_many(
        self, images: Iterable[Image], product: str | None = None
    ) -> Iterator[Prediction]:
        """Inspect images as they come; of files, the next ones are read meanwhile.

        After pixels nothing further is asked for before their prediction is out, and they are
        copied at once: a camera may wait for it, and reuse its buffer.
        The predictions come in the order of the images, each the same as that of
        :meth:`inspect`, which says what the arguments are and what is raised.
        """
        self.check_product(product)
        taken = (image.copy() if isinstance(image, np.ndarray) else image for image in images)
        for are_pixels, some in groupby(taken, lambda image: isinstance(image, np.ndarray)):
            for pixels in map(_pixels, some) if are_pixels else read_ahead(_pixels, some):
                yield self._judge(pixels, product)

    def _judge(self, pixels: UInt8[np.ndarray, "h w 3"], product: str | None) -> Prediction:
        return decide(self.look(pixels), self.products, self.calibration, product)

    @torch.inference_mode()
    def look(self, pixels: UInt8[np.ndarray, "h w 3"]) -> Look:
        """What the model sees in an image, before anything is decided.

        Raises:
            RunError: it sees what is no number, on which no verdict can stand.
        """
        resized = self.preprocess.resize(pixels)
        maps, features = self._maps(self.preprocess.normalise(resized)[None])
        (distances,) = self._good_parts.distances(features)
        if not (maps.isfinite().all() and distances.isfinite().all()):
            raise RunError(
                "the model gives values that are not finite, expected numbers; train or calibrate "
                "anew, or use --precision float32"
            )
        quality = measure_quality(resized, pixels.shape[:2])
        return Look(maps[0].numpy(), distances.cpu().numpy(), quality)

    def _maps(
        self, images: Float[torch.Tensor, "b 3 h w"]
    ) -> tuple[Float[torch.Tensor, "b h w"], list[torch.Tensor]]:
        """Anomaly maps, on the CPU, and the encoder's maps."""
        begin_step(self._compile)
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast),
            # Else a GPU's convolutions keep ten bits of float32.
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            features, reconstructed = self.model(images.to(self.device))
        maps = anomaly_map(features, reconstructed, self.size, distance=self.model.distance)
        return maps.cpu(), features

    def check_product(self, product: str | None) -> None:
        """Refuse a class name that the model was not trained on (ConfigError)."""
        if product is not None and self.products and product not in self.products:
            raise ConfigError(
                f"--class: the model was not trained on '{product}'; choose from "
                f"{', '.join(self.products)}"
            )

    @torch.inference_mode()
    def score(self, images: Float[torch.Tensor, "b 3 h w"]) -> Scored:
        """Score preprocessed images of the model's size."""
        maps, _ = self._maps(images)
        return Scored(maps.numpy(), image_score(maps).numpy())


def _pixels(image: Image) -> UInt8[np.ndarray, "h w 3"]:
    pixels = image if isinstance(image, np.ndarray) else read_image(Path(image))
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ConfigError(
            f"image has shape {pixels.shape} and type {pixels.dtype}, expected height x "
            "width x 3 of uint8, RGB; convert it"
        )
    return pixels
