"""``mambaad profile``: parameters, arithmetic and time of a system, part by part."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mambaad.config import TrainConfig
from mambaad.inference.packed.pack import pack
from mambaad.models.build import build_system

_ROUNDS = 9


@dataclass(frozen=True)
class PartProfile:
    """The profile of one of a system's parts, or of the whole.

    Attributes:
        name: the part's attribute in the system, or ``"whole"``.
        parameters: number of parameters.
        trained: number of those that are trained.
        flops: of one image, in matrix products, convolutions and scans; a multiplication and an
            addition count as two, norms and activations are omitted.
        seconds: of one image in the packed form, on this machine; the median of several rounds.
    """

    name: str
    parameters: int
    trained: int
    flops: int
    seconds: float


def profile(config: TrainConfig) -> list[PartProfile]:
    """Profile the untrained system of a configuration: its parts, and the whole last.

    Raises:
        ConfigError: the system cannot be built.
    """
    model = build_system(config, "random").eval()
    image = torch.randn(1, 3, *config.size, generator=torch.Generator().manual_seed(0))
    parameters = {name: _count_parameters(part) for name, part in _parts(model)}
    flops = _count_flops(model, image)
    seconds = _measure_seconds(pack(model), image)
    return [PartProfile(name, *parameters[name], flops[name], seconds[name]) for name in parameters]


def _parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [*model.named_children(), ("whole", model)]


def _count_parameters(part: nn.Module) -> tuple[int, int]:
    sizes = [(p.numel(), p.requires_grad) for p in part.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)


@torch.no_grad()
def _count_flops(model: nn.Module, image: torch.Tensor) -> dict[str, int]:
    aten: Any = torch.ops.aten
    counter = FlopCounterMode(
        display=False,
        custom_mapping={
            torch.ops.mambaad.selective_scan: _scan_flops,
            # Missing from the tables of some PyTorch versions.
            aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        },
    )
    with counter:
        model(image)
    whole = type(model).__name__
    counts: Any = counter.get_flop_counts()
    names = {name: whole if part is model else f"{whole}.{name}" for name, part in _parts(model)}
    return {name: sum(counts.get(full, {}).values()) for name, full in names.items()}


def _attention_flops(
    query: tuple[int, ...],
    key: tuple[int, ...],
    value: tuple[int, ...],
    *rest: Any,
    out_shape: Any = None,
    **named: Any,
) -> int:
    """Count the products of queries and keys, and of weights and values, each b x h x l x c."""
    batch, heads, queries, channels = query
    keys = key[2]
    return 2 * batch * heads * queries * keys * (channels + value[3])


def _scan_flops(
    u: tuple[int, ...],
    proj: tuple[int, ...],
    dt_weight: tuple[int, ...],
    dt_bias: tuple[int, ...],
    A: tuple[int, ...],
    *rest: Any,
    out_shape: Any = None,
    **named: Any,
) -> int:
    """Count the scan (equation in :func:`mambaad.ops.selective_scan`) as the kernel computes it.

    For each state of a step: dt A, its exponential, its product with h, that of dt u and B, their
    sum, and the product with C and its sum: 7. For each channel: W low and its bias (2 R), dt u,
    skip u and its sum.
    """
    batch, length, channels = u
    directions, _, rank = dt_weight
    states = A[2]
    return batch * length * channels * directions * (7 * states + 2 * rank + 3)


@torch.inference_mode()
def _measure_seconds(model: nn.Module, image: torch.Tensor) -> dict[str, float]:
    began: dict[str, float] = {}
    took: dict[str, list[float]] = {name: [] for name, _ in _parts(model)}
    hooks = []
    for name, part in _parts(model):

        def before(*_: Any, name: str = name) -> None:
            began[name] = time.perf_counter()

        def after(*_: Any, name: str = name) -> None:
            took[name].append(time.perf_counter() - began[name])

        hooks += [part.register_forward_pre_hook(before), part.register_forward_hook(after)]
    for _ in range(_ROUNDS + 2):  # the first two lay out weights and fill caches
        model(image)
    for hook in hooks:
        hook.remove()
    return {name: statistics.median(times[2:]) for name, times in took.items()}
