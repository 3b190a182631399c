"""The selective scan over several directions: one function, the fastest backend available."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Float, Int

from mambaad.errors import ConfigError
from mambaad.ops.selective_scan import operator
from mambaad.ops.selective_scan.vectorised import selective_scan_vectorised


def selective_scan(
    u: Float[torch.Tensor, "b l d"],
    proj: Float[torch.Tensor, "b l p"],
    dt_weight: Float[torch.Tensor, "k d r"],
    dt_bias: Float[torch.Tensor, "k d"],
    A: Float[torch.Tensor, "k d n"],
    skip: Float[torch.Tensor, "k d"],
    order: Int[torch.Tensor, "k l"],
) -> Float[torch.Tensor, "b l d"]:
    r"""The sum of the K directions' selective scans (S6) of a map that is stored once.

    Direction k visits position ``order[k, t]`` at step t. With u_t, B_t, C_t, low_t read there,

    .. math::
        dt_t &= \mathrm{softplus}(W_k\, low_t + b_k) \\
        h_t  &= \exp(dt_t A_k) \odot h_{t-1} + (dt_t u_t) B_t, \qquad h_{-1} = 0 \\
        y_{order[k, t]} &\mathrel{+}= C_t \cdot h_t + skip_k\, u_t

    (Gu and Dao 2023, algorithm 2; the directions as in MambaAD, arXiv 2404.06564, eq. 4-5.) B is
    discretised as dt B (Euler), as in Mamba's code, not by zero-order hold as in its equation 4.

    Args:
        u: the map's D channels at its L positions: float32, bfloat16, float16 or float64. The other
            tensors may have any of these dtypes; they are converted.
        proj: for each position and direction the row (low: R, B: N, C: N), one direction after
            the other, so that p = K (R + 2N).
        dt_weight, dt_bias: expand low to one time step dt for each channel.
        A: negative real state matrix, diagonal; ``-exp(A_log)`` in the model.
        skip: the weight of u in y.
        order: a permutation of the L positions for each direction.

    Returns:
        y, float64 if u is, otherwise float32 (the scan never runs in half precision).
        Differentiable in all but ``order``.

    Raises:
        ConfigError: the shapes do not match.
    """
    tensors = (u, proj, dt_weight, dt_bias, A, skip)
    _check_shapes(*tensors, order)
    if u.dtype == torch.float64 or not operator.is_available(u.device):
        if u.dtype != torch.float64:
            _warn_once(u.device.type)
        arguments: Any = (*_widened(tensors), order)
        return selective_scan_vectorised(*arguments)
    keep_carry = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    # A GPU's kernels take half-precision maps, and give their gradients.
    first = 2 if operator.uses_triton(u.device) else 0
    given = (*tensors[:first], *(t.float() for t in tensors[first:]))
    y: torch.Tensor = operator.selective_scan(*given, order.int(), keep_carry)[0]
    return y


def _widened(tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return tuple(t.to(dtype) for t in tensors)


def _check_shapes(
    u: torch.Tensor,
    proj: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    skip: torch.Tensor,
    order: torch.Tensor,
) -> None:
    for name, tensor, axes in (
        ("u", u, "b x l x d"),
        ("dt_weight", dt_weight, "k x d x r"),
        ("A", A, "k x d x n"),
    ):
        if tensor.dim() != 3 or tensor.shape[-1] == 0:
            raise ConfigError(
                f"selective_scan: {name} has shape {tuple(tensor.shape)}, expected {axes}"
            )
    batch, length, channels = u.shape
    directions, _, rank = dt_weight.shape
    states = A.shape[2]
    for name, tensor, shape in (
        ("proj", proj, (batch, length, directions * (rank + 2 * states))),
        ("dt_weight", dt_weight, (directions, channels, rank)),
        ("dt_bias", dt_bias, (directions, channels)),
        ("A", A, (directions, channels, states)),
        ("skip", skip, (directions, channels)),
        ("order", order, (directions, length)),
    ):
        if tensor.shape != shape:
            raise ConfigError(
                f"selective_scan: {name} has shape {tuple(tensor.shape)}, expected {shape}"
            )


_warned: set[str] = set()  # types of devices


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _warn_once(device_type: str) -> None:
    # torch.compile cannot trace a warning: with the decorator it runs this while it traces.
    message = operator.missing_kernel(device_type)
    if message and device_type not in _warned:
        _warned.add(device_type)
        warnings.warn(message, RuntimeWarning, stacklevel=3)
