"""Rewriting the convolutions of any network in place: norms folded, weights packed, ReLUs fused."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mambaad.inference.packed.convolution import PackedConv, pack_conv
from mambaad.models.parallel import BatchNorm2d


def rewrite_convolutions(network: nn.Module, dtype: torch.dtype) -> None:
    """Fold, pack and activate in a network in eval mode, whose children run in their order."""
    fold_batch_norms(network)
    pack_convolutions(network, dtype)
    for module in network.modules():
        if isinstance(module, nn.Sequential):  # in a residual block a sum comes between
            for pair in relus_after_convolutions(module):
                activate_with(module, *pair)


def fold_batch_norms(network: nn.Module) -> None:
    """Fold every batch norm that is the next child after a convolution into that convolution."""
    for module in network.modules():
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


def pack_convolutions(network: nn.Module, dtype: torch.dtype) -> None:
    """Replace every plain convolution padded with a number of zeros by its packed form."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if (
                type(child) is nn.Conv2d
                and child.padding_mode == "zeros"
                and not isinstance(child.padding, str)
            ):
                setattr(module, name, pack_conv(child, dtype))


def relus_after_convolutions(module: nn.Module) -> list[tuple[str, str]]:
    """Find the packed convolutions whose next child that does anything is a ReLU.

    Returns:
        Names of children: a convolution and its ReLU.
    """
    pairs: list[tuple[str, str]] = []
    last: tuple[str, nn.Module] | None = None
    for name, child in module.named_children():
        if isinstance(child, nn.Identity):
            continue
        if isinstance(child, nn.ReLU) and last is not None and isinstance(last[1], PackedConv):
            pairs.append((last[0], name))
        last = (name, child)
    return pairs


def activate_with(module: nn.Module, conv_name: str, relu_name: str) -> None:
    """Let a packed convolution do the ReLU after it."""
    conv: Any = copy.copy(getattr(module, conv_name))
    conv.activation = "relu"
    setattr(module, conv_name, conv)
    setattr(module, relu_name, nn.Identity())
