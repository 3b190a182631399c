"""The C++ kernel as a PyTorch operator, ``torch.ops.mambaad.selective_scan``.

The binding knows nothing of autograd, so nothing but the functions here may call it.
"""

# No "from __future__ import annotations" here: custom_op reads the types of the signatures.
import os
from typing import Any

import torch

try:
    from mambaad import _native

    AVAILABLE = True
    VARIANTS: tuple[str, ...] = tuple(_native.variants())
except ImportError:  # an installation without the compiled module: ops falls back
    AVAILABLE = False
    VARIANTS = ()
"""Kernel variants that this processor can run, the fastest first."""

variant: str | None = os.environ.get("MAMBAAD_KERNEL") or (VARIANTS[0] if VARIANTS else None)
"""The variant in use."""

_PARAMETERS = 7  # u, proj, dt_weight, dt_bias, A, skip, order


def _contiguous(*tensors: torch.Tensor) -> list[torch.Tensor]:
    # Detached: the binding refuses tensors that require grad, and here autograd is above us.
    return [t.detach().contiguous() for t in tensors]


@torch.library.custom_op("mambaad::selective_scan", mutates_args=(), device_types="cpu")
def selective_scan(
    u: torch.Tensor,
    proj: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    skip: torch.Tensor,
    order: torch.Tensor,
    keep_carry: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scan of :func:`mambaad.ops.selective_scan`, float32 on a CPU, ``order`` int32.

    Returns y, and the state before each chunk of the sequence, which the backward starts from:
    b x k x chunks x n x d, without any chunk unless ``keep_carry``.
    """
    y = u.new_empty(u.shape)
    carry = u.new_empty(_carry_shape(u, A, keep_carry))
    inputs = _contiguous(u, proj, dt_weight, dt_bias, A, skip, order)
    _native.forward(variant, torch.get_num_threads(), *inputs, y, carry)
    return y, carry


def _carry_shape(u: torch.Tensor, A: torch.Tensor, keep_carry: bool) -> tuple[Any, ...]:
    chunks = -(-u.shape[1] // _native.CHUNK_LENGTH) if keep_carry else 0
    return u.shape[0], A.shape[0], chunks, A.shape[2], u.shape[2]


@selective_scan.register_fake
def _(
    u: torch.Tensor,
    proj: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    skip: torch.Tensor,
    order: torch.Tensor,
    keep_carry: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    return u.new_empty(u.shape), u.new_empty(_carry_shape(u, A, keep_carry))


@torch.library.custom_op("mambaad::selective_scan_backward", mutates_args=(), device_types="cpu")
def _selective_scan_backward(
    u: torch.Tensor,
    proj: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    skip: torch.Tensor,
    order: torch.Tensor,
    carry: torch.Tensor,
    grad_y: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    inputs = _contiguous(u, proj, dt_weight, dt_bias, A, skip, order, carry, grad_y)
    grads = tuple(t.new_empty(t.shape) for t in (u, proj, dt_weight, dt_bias, A, skip))
    _native.backward(variant, torch.get_num_threads(), *inputs, *grads)
    return grads  # type: ignore[return-value]


@_selective_scan_backward.register_fake
def _(
    u: torch.Tensor,
    proj: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    skip: torch.Tensor,
    order: torch.Tensor,
    carry: torch.Tensor,
    grad_y: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return tuple(t.new_empty(t.shape) for t in (u, proj, dt_weight, dt_bias, A, skip))  # type: ignore[return-value]


def instance_norm_silu_(x: torch.Tensor) -> None:
    """Instance norm and SiLU of maps b x l x c in place: float32, contiguous, on a CPU."""
    _native.instance_norm_silu(variant, torch.get_num_threads(), x.detach())


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:_PARAMETERS], output[1])


def _backward(ctx: Any, grad_y: torch.Tensor | None, _grad_carry: None) -> tuple[Any, ...]:
    if grad_y is None:
        return (None,) * (_PARAMETERS + 1)
    grads = _selective_scan_backward(*ctx.saved_tensors, grad_y)
    return (*grads, None, None)  # order, keep_carry


selective_scan.register_autograd(_backward, setup_context=_setup_context)
