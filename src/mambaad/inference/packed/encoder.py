"""The encoder's form for inference, whatever architecture of timm's it has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torch
from torch import nn

from mambaad.inference.packed.convolution import PackedConv
from mambaad.inference.packed.rewrite import (
    activate_with,
    fold_batch_norms,
    pack_convolutions,
    relus_after_convolutions,
)
from mambaad.size import SIZE_MULTIPLE


def pack_encoder(encoder: nn.Module, dtype: torch.dtype) -> None:
    """Fold and pack an encoder in place, and undo each step that changes what it computes.

    The order of a module's children need not be that of its forward, which may also read more of
    a convolution than what it computes: hence every step is tried on an image and compared.

    Args:
        encoder: images b x 3 x h x w -> a list of maps; on a CPU, in eval mode.
        dtype: of its packed convolutions, once all steps have been compared in float32.
    """
    side = 2 * int(getattr(encoder, "multiple", SIZE_MULTIPLE))
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    before = encoder(image)

    def try_to(change: Callable[[], None]) -> None:
        children_before = [(module, dict(module.named_children())) for module in encoder.modules()]
        change()
        try:
            same = all(
                torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))
                for a, b in zip(encoder(image), before, strict=True)
            )
        except (AttributeError, TypeError, RuntimeError):
            same = False
        if not same:
            for module, children in children_before:
                for name, child in children.items():
                    setattr(module, name, child)

    try_to(lambda: fold_batch_norms(encoder))
    try_to(lambda: pack_convolutions(encoder, torch.float32))
    # All blocks of a kind at once: in a single one a ReLU after a sum may happen to change nothing.
    kinds: dict[tuple[type, str, str], list[nn.Module]] = {}
    for module in encoder.modules():
        for pair in relus_after_convolutions(module):
            kinds.setdefault((type(module), *pair), []).append(module)
    for (_, *names), modules in kinds.items():
        try_to(functools.partial(_activate_all, modules, *names))
    if dtype != torch.float32:
        for module in encoder.modules():
            if isinstance(module, PackedConv):
                module.change_type(dtype)


def _activate_all(modules: Iterable[nn.Module], conv_name: str, relu_name: str) -> None:
    for module in modules:
        activate_with(module, conv_name, relu_name)
