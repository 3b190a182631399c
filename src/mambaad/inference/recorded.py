"""Functions of tensors recorded as CUDA graphs: replayed with one launch instead of thousands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from mambaad.errors import MambaADError
from mambaad.inference.device import first_line, is_lost
from mambaad.progress import warn

Tensors = tuple[torch.Tensor, ...]
WARM_UP = 3
"""Calls of each shape before it is recorded, in which libraries choose their kernels."""


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    given: Tensors
    results: Tensors
    grads: list[torch.Tensor | None]


class Recorder:
    """A function of tensors, recorded for each shape of its arguments from the fourth call on.

    If a recording fails, a line says so, and the function is called as it is from there on.

    Args:
        function: launches the same kernels whenever the shapes are the same, and never waits for
            the GPU; random numbers come from its default generator.
        device: where it computes; nothing is recorded but on a GPU.
        parameters: those whose gradients the function leaves in ``grad``, made anew.
    """

    def __init__(
        self,
        function: Callable[..., Tensors],
        device: torch.device,
        parameters: Sequence[torch.nn.Parameter] = (),
    ) -> None:
        self._function = function
        self._device = device
        self._parameters = parameters
        self._records = device.type == "cuda"
        self._calls: dict[Any, int] = {}
        self._recordings: dict[Any, _Recording] = {}
        if self._records:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, *given: torch.Tensor) -> Tensors:
        """Compute; the results hold until the next call."""
        if not self._records:
            return self._function(*given)
        shapes = tuple((t.shape, t.dtype, t.stride()) for t in given)
        key = (torch.are_deterministic_algorithms_enabled(), shapes)
        recording = self._recordings.get(key)
        if recording is None:
            self._calls[key] = self._calls.get(key, 0) + 1
            if self._calls[key] <= WARM_UP:
                return self._aside(given)
            try:
                recording = self._recordings[key] = self._record(given)
            except Exception as error:
                if isinstance(error, MambaADError) or is_lost(error):
                    raise
                reason = first_line(error)
            if recording is None:
                self._give_up(reason)
                return self._function(*given)
        for kept, tensor in zip(recording.given, given, strict=True):
            kept.copy_(tensor)
        recording.graph.replay()
        for parameter, grad in zip(self._parameters, recording.grads, strict=True):
            parameter.grad = grad
        return recording.results

    def forget(self) -> None:
        """Drop all recordings and their memory; what is called again is recorded again."""
        self._recordings.clear()
        self._calls.clear()

    def _aside(self, given: Tensors) -> Tensors:
        """Compute in the stream that records, to which autograd's nodes then belong."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            results = self._function(*given)
        current.wait_stream(self._stream)
        for tensor in given:
            tensor.record_stream(self._stream)
        for tensor in results:
            tensor.record_stream(current)
        return results

    def _record(self, given: Tensors) -> _Recording:
        kept = tuple(t.clone() for t in given)
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        # Of this thread only: others read images into pinned memory meanwhile.
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ),
        ):
            results = self._function(*kept)
        return _Recording(graph, kept, results, [p.grad for p in self._parameters])

    def _give_up(self, reason: str) -> None:
        self._records = False
        self.forget()
        index = self._device.index or 0
        # A recording that failed leaves the random state as if it still went on, and whatever
        # draws from it would raise: a new one of the same seed takes its place.
        with contextlib.suppress(AttributeError, RuntimeError):
            torch.cuda.synchronize(self._device)
            generator: Any = torch.cuda.default_generators[index]
            seed = generator.initial_seed()
            generator.graphsafe_set_state(torch.Generator(self._device).manual_seed(seed))
        # Older releases leave the allocator so too; later ones refuse this, as it has ended.
        with contextlib.suppress(AttributeError, RuntimeError):
            torch._C._cuda_endAllocateToPool(index, self._pool)
        warn(f"the CUDA graph could not be recorded ({reason}); continuing without (--compile off)")
