"""The model in the form that runs fastest on a CPU: the same function, laid out beforehand.

Batch norms go into the convolutions before them; every convolution and map of channels keeps its
weights in the layout that oneDNN's kernels want, with the activation that follows done by the
kernel; what depends on parameters alone is computed once. Optionally in bfloat16: encoder and
fusion, and the decoder's products and convolutions; its scan, norms and sums stay in float32.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mambaad.errors import ConfigError
from mambaad.models.decoder import PatchExpand
from mambaad.models.lss import LocalBranch, LSSModule
from mambaad.models.mambaad import MambaAD
from mambaad.models.mixers.ss2d import HSSBlock
from mambaad.models.parallel import BatchNorm2d
from mambaad.models.system import System
from mambaad.ops.instance_norm import instance_norm_silu_
from mambaad.ops.order_tables import order_table
from mambaad.ops.selective_scan.dispatch import selective_scan

Precision = Literal["float32", "bfloat16"]
PRECISIONS: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Of the matrix products and convolutions."""

Activation = Literal["none", "relu", "swish"]
_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda y: y,
    "relu": F.relu,
    "swish": F.silu,
}


@functools.lru_cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Whether PyTorch has these operators, and the processor what they need.

    They are PyTorch's own for its compiler, without a public name: hence the other way.
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


@torch.inference_mode(False)  # tensors of inference mode could not be used outside of it
@torch.no_grad()
def prepare(model: System, precision: Precision = "float32") -> System:
    """Turn a model in eval mode into its form for inference; it can neither train nor be saved.

    Of systems other than MambaAD: encoder, batch norms and convolutions.

    Args:
        model: on a CPU; it is changed in place.
        precision: ``"float32"`` gives the model's values to rounding; ``"bfloat16"``, for
            processors that have it (AVX512-BF16, AMX), is faster, to about three digits.

    Raises:
        ConfigError: no such precision, or bfloat16 for another system.
    """
    check_precision(precision)
    dtype = PRECISIONS[precision]
    if not isinstance(model, MambaAD) and dtype != torch.float32:
        raise ConfigError(f"--precision: {type(model).__name__} has float32 only; leave it out")
    prepare_encoder(model.encoder, dtype)
    if isinstance(model, MambaAD):
        _prepare_mambaad(model, dtype)
    else:
        for part in (child for name, child in model.named_children() if name != "encoder"):
            _prepare_convolutions(part, dtype)
    return model


def _prepare_convolutions(part: nn.Module, dtype: torch.dtype) -> None:
    _fold_batch_norms(part)
    _pack_convolutions(part, dtype)
    for module in part.modules():
        if isinstance(module, nn.Sequential):  # in a residual block a sum comes between
            for pair in _relus_after_convolutions(module):
                _activate_with(module, *pair)


def _prepare_mambaad(model: MambaAD, dtype: torch.dtype) -> None:
    _prepare_convolutions(model.fusion, dtype)
    decoder: Any = model.decoder
    for stage in decoder.stages:
        if isinstance(stage.upsample, PatchExpand):
            stage.upsample = _PatchExpand(stage.upsample, dtype)
        for name, child in stage.lss_modules.named_children():
            setattr(stage.lss_modules, name, _LSSModule(child, dtype))
    if dtype != torch.float32:
        model.encoder = _Cast(model.encoder.to(dtype), dtype)
        model.fusion = _Cast(model.fusion.to(dtype), dtype)


def check_precision(precision: str) -> None:
    """Refuse a precision that there is not (ConfigError)."""
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise ConfigError(f"--precision: expected one of {known}, got '{precision}'")


class _Packed(nn.Module):
    """A convolution on maps b x c x h x w, and the activation after it, in ``dtype``."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
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
        self.can_pack = _can_pack(dtype)
        # Plain, or packed for maps of a shape (without the batch), on which the best layout
        # depends. One value, so that a thread never sees half of what another one changes.
        self.weight: tuple[torch.Size | None, torch.Tensor]
        self.weight = (None, weight.detach().to(dtype).contiguous())

    def change_type(self, dtype: torch.dtype) -> None:
        """Compute in another type from now on."""
        self.dtype, self.can_pack = dtype, _can_pack(dtype)
        self.weight = (None, self._plain_weight().to(dtype))
        self.bias = None if self.bias is None else self.bias.to(dtype)

    def _plain_weight(self) -> torch.Tensor:
        shape, weight = self.weight
        return weight if shape is None else weight.to_dense()

    def forward(
        self, x: Float[torch.Tensor, "b c h w"], plus: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Convolve and activate.

        With ``plus``, a float32 map, the sum of both in its type, for one without activation.
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


def _packed_conv(conv: nn.Conv2d, dtype: torch.dtype, activation: Activation = "none") -> _Packed:
    geometry: Any = (conv.padding, conv.stride, conv.dilation, conv.groups)
    return _Packed(conv.weight, conv.bias, dtype, activation, *geometry)


def _channel_map(
    weight: torch.Tensor, dtype: torch.dtype, activation: Activation = "none"
) -> _Packed:
    return _Packed(weight[:, :, None, None], None, dtype, activation)


class _LSSModule(nn.Module):
    """:class:`mambaad.models.lss.LSSModule`."""

    def __init__(self, trained: LSSModule, dtype: torch.dtype) -> None:
        super().__init__()
        blocks: Any = trained.hss_blocks
        branches: Any = trained.local_branches
        merge: Any = trained.merge
        self.hss_blocks = nn.Sequential(*(_HSSBlock(block, dtype) for block in blocks))
        self.local_branches = nn.ModuleList(_LocalBranch(branch, dtype) for branch in branches)
        if branches:
            self.merge = _packed_conv(merge, dtype)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h w c"]:
        if not self.local_branches:
            scanned: torch.Tensor = self.hss_blocks(x)
            return scanned
        cells = x.permute(0, 3, 1, 2)
        branches = [self.hss_blocks(x).permute(0, 3, 1, 2)]
        branches += [branch(cells) for branch in self.local_branches]
        merged: torch.Tensor = self.merge(torch.cat(branches, dim=1), plus=cells)
        return merged.permute(0, 2, 3, 1)


class _HSSBlock(nn.Module):
    """:class:`mambaad.models.mixers.ss2d.HSSBlock`."""

    def __init__(self, block: HSSBlock, dtype: torch.dtype) -> None:
        super().__init__()
        trained = block.ss2d
        self.norm_in = block.norm
        self.scan = trained.scan
        self.directions = trained.directions
        x_weight, z_weight = trained.in_proj.weight.chunk(2)
        self.to_x = _channel_map(x_weight, dtype)
        self.to_z = _channel_map(z_weight, dtype, "swish")
        self.conv = _packed_conv(trained.conv, dtype, "swish")
        self.to_proj = _channel_map(trained.scan_proj, dtype)
        self.parameters_of_scan = (
            trained.dt_weight.detach().float(),
            trained.dt_bias.detach().float(),
            -torch.exp(trained.A_log.detach().float()),
            trained.skip.detach().float(),
        )
        self.norm = trained.norm
        self.to_out = _channel_map(trained.out_proj.weight, dtype)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h w c"]:
        cells = self.norm_in(x).permute(0, 3, 1, 2).to(self.to_x.dtype)
        u = self.conv(self.to_x(cells))
        y = selective_scan(
            u.permute(0, 2, 3, 1).flatten(1, 2),
            self.to_proj(u).permute(0, 2, 3, 1).flatten(1, 2),
            *self.parameters_of_scan,
            order_table(self.scan, self.directions, x.shape[1], x.shape[2], x.device),
        )
        gated = self.norm(y).mul_(self.to_z(cells).permute(0, 2, 3, 1).flatten(1, 2))
        mixed = gated.unflatten(1, x.shape[1:3]).permute(0, 3, 1, 2)
        out: torch.Tensor = self.to_out(mixed, plus=x.permute(0, 3, 1, 2))
        return out.permute(0, 2, 3, 1)


class _LocalBranch(nn.Module):
    """:class:`mambaad.models.lss.LocalBranch`."""

    def __init__(self, trained: LocalBranch, dtype: torch.dtype) -> None:
        super().__init__()
        convs = (trained.before, trained.depthwise, trained.after)
        self.convs = nn.ModuleList(_packed_conv(conv, dtype) for conv in convs)

    def forward(self, x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c h w"]:
        for conv in self.convs:
            x = instance_norm_silu_(conv(x).float())
        return x


class _PatchExpand(nn.Module):
    """:class:`mambaad.models.decoder.PatchExpand`."""

    def __init__(self, trained: PatchExpand, dtype: torch.dtype) -> None:
        super().__init__()
        self.expand = _channel_map(trained.expand.weight, dtype)
        self.norm = trained.norm

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h2 w2 c2"]:
        x = self.expand(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).float()
        normalised: torch.Tensor = self.norm(PatchExpand.rearrange(x))
        return normalised


class _Cast(nn.Module):
    """Maps in and out in float32, whatever they are inside."""

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = inner
        self.dtype = dtype

    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        given = x.to(self.dtype) if isinstance(x, torch.Tensor) else [t.to(self.dtype) for t in x]
        y = self.inner(given)
        return y.float() if isinstance(y, torch.Tensor) else [t.float() for t in y]


def prepare_encoder(encoder: nn.Module, dtype: torch.dtype) -> None:
    """Fold and pack an encoder; not where that changes what it computes.

    What follows a convolution in a module need not follow it in its forward, which may also want
    to know more of a convolution than what it computes: the encoder may be any of timm's.
    """
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = encoder(image)

    def try_to(change: Callable[[], None]) -> None:
        kept = [(module, dict(module.named_children())) for module in encoder.modules()]
        change()
        try:
            same = all(
                torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))
                for a, b in zip(encoder(image), before, strict=True)
            )
        except (AttributeError, TypeError, RuntimeError):
            same = False
        if not same:
            for module, children in kept:
                for name, child in children.items():
                    setattr(module, name, child)

    try_to(lambda: _fold_batch_norms(encoder))
    try_to(lambda: _pack_convolutions(encoder, torch.float32))
    # All blocks of a kind at once: in a single one a ReLU after a sum may happen to change nothing.
    kinds: dict[tuple[type, str, str], list[nn.Module]] = {}
    for module in encoder.modules():
        for pair in _relus_after_convolutions(module):
            kinds.setdefault((type(module), *pair), []).append(module)
    for (_, *names), modules in kinds.items():
        try_to(functools.partial(_activate_all, modules, *names))
    if dtype != torch.float32:
        for module in encoder.modules():
            if isinstance(module, _Packed):
                module.change_type(dtype)


def _fold_batch_norms(part: nn.Module) -> None:
    for module in part.modules():
        last: tuple[str, nn.Module] | None = None
        for name, child in list(module.named_children()):
            if (
                type(child) in (nn.BatchNorm2d, BatchNorm2d)
                and last is not None
                and type(last[1]) is nn.Conv2d
                and last[1].out_channels == child.num_features
            ):
                conv: Any = last[1]
                norm: Any = child
                setattr(module, last[0], fuse_conv_bn_eval(conv, norm))
                setattr(module, name, nn.Identity())
            last = (name, child)


def _relus_after_convolutions(module: nn.Module) -> list[tuple[str, str]]:
    """Names of the packed convolutions whose next child that does anything is a ReLU, and its."""
    pairs: list[tuple[str, str]] = []
    last: tuple[str, nn.Module] | None = None
    for name, child in module.named_children():
        if isinstance(child, nn.Identity):
            continue
        if isinstance(child, nn.ReLU) and last is not None and isinstance(last[1], _Packed):
            pairs.append((last[0], name))
        last = (name, child)
    return pairs


def _activate_all(modules: Iterable[nn.Module], conv_name: str, relu_name: str) -> None:
    for module in modules:
        _activate_with(module, conv_name, relu_name)


def _activate_with(module: nn.Module, conv_name: str, relu_name: str) -> None:
    """Let a packed convolution do the ReLU after it."""
    conv: Any = copy.copy(getattr(module, conv_name))
    conv.activation = "relu"
    setattr(module, conv_name, conv)
    setattr(module, relu_name, nn.Identity())


def _pack_convolutions(part: nn.Module, dtype: torch.dtype) -> None:
    for module in list(part.modules()):
        for name, child in module.named_children():
            if (
                type(child) is nn.Conv2d
                and child.padding_mode == "zeros"
                and not isinstance(child.padding, str)
            ):
                setattr(module, name, _packed_conv(child, dtype))
