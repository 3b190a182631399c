"""Inspect images with a trained model: load once, inspect many."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mambaad.data import Preprocess, read_image
from mambaad.errors import ConfigError
from mambaad.models.inference import Precision, check_precision, prepare
from mambaad.run import load_model, read_config, read_data_summary, read_good_parts
from mambaad.scoring import anomaly_map, image_score
from mambaad.threads import limit_threads
from mambaad.types import Prediction


class Scored(NamedTuple):
    """What a model says of a batch: maps b x h x w, scores b, and the nearest known products."""

    anomaly_maps: Float[np.ndarray, "b h w"]
    scores: Float[np.ndarray, " b"]
    products: list[str | None]


class Inspector:
    """A trained model, ready to score images.

    Args:
        run: the folder that training made.
        precision: ``"float32"``, or ``"bfloat16"`` for matrix products and convolutions, see
            :func:`mambaad.models.inference.prepare`.

    Attributes:
        products: the classes that the model was trained on; none if that is not known.
        size: height and width that images are resized to, and of the anomaly maps.
        scale: low and high end of the run's fixed heatmap scale.
        is_finished: whether training has ended; before, the scale is provisional and no product
            is named.

    Raises:
        ConfigError: no such precision.
        RunError: not a run, a damaged one, or one whose first epoch has not ended.
    """

    def __init__(self, run: str | Path, precision: Precision = "float32") -> None:
        run = Path(run)
        check_precision(precision)
        limit_threads()
        self.model = prepare(load_model(run), precision)
        self.size = read_config(run).size
        self.products = tuple(read_data_summary(run)["classes"])
        self.preprocess = Preprocess(*self.size)
        self._good_parts = read_good_parts(run)
        self.scale = self._good_parts.scale
        self.is_finished = not self.products or bool(self._good_parts.products)

    def inspect(
        self, image: str | Path | UInt8[np.ndarray, "h w 3"], product: str | None = None
    ) -> Prediction:
        """Score one image.

        Args:
            image: a file, or 8-bit RGB pixels of any size.
            product: its class, if known. The score does not depend on it; without it the
                prediction names the class whose good parts the image is most like.

        Raises:
            DataError: a file that is not an image.
            ConfigError: pixels of another shape or type, or a product the model does not know.
        """
        self.check_product(product)
        pixels = image if isinstance(image, np.ndarray) else read_image(Path(image))
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise ConfigError(
                f"image has shape {pixels.shape} and type {pixels.dtype}, expected height x "
                "width x 3 of uint8, RGB; convert it"
            )
        scored = self.score(self.preprocess(pixels)[None])
        return Prediction(
            float(scored.scores[0]), scored.anomaly_maps[0], product or scored.products[0]
        )

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
        features, reconstructed = self.model(images)
        maps = anomaly_map(features, reconstructed, self.size, distance=self.model.distance)
        products = self._good_parts.nearest_products(features)
        return Scored(maps.numpy(), image_score(maps).numpy(), products)
