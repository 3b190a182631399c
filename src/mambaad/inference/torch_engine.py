"""The PyTorch engine, with the C++ kernels on a CPU and the Triton kernels on a GPU."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import math
import threading

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import Snapshot
from mambaad.data.read_ahead import reader_threads
from mambaad.errors import RunError
from mambaad.inference.compiled import (
    choose_compilation,
    compile_for_inference,
    is_compiled,
    is_recorded,
    or_plain,
)
from mambaad.inference.compute import Compilation, Precision
from mambaad.inference.device import (
    find_device,
    first_line,
    is_lost,
    memory_of,
)
from mambaad.inference.engine import Evidence, Observation
from mambaad.inference.packed.pack import pack
from mambaad.inference.recorded import WARM_UP, Recorder
from mambaad.inference.weights import load_model
from mambaad.models.embedding import distances_to, embedding
from mambaad.models.normalise import normalise
from mambaad.models.scoring import measure
from mambaad.models.system import Reconstruction, System
from mambaad.process import is_out_of_memory, limit_threads
from mambaad.progress import warn

_log = logging.getLogger(__name__)

_GPU_PIXELS = 16 * 256 * 256
"""Pixels of a batch on a GPU: enough to fill it, in a few GiB."""
_CHECKED = WARM_UP + 2
"""Batches of each shape whose compiled maps are compared: before and after they are recorded."""
_TOLERANCE: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 5e-2}
"""Of the compiled maps' largest value, how far any may lie from the plain one."""


def load_engine(
    run: Snapshot,
    precision: Precision = "float32",
    *,
    device: str = "auto",
    compile: Compilation = "auto",
    keep_trained: bool = False,
    keep_evidence: bool = False,
) -> TorchEngine:
    """Load a run's model in the form that runs fastest on a device.

    Args:
        run: an open run or bundle.
        precision, device, compile: see :class:`mambaad.Inspector`.
        keep_trained: also keep a copy of the model as trained, which explanations need.
        keep_evidence: give observations their evidence.

    Raises:
        ConfigError: the device is not available.
        RunError: see :func:`mambaad.inference.weights.load_model`.
    """
    place = find_device(device)
    limit_threads()
    _log.debug(
        "%s: %s, on %s with %d threads", run.source, precision, place, torch.get_num_threads()
    )
    model = load_model(run)
    trained = copy.deepcopy(model) if keep_trained else None
    means = torch.from_numpy(read_prototypes(run).means)
    size = read_config(run).size
    return TorchEngine(
        model,
        size,
        means,
        precision,
        device=place,
        compile=compile,
        trained=trained,
        keep_evidence=keep_evidence,
    )


class TorchEngine:
    """A model, its prototypes, and where they run (an :class:`mambaad.inference.engine.Engine`).

    On a GPU with too little memory it takes smaller batches. In float32 it goes on on the CPU when
    the GPU fails.

    Args:
        model: in eval mode, on the CPU; it is changed in place.
        size: height and width of its images.
        means: the products' mean embeddings, products x channels; products may be 0.
        precision: of matrix products and convolutions; on a GPU by autocast.
        device: of the computation.
        compile: see :func:`mambaad.inference.compiled.compile_for_inference`. On a CPU without it
            the model is packed (:func:`mambaad.inference.packed.pack.pack`).
        trained: the model as trained, for explanations; None if they are not needed.
        keep_evidence: give observations their evidence.
    """

    def __init__(
        self,
        model: System,
        size: tuple[int, int],
        means: Float[torch.Tensor, "products c"],
        precision: Precision = "float32",
        *,
        device: torch.device | None = None,
        compile: Compilation = "auto",
        trained: System | None = None,
        keep_evidence: bool = False,
    ) -> None:
        self.size = size
        self._keeps_evidence = keep_evidence
        self.trained = trained
        self._precision: Precision = precision
        # Of two threads one waits: what a recording computes holds until it is replayed.
        self._turn = threading.RLock()
        self._spare: System | None = None
        self._means_on_cpu = means
        place = device or torch.device("cpu")
        if place.type != "cpu" and precision == "float32":
            self._spare = copy.deepcopy(model)
        self._move(model, place, choose_compilation(compile, place))

    def _move(self, model: System, device: torch.device, compile: Compilation) -> None:
        """Compute with a model, which is on the CPU, on a device from here on."""
        is_gpu = device.type != "cpu"
        self.device = device.type
        self.batch_size = max(_GPU_PIXELS // (self.size[0] * self.size[1]), 1) if is_gpu else 1
        self.reads_ahead = reader_threads(is_gpu)
        self.model = model
        self._place = device
        self._checks: dict[tuple[int, ...], int] = {}
        self._means = self._means_on_cpu.to(device)
        self._autocast = self._is_recorded = False
        if is_gpu or compile != "off":
            # Channels last, as the decoder's maps are: a GPU's convolutions are faster in it.
            model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            compile_for_inference(model, compile)
            self._is_recorded = is_recorded(compile, device)
            self._autocast = self._precision == "bfloat16"
        else:
            pack(model, self._precision)
        # A function of its own, so that an engine that is dropped frees its memory at once.
        self._maps = functools.partial(_maps, model, device.type, self._autocast)
        self._recorder = Recorder(self._maps, device if self._is_recorded else torch.device("cpu"))

    def observe(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Observation]:
        """See :meth:`mambaad.inference.engine.Engine.observe`."""
        with contextlib.nullcontext() if self.device == "cpu" else self._turn:
            try:
                return self._in_batches(images)
            except RuntimeError as error:
                if not is_lost(error):
                    raise
                if self._spare is None:
                    raise RunError(f"the GPU failed ({first_line(error)}); start again") from error
                reason = first_line(error)
            warn(f"the GPU failed ({reason}); going on on the CPU")
            # Not copied back: nothing can be read from that GPU any more.
            model, self._spare = self._spare, None
            self._move(model, torch.device("cpu"), "off")
            return self._in_batches(images)

    def _in_batches(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Observation]:
        # On a CPU one by one: oneDNN sums in another order in a larger batch, and is no faster.
        found: list[Observation] = []
        while len(found) < len(images):
            try:
                found += self._observe(images[len(found) :][: self.batch_size])
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch_size == 1:
                    raise RunError(
                        f"{memory_of(self._place)} is too small for an image of "
                        f"{self.size[0]} x {self.size[1]}; end other programs, or use another "
                        "--device"
                    ) from error
            self.batch_size //= 2
            warn(f"{memory_of(self._place)} is too small: {self.batch_size} images at a time now")
            self._recorder.forget()
            if self._place.type == "cuda":
                with contextlib.suppress(RuntimeError):  # after a recording that failed
                    torch.cuda.empty_cache()
        return found

    @torch.inference_mode()
    def _observe(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Observation]:
        count = len(images)
        if (self._is_recorded or is_compiled(self.model)) and 1 < count < self.batch_size:
            # Two shapes are compiled and recorded, one image and a full batch.
            padding = np.repeat(images[-1:], self.batch_size - count, axis=0)
            images = np.concatenate([images, padding])
        batch = normalise(torch.from_numpy(images).to(self._place))
        maps_of_scales = or_plain(
            self.model,
            lambda: self._checked(batch),
            self._recorder,
            on_no_memory=self.batch_size == 1,
        )
        scales = len(maps_of_scales) // 2
        found = Reconstruction(
            list(maps_of_scales[:scales]),
            list(maps_of_scales[scales : 2 * scales]),
            maps_of_scales[-1] if len(maps_of_scales) % 2 else None,
        )
        maps, errors, scores, scale_maps = measure(self.model, found, self.size)
        embedded = embedding(found.features)
        distances = distances_to(self._means, embedded).cpu().numpy()
        maps_of_images = maps.cpu().numpy()
        errors_of_images = None if found.logits is None else errors.cpu().numpy()
        return [
            # Copies: a view would keep the whole batch's maps alive.
            Observation(
                float(score),
                maps_of_images[i].copy(),
                distances[i].copy(),
                None if errors_of_images is None else errors_of_images[i].copy(),
                self._evidence(found, scale_maps[:, i], embedded[i]),
            )
            for i, score in enumerate(scores.tolist()[:count])  # what pads the batch comes last
        ]

    def _evidence(
        self,
        found: Reconstruction,
        scale_maps: Float[torch.Tensor, "scales h w"],
        embedded: Float[torch.Tensor, " c"],
    ) -> Evidence | None:
        if not self._keeps_evidence:
            return None
        return Evidence(
            scale_maps.cpu().numpy().copy(),
            tuple(self.size[0] // f.shape[2] for f in found.features),
            self.model.smoothing,
            embedded.cpu().numpy().copy(),
        )

    def _checked(self, batch: Float[torch.Tensor, "b 3 h w"]) -> tuple[torch.Tensor, ...]:
        """:meth:`_maps`, recorded; those of the first compiled batches compared with plain ones."""
        found = self._recorder(batch)
        checks = self._checks.get(batch.shape, 0)
        if is_compiled(self.model) and checks < _CHECKED:
            self._checks[batch.shape] = checks + 1
            compiled = vars(self.model).pop("forward")
            try:
                expected = self._maps(batch)
            finally:
                vars(self.model)["forward"] = compiled
            for ours, plain in zip(found, expected, strict=True):
                far = float((ours.float() - plain.float()).abs().max())
                largest = float(plain.float().abs().max())
                if math.isfinite(largest) and not far <= _TOLERANCE[self._precision] * largest:
                    raise RuntimeError(f"its maps differ by up to {far:.2g}")
        return found


def _maps(
    model: System, device_type: str, half: bool, batch: Float[torch.Tensor, "b 3 h w"]
) -> tuple[torch.Tensor, ...]:
    """The encoder's maps, those rebuilt of them, and the head's, if any; ``half``: by autocast."""
    with (
        torch.autocast(device_type, torch.bfloat16, enabled=half, cache_enabled=False),
        # With TF32 a GPU's convolutions would keep ten bits of float32's mantissa.
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    ):
        features, reconstructed, logits = model(batch)
    return (*features, *reconstructed, *([] if logits is None else [logits]))
