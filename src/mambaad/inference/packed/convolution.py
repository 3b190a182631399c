"""Convolutions with their weights in the layout that oneDNN's kernels want.

The activation that follows, or the sum with another map, is done by the kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional as F

Activation = Literal["none", "relu", "swish"]
_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda y: y,
    "relu": F.relu,
    "swish": F.silu,
}


@functools.lru_cache
def can_pack(dtype: torch.dtype) -> bool:
    """Tell whether PyTorch has these operators and the processor supports them.

    PyTorch has them for its own compiler, without a public name, so they may be absent; a
    :class:`PackedConv` then computes the same with plain operators.
    """
    try:
        weight = torch.zeros(1, 1, 1, 1, dtype=dtype)
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        packed = reorder(weight.to_mkldnn(), *_POINTWISE, [1, 1, 1, 1])
        convolve: Any = torch.ops.mkldnn._convolution_pointwise
        convolve(weight, packed, None, *_POINTWISE, "none", [], "")
        convolve.binary(weight, weight, packed, None, *_POINTWISE, "add", 1.0, None, [], None)
    except (RuntimeError, AttributeError):
        return False
    return True


_POINTWISE: tuple[Any, ...] = ((0, 0), (1, 1), (1, 1), 1)  # padding, stride, dilation, groups


class PackedConv(nn.Module):
    """A convolution on maps b x c x h x w, and the activation after it, in ``dtype``.

    Args:
        weight: c_out x c / groups x rows x columns.
        bias: c_out, or None.
        dtype: of the products, and of the result without ``plus``.
        activation: done by the kernel.
        padding, stride, dilation, groups: as of ``nn.Conv2d``.
    """

    def __init__(
        self,
        weight: Float[torch.Tensor, "c_out c_in rows columns"],
        bias: Float[torch.Tensor, " c_out"] | None,
        dtype: torch.dtype,
        activation: Activation = "none",
        padding: tuple[int, ...] = (0, 0),
        stride: tuple[int, ...] = (1, 1),
        dilation: tuple[int, ...] = (1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.activation = activation
        self.geometry: tuple[Any, ...] = (padding, stride, dilation, groups)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.can_pack = can_pack(dtype)
        # Plain, or packed for maps of one shape (without the batch), on which the best layout
        # depends. One tuple, so that a thread never sees half of another's change.
        self.weight: tuple[torch.Size | None, torch.Tensor]
        self.weight = (None, weight.detach().to(dtype).contiguous())

    def change_type(self, dtype: torch.dtype) -> None:
        """Compute in another type from now on."""
        self.dtype, self.can_pack = dtype, can_pack(dtype)
        self.weight = (None, self._plain_weight().to(dtype))
        self.bias = None if self.bias is None else self.bias.to(dtype)

    def use_plain_operators(self) -> None:
        """Compute with plain operators from now on, which other runtimes know too."""
        self.can_pack = False
        self.weight = (None, self._plain_weight())

    def _plain_weight(self) -> torch.Tensor:
        shape, weight = self.weight
        return weight if shape is None else weight.to_dense()

    def forward(
        self,
        x: Float[torch.Tensor, "b c h w"],
        plus: Float[torch.Tensor, "b c_out h_out w_out"] | None = None,
    ) -> Float[torch.Tensor, "b c_out h_out w_out"]:
        """Convolve and activate.

        With ``plus``, a float32 map: the sum of both in float32, for a convolution without
        activation.
        """
        x = x.to(self.dtype)
        if not self.can_pack:
            padding, stride, dilation, groups = self.geometry
            y = F.conv2d(x, self.weight[1], self.bias, stride, padding, dilation, groups)
            return _ACTIVATIONS[self.activation](y) if plus is None else plus + y
        shape, weight = self.weight
        if shape != x.shape[1:]:
            reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            weight = reorder(self._plain_weight().to_mkldnn(), *self.geometry, list(x.shape))
            self.weight = (x.shape[1:], weight)
        packed: torch.Tensor
        if plus is not None and self.dtype == torch.float32:
            packed = torch.ops.mkldnn._convolution_pointwise.binary(
                x, plus, weight, self.bias, *self.geometry, "add", 1.0, None, [], None
            )
            return packed
        packed = torch.ops.mkldnn._convolution_pointwise(
            x, weight, self.bias, *self.geometry, self.activation, [], ""
        )
        return packed if plus is None else plus + packed

    def __getstate__(self) -> dict[str, Any]:
        # A packed tensor can be neither copied nor sent to another process.
        return {**self.__dict__, "weight": (None, self._plain_weight())}


def pack_conv(conv: nn.Conv2d, dtype: torch.dtype, activation: Activation = "none") -> PackedConv:
    """The packed form of a convolution, and of the activation after it."""
    geometry: Any = (conv.padding, conv.stride, conv.dilation, conv.groups)
    return PackedConv(conv.weight, conv.bias, dtype, activation, *geometry)


def pack_map(
    weight: Float[torch.Tensor, "c_out c_in"], dtype: torch.dtype, activation: Activation = "none"
) -> PackedConv:
    """The packed form of a linear map of channels, as a 1 x 1 convolution."""
    return PackedConv(weight[:, :, None, None], None, dtype, activation)
