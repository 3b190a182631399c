"""The scan as a PyTorch operator, ``torch.ops.mambaad.selective_scan``: one name, two kernels.

C++ on a CPU, CUDA or Triton on a GPU (``gpu.py``; ``MAMBAAD_KERNEL=auto``).
``MAMBAAD_KERNEL=triton`` uses Triton's, on a CPU too, for tests in its interpreter
(``TRITON_INTERPRET=1``); ``MAMBAAD_KERNEL=torch`` uses no kernel on a GPU.
"""

# No "from __future__ import annotations" here: custom_op reads the types of the signatures.
import importlib.util
from types import ModuleType
from typing import Any

import torch

from mambaad.ops import native

_wanted = native.wanted
_has_triton = importlib.util.find_spec("triton") is not None
triton_on_cpu = _wanted == "triton"
"""Whether tensors on a CPU go to the Triton kernels."""

_INPUTS = 7  # u, proj, dt_weight, dt_bias, A, skip, order


def uses_triton(device: torch.device) -> bool:
    """Whether tensors of a device go to the kernels of a GPU, Triton's or with them CUDA's."""
    if device.type == "cpu":
        return triton_on_cpu
    return device.type == "cuda" and _wanted != "torch" and _has_triton


def is_available(device: torch.device) -> bool:
    """Whether there is a kernel for tensors of a device."""
    return uses_triton(device) or (device.type == "cpu" and native.AVAILABLE)


def missing_kernel(device_type: str) -> str | None:
    """Say in one line why a device is without its kernel, and what to do.

    None for types of devices that mambaad has no kernel for.
    """
    if device_type == "cpu":
        return (
            "mambaad's native kernel is not installed: the scan runs in plain PyTorch, many times "
            "slower. Reinstall mambaad with a C++ compiler (GCC 11+ or Clang 14+) at hand."
        )
    if device_type != "cuda":
        return None
    if _wanted == "torch":
        return (
            "MAMBAAD_KERNEL=torch: on the GPU the scan runs in plain PyTorch, slower and with more "
            "memory. Unset MAMBAAD_KERNEL to use the Triton kernel."
        )
    return (
        "Triton is not installed: on the GPU the scan runs in plain PyTorch, slower and with more "
        "memory. Install the release of Triton that your torch asks for (pip install triton)."
    )


def _kernels(device: torch.device) -> ModuleType:
    if not uses_triton(device):
        return native
    # Imported here: Triton takes a second to load, and is not installed everywhere.
    from mambaad.ops.selective_scan import gpu

    return gpu


@torch.library.custom_op("mambaad::selective_scan", mutates_args=(), device_types=("cpu", "cuda"))
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
    """The scan of :func:`mambaad.ops.selective_scan.selective_scan`: float32, ``order`` int32.

    On a GPU u and proj may also be bfloat16 or float16.

    Returns:
        y in float32, and the states that the backward starts from, empty unless ``keep_carry``.
    """
    carry = u.new_empty(_carry_shape(u, A, keep_carry), dtype=torch.float32)
    inputs = (u, proj, dt_weight, dt_bias, A, skip, order)
    return _kernels(u.device).forward(inputs, carry), carry


def _carry_shape(u: torch.Tensor, A: torch.Tensor, keep_carry: bool) -> tuple[Any, ...]:
    b, k, chunks, *state = _kernels(u.device).carry_shape(u, A)
    return b, k, chunks if keep_carry else 0, *state


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
    carry = u.new_empty(_carry_shape(u, A, keep_carry), dtype=torch.float32)
    return u.new_empty(u.shape, dtype=torch.float32), carry


@torch.library.custom_op(
    "mambaad::selective_scan_backward", mutates_args=(), device_types=("cpu", "cuda")
)
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
    inputs = (u, proj, dt_weight, dt_bias, A, skip, order)
    return _kernels(u.device).backward(inputs, carry, grad_y)  # type: ignore[no-any-return]


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


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:_INPUTS], output[1])


def _backward(ctx: Any, grad_y: torch.Tensor | None, _grad_carry: None) -> tuple[Any, ...]:
    if grad_y is None:
        return (None,) * (_INPUTS + 1)
    grads = _selective_scan_backward(*ctx.saved_tensors, grad_y)
    return (*grads, None, None)  # order, keep_carry


selective_scan.register_autograd(_backward, setup_context=_setup_context)
