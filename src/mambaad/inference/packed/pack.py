"""The model in the form that runs fastest on a CPU: the same function, laid out beforehand.

Batch norms go into the convolutions before them; every convolution and map of channels keeps its
weights in the layout that oneDNN's kernels want, with the activation that follows done by the
kernel; what depends on parameters alone is computed once. Optionally in bfloat16: encoder and
fusion, and the decoder's products and convolutions; its scan, norms and sums stay in float32.

Each block of the decoder has a twin here of the same name and in a file of the same name as under
:mod:`mambaad.models`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mambaad.errors import ConfigError
from mambaad.inference.compute import Precision, check_precision
from mambaad.inference.packed.decoder import GridHead, PatchExpand
from mambaad.inference.packed.encoder import pack_encoder
from mambaad.inference.packed.lss import LSSModule
from mambaad.inference.packed.rewrite import rewrite_convolutions
from mambaad.models import decoder as plain
from mambaad.models.mambaad import MambaAD
from mambaad.models.system import System

_DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@torch.inference_mode(False)  # tensors of inference mode could not be used outside of it
@torch.no_grad()
def pack(model: System, precision: Precision = "float32") -> System:
    """Turn a model in eval mode into its form for inference; it can neither train nor be saved.

    In systems other than MambaAD the encoder, batch norms and convolutions are packed.

    Args:
        model: on a CPU; it is changed in place.
        precision: ``"float32"`` gives the model's values to rounding; ``"bfloat16"``, for
            processors that have it (AVX512-BF16, AMX), is faster, to about three digits.

    Raises:
        ConfigError: an unknown precision, or bfloat16 for a system other than MambaAD.
    """
    check_precision(precision)
    dtype = _DTYPES[precision]
    if not isinstance(model, MambaAD) and dtype != torch.float32:
        raise ConfigError(f"--precision: {type(model).__name__} has float32 only; omit it")
    pack_encoder(model.encoder, dtype)
    if isinstance(model, MambaAD):
        _pack_mambaad(model, dtype)
        if model.head is not None:  # in float32, as the anomaly map
            rewrite_convolutions(model.head, torch.float32)
    else:
        for part in (child for name, child in model.named_children() if name != "encoder"):
            rewrite_convolutions(part, dtype)
    return model


def _pack_mambaad(model: MambaAD, dtype: torch.dtype) -> None:
    rewrite_convolutions(model.fusion, dtype)
    decoder: Any = model.decoder
    for stage in decoder.stages:
        if isinstance(stage.upsample, plain.PatchExpand):
            stage.upsample = PatchExpand(stage.upsample, dtype)
        for name, child in stage.lss_modules.named_children():
            setattr(stage.lss_modules, name, LSSModule(child, dtype))
    if isinstance(model.decoder, plain.GridDecoder):
        decoder.heads = nn.ModuleList(GridHead(head, dtype) for head in decoder.heads)
    if dtype != torch.float32:
        model.encoder = _Cast(model.encoder.to(dtype), dtype)
        model.fusion = _Cast(model.fusion.to(dtype), dtype)


class _Cast(nn.Module):
    """A network in ``dtype`` whose maps in and out are in float32."""

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = inner
        self.dtype = dtype

    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        given = x.to(self.dtype) if isinstance(x, torch.Tensor) else [t.to(self.dtype) for t in x]
        y = self.inner(given)
        return y.float() if isinstance(y, torch.Tensor) else [t.float() for t in y]
