"""Each block of the decoder that has weights has a twin under its name that computes the same."""

import importlib
import pkgutil

import pytest
import torch
from torch import nn

from mambaad.inference import packed
from mambaad.inference.packed import lss
from mambaad.models.decoder import GridDecoder, MambaDecoder
from mambaad.models.mixers.table import MIXERS

MODULES = [
    importlib.import_module(f"{packed.__name__}.{module.name}")
    for module in pkgutil.iter_modules(packed.__path__)
]


def is_ours(module):
    return type(module).__module__.startswith("mambaad.models.")


def has_weights(module):
    """Tell whether it has some of its own or in PyTorch's layers, not in blocks of ours alone."""
    inner = (child for child in module.children() if not is_ours(child))
    return bool(list(module.parameters(recurse=False))) or any(map(has_weights, inner))


def twin_of(block):
    """The one class under the block's name that the package defines."""
    name = type(block).__name__
    classes = [vars(module).get(name) for module in MODULES]
    defined = [c for c, m in zip(classes, MODULES, strict=True) if c and c.__module__ == m.__name__]
    assert len(defined) == 1, f"{name} has {len(defined)} twins in mambaad.inference.packed"
    return defined[0]


@torch.no_grad()
def check_twins(decoder):
    """Compare each kind of block with its twin on what reaches the block; return their names."""
    blocks = {type(m): m for m in decoder.modules() if is_ours(m) and has_weights(m)}
    calls = {}
    for block in blocks.values():
        block.register_forward_hook(
            lambda block, given, output: calls.update({block: (given, output)})
        )
    decoder(torch.randn(2, 32, 4, 6))
    for block in blocks.values():
        given, expected = calls[block]
        found = twin_of(block)(block, torch.float32)(*(x.clone() for x in given))
        largest = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * largest)
    return {kind.__name__ for kind in blocks}


def small_decoder(mixer):
    torch.manual_seed(0)
    return MambaDecoder((4, 8, 16), (1, 1, 1, 1), states=4, kernels=(3,), mixer=mixer).eval()


@pytest.fixture
def decoder():
    return small_decoder("s6")


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_block_has_a_twin_that_computes_the_same(mixer):
    name = type(MIXERS[mixer](8, "hilbert", 2, 4, 1)).__name__
    found = check_twins(small_decoder(mixer))
    assert found == {"PatchExpand", "LSSModule", "HSSBlock", "LocalBranch", name}


def test_so_have_those_of_a_decoder_on_one_grid():
    torch.manual_seed(0)
    grid = GridDecoder(12, 2, 32, (1, 1, 1, 1), states=4, kernels=(3,)).eval()
    assert check_twins(grid) == {"GridHead", "LSSModule", "HSSBlock", "SS2D", "LocalBranch"}


def test_a_new_block_needs_a_twin(decoder):
    class Gate(nn.Module):
        __module__ = "mambaad.models.gate"

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            return x * self.linear(x)

    decoder.stages[2].lss_modules.append(Gate())
    with pytest.raises(AssertionError, match="Gate has 0 twins"):
        check_twins(decoder)


def test_a_twin_that_computes_something_else_is_noticed(decoder, monkeypatch):
    monkeypatch.setattr(lss.LocalBranch, "forward", lambda self, x: x)
    with pytest.raises(AssertionError, match="not close"):
        check_twins(decoder)
