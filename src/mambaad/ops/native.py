"""The C++ kernels, as functions of tensors.

They know nothing of autograd: only ``selective_scan/operator.py`` may call the scans.
"""

from __future__ import annotations

import torch

from mambaad.ops.native_module import MODULE as _native
from mambaad.ops.native_module import VARIANTS as VARIANTS
from mambaad.ops.native_module import variant as variant
from mambaad.ops.native_module import wanted as wanted

AVAILABLE = _native is not None


def _contiguous(*tensors: torch.Tensor) -> list[torch.Tensor]:
    # Detached: the binding refuses tensors that require grad; autograd is the operator's business.
    return [t.detach().contiguous() for t in tensors]


def carry_shape(u: torch.Tensor, A: torch.Tensor) -> tuple[int, ...]:
    """The shape of the states that the backward starts from: one before each chunk."""
    chunks = -(-u.shape[1] // _native.CHUNK_LENGTH)
    return u.shape[0], A.shape[0], chunks, A.shape[2], u.shape[2]


def forward(inputs: tuple[torch.Tensor, ...], carry: torch.Tensor) -> torch.Tensor:
    """The scan of float32 tensors u, proj, dt_weight, dt_bias, A, skip and int32 order.

    Args:
        inputs: those seven, with the shapes of :func:`mambaad.ops.selective_scan.selective_scan`.
        carry: float32, filled; of :func:`carry_shape`, or without chunks to keep no states.

    Returns:
        y in float32.
    """
    y = inputs[0].new_empty(inputs[0].shape)
    _native.forward(variant, torch.get_num_threads(), *_contiguous(*inputs), y, carry)
    return y


def backward(
    inputs: tuple[torch.Tensor, ...], carry: torch.Tensor, grad_y: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """The gradients of all inputs but ``order``, from the ``carry`` that :func:`forward` filled."""
    grads = tuple(t.new_empty(t.shape) for t in inputs[:-1])
    given = _contiguous(*inputs, carry, grad_y)
    _native.backward(variant, torch.get_num_threads(), *given, *grads)
    return grads


def instance_norm_silu_(x: torch.Tensor) -> None:
    """Apply instance norm and SiLU to maps b x l x c in place: float32, contiguous, on a CPU."""
    _native.instance_norm_silu(variant, torch.get_num_threads(), x.detach())
