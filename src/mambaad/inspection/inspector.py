"""Inspect images with a trained model: load once, inspect many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mambaad.data import Preprocess, read_image
from mambaad.errors import ConfigError
from mambaad.run import load_model, read_config, read_data_summary, read_scale
from mambaad.scoring import anomaly_map, image_score
from mambaad.types import Prediction


class Inspector:
    """A trained model, ready to score images.

    Args:
        run: the folder that training made.

    Attributes:
        classes: the products that the model was trained on.
        size: height and width that images are resized to, and of the anomaly maps.
        scale: low and high end of the run's fixed heatmap scale.

    Raises:
        RunError: not a run, an unfinished or a damaged one.
    """

    def __init__(self, run: str | Path) -> None:
        run = Path(run)
        self.model = load_model(run)
        self.size = read_config(run).size
        self.classes = tuple(read_data_summary(run)["classes"])
        self.scale = read_scale(run)
        self.preprocess = Preprocess(*self.size)

    def inspect(
        self, image: str | Path | UInt8[np.ndarray, "h w 3"], product: str | None = None
    ) -> Prediction:
        """Score one image.

        Args:
            image: a file, or 8-bit RGB pixels of any size.
            product: its class, if known; the model needs no class, it is only passed on.

        Raises:
            DataError: a file that is not an image.
            ConfigError: pixels of another shape or type, or a product the model does not know.
        """
        name = self.product_name(product)
        if isinstance(image, np.ndarray):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ConfigError(
                    f"image has shape {image.shape} and type {image.dtype}, expected height x "
                    "width x 3 of uint8, RGB; convert it"
                )
            pixels = image
        else:
            pixels = read_image(Path(image))
        maps, scores = self.score(self.preprocess(pixels)[None])
        return Prediction(float(scores[0]), maps[0], name)

    def product_name(self, product: str | None) -> str | None:
        """The given class, checked; the only one of a model that has but one; otherwise None."""
        if product is None:
            return self.classes[0] if len(self.classes) == 1 else None
        if self.classes and product not in self.classes:
            raise ConfigError(
                f"--class: the model was not trained on '{product}'; choose from "
                f"{', '.join(self.classes)}"
            )
        return product

    @torch.inference_mode()
    def score(
        self, images: Float[torch.Tensor, "b 3 h w"]
    ) -> tuple[Float[np.ndarray, "b h w"], Float[np.ndarray, " b"]]:
        """Anomaly maps and image scores of preprocessed images."""
        features, reconstructed = self.model(images)
        maps = anomaly_map(features, reconstructed, self.size)
        return maps.numpy(), image_score(maps).numpy()
