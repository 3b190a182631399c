"""The module of scans and local convolutions."""

import math

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mambaad.models.lss import HSSBlock, LocalBranch, LSSModule
from mambaad.models.mixers import ss2d
from mambaad.models.released import load_released
from mambaad.ops.selective_scan import operator
from tests.conftest import fill
from tests.models.conftest import lss_shapes


@torch.inference_mode()
def test_released_values(golden):
    module = LSSModule(16, 3).eval()
    load_released(module, fill(lss_shapes(16, 3)))
    y = module(torch.tensor(golden["lss/x"]))
    torch.testing.assert_close(y, torch.tensor(golden["lss/y"]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("stage", "channels", "blocks"), [(0, 512, 3), (1, 256, 2), (2, 128, 3)])
def test_released_names_are_as_these_tests_derive_them(stage, channels, blocks, released_shapes):
    prefix = f"net_s.layers_up.{stage}.blocks.0."
    released = {
        key.removeprefix(prefix): shape
        for key, shape in released_shapes.items()
        if key.startswith(prefix) and "index_flat" not in key
    }
    assert lss_shapes(channels, blocks) == released


@torch.inference_mode()
@pytest.mark.parametrize("size", [(2, 1), (7, 10), (8, 8)])
def test_any_size_of_map(size):
    x = torch.randn(2, *size, 6)
    module = LSSModule(6, 1).eval()
    assert module(x).shape == x.shape
    torch.testing.assert_close(module(x)[1:], module(x[1:]))  # images are apart


@torch.inference_mode()
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_local_branch_normalises_each_channel_of_each_image(memory_format):
    branch = LocalBranch(6, 5)
    x = y = torch.randn(2, 6, 4, 7).contiguous(memory_format=memory_format)
    for conv in (branch.before, branch.depthwise, branch.after):
        y = F.silu(F.instance_norm(conv(y)))
    torch.testing.assert_close(branch(x), y)


def test_kernels_and_blocks_are_settings():
    module = LSSModule(6, 2, 0.3, "sweep", 4, kernels=(3, 5, 9))
    assert [b.depthwise.kernel_size for b in module.local_branches] == [(3, 3), (5, 5), (9, 9)]
    assert [b.drop_path.rate for b in module.hss_blocks] == [0.3, 0.3]
    assert [(b.ss2d.scan, b.ss2d.directions) for b in module.hss_blocks] == [("sweep", 4)] * 2
    assert module(torch.randn(2, 3, 5, 6)).shape == (2, 3, 5, 6)


def test_initialisation_of_convolutions_is_the_released_one():
    # Depthwise 5 x 5, 7 x 7 and 3 x 3 at any width; 1 x 1 by the channels that it makes.
    stated = {(5, 5): 0.28, (7, 7): 0.20, (3, 3): 0.47, (1, 1): math.sqrt(2 / 96)}
    found = {}
    for conv in (m for m in LSSModule(96, 1).modules() if isinstance(m, nn.Conv2d)):
        found.setdefault(conv.kernel_size, []).append(conv.weight.std().item())
        assert conv.bias is None or not conv.bias.any()
    assert found.keys() == stated.keys()
    for kernel, deviations in found.items():
        assert deviations == pytest.approx([stated[kernel]] * len(deviations), rel=0.08)


def test_a_map_of_a_single_cell():
    # 32 x 32 images end in one: instance normalisation of one value is 0, and no error.
    module = LSSModule(16, blocks=1).eval()
    x = torch.randn(1, 1, 1, 16, generator=torch.Generator().manual_seed(0))
    alone, with_another = module(x), module(torch.cat([x, x + 1]))[:1]
    assert torch.allclose(alone, with_another, atol=1e-6)
    assert alone.isfinite().all()


@torch.inference_mode()
def test_hss_block_adds_the_scan_of_the_normalised_map():
    block, x = HSSBlock(8, 0.5, "hilbert", 8).eval(), torch.randn(2, 3, 4, 8)
    torch.testing.assert_close(block(x), x + block.ss2d(F.layer_norm(x, (8,))), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_hss_block_skips_the_scan_for_whole_images():
    block, x = HSSBlock(8, 0.5, "hilbert", 8).train(), torch.randn(32, 3, 4, 8)
    changed = (block(x) != x).flatten(1).float().mean(1)
    assert set((changed > 0.5).tolist()) == {True, False}
    assert (changed[changed <= 0.5] == 0).all()


class MapCasts(TorchDispatchMode):
    """Lists the casts of tensors of some size or more, as pairs of dtypes."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least = least
        self.found: list[tuple[torch.dtype, torch.dtype]] = []

    def __torch_dispatch__(self, function, types, given=(), named=None):
        result = function(*given, **(named or {}))
        if function is torch.ops.aten._to_copy.default and given[0].numel() >= self.least:
            self.found.append((given[0].dtype, result.dtype))
        return result


def test_in_half_precision_a_gpu_casts_each_map_once(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(operator, "_wanted", "auto")
    blocks, (batch, side, channels) = 2, (2, 16, 8)
    module = LSSModule(channels, blocks, states=2, directions=2)
    with FakeTensorMode():  # the operations on a GPU, without one
        weights = {n: torch.empty(p.shape, device="cuda") for n, p in module.named_parameters()}
        x = torch.empty(batch, side, side, channels, device="cuda")
        monkeypatch.setattr(
            ss2d,
            "order_table",
            lambda *_: torch.empty(2, side**2, dtype=torch.int32, device="cuda"),
        )
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        torch.set_autocast_enabled("cuda", True)
        try:
            with MapCasts(x.numel()) as casts:
                y = torch.func.functional_call(module, weights, (x,))
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.clear_autocast_cache()
    assert (y.dtype, y.shape) == (torch.float32, x.shape)
    # What enters each block and the product at its end; the module's own map, and what its blocks
    # make of it. Nothing goes back: the scan and the norms take bfloat16, and sum in float32.
    assert casts.found == [(torch.float32, torch.bfloat16)] * (2 * blocks + 2)
