"""The PyTorch engine, with the C++ kernels on a CPU and the Triton kernels on a GPU."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.run_folder import read_config
from mambaad.data.read_ahead import reader_threads
from mambaad.inference.compiled import begin_step, compile_system, find_device
from mambaad.inference.compute import Compilation, Precision
from mambaad.inference.engine import Observation
from mambaad.inference.packed.pack import pack
from mambaad.inference.weights import load_model
from mambaad.models.embedding import distances_to, embedding
from mambaad.models.normalise import normalise
from mambaad.models.scoring import anomaly_map, image_score
from mambaad.models.system import System
from mambaad.process import limit_threads

_GPU_BATCH = 8


def load_engine(
    run: Path,
    precision: Precision = "float32",
    *,
    device: str = "cpu",
    compile: Compilation = "off",
    keep_trained: bool = False,
) -> TorchEngine:
    """Load a run's model in the form that runs fastest on a device.

    Args:
        run: the run folder that training wrote.
        precision, device, compile: see :class:`mambaad.Inspector`.
        keep_trained: also keep a copy of the model as trained, which explanations need.

    Raises:
        ConfigError: the device is not available.
        RunError: see :func:`mambaad.inference.weights.load_model`.
    """
    place = find_device(device)
    limit_threads()
    model = load_model(run)
    trained = copy.deepcopy(model) if keep_trained else None
    means = torch.from_numpy(read_prototypes(run).means)
    size = read_config(run).size
    return TorchEngine(
        model, size, means, precision, device=place, compile=compile, trained=trained
    )


class TorchEngine:
    """A model, its prototypes, and where they run (an :class:`mambaad.inference.engine.Engine`).

    Args:
        model: in eval mode, on the CPU; it is changed in place.
        size: height and width of its images.
        means: the products' mean embeddings, products x channels; products may be 0.
        precision: of matrix products and convolutions; on a GPU by autocast.
        device: of the computation.
        compile: see :func:`mambaad.inference.compiled.compile_system`. On a CPU without it the
            model is packed (:func:`mambaad.inference.packed.pack.pack`).
        trained: the model as trained, for explanations; None if they are not needed.
    """

    def __init__(
        self,
        model: System,
        size: tuple[int, int],
        means: Float[torch.Tensor, "products c"],
        precision: Precision = "float32",
        *,
        device: torch.device | None = None,
        compile: Compilation = "off",
        trained: System | None = None,
    ) -> None:
        self.size = size
        self.device = device or torch.device("cpu")
        is_gpu = self.device.type != "cpu"
        self.batch_size = _GPU_BATCH if is_gpu else 1
        self.reads_ahead = reader_threads(is_gpu)
        self.trained = trained
        self._compile = compile
        self._autocast = False
        self._means = means.to(self.device)
        self.model = model
        if is_gpu or compile != "off":
            model.to(self.device)
            compile_system(model, compile)
            self._autocast = precision == "bfloat16"
        else:
            pack(model, precision)

    def observe(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Observation]:
        """See :meth:`mambaad.inference.engine.Engine.observe`."""
        if self.batch_size > 1:
            return self._observe(images)
        # One by one: oneDNN sums in another order in a larger batch, and is no faster with it.
        return [self._observe(image[None])[0] for image in images]

    @torch.inference_mode()
    def _observe(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Observation]:
        batch = normalise(torch.from_numpy(images).to(self.device))
        begin_step(self._compile)
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast),
            # With TF32 a GPU's convolutions would keep ten bits of float32's mantissa.
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            features, reconstructed = self.model(batch)
        maps = anomaly_map(features, reconstructed, self.size, distance=self.model.distance)
        distances = distances_to(self._means, embedding(features))
        return [
            # A copy: a view would keep the whole batch's maps alive.
            Observation(float(score), map_of_image.copy(), distances_of_image.copy())
            for score, map_of_image, distances_of_image in zip(
                image_score(maps).tolist(),
                maps.cpu().numpy(),
                distances.cpu().numpy(),
                strict=True,
            )
        ]
