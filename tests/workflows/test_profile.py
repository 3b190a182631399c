import pytest
import torch

from mambaad.config import make_config
from mambaad.workflows.profile import _scan_flops, profile

LITE = {"variant": "lite", "encoder": "resnet18", "size": "64"}


@pytest.fixture(scope="module")
def parts_of_lite():
    return {part.name: part for part in profile(make_config(LITE))}


def test_parts_are_the_whole(parts_of_lite):
    *parts, whole = parts_of_lite.values()
    assert [part.name for part in parts] == ["encoder", "fusion", "decoder"]
    assert whole.name == "whole"
    for count in ("parameters", "trained", "flops"):
        assert sum(getattr(part, count) for part in parts) == getattr(whole, count)
    assert sum(part.seconds for part in parts) == pytest.approx(whole.seconds, rel=0.5)


def test_encoders_flops_are_those_counted_by_hand(parts_of_lite):
    """ResNet-18 to stage 3, twice the multiply-adds of its convolutions."""
    stem = 7 * 7 * 3 * 64 * 32**2
    stages = 0
    for c_in, c_out, side in ((64, 64, 16), (64, 128, 8), (128, 256, 4)):
        first = 9 * c_in * c_out + 9 * c_out**2 + (c_in * c_out if c_in != c_out else 0)
        stages += side**2 * (first + 2 * 9 * c_out**2)
    assert parts_of_lite["encoder"].flops == 2 * (stem + stages)


def test_scans_flops_are_those_of_a_loop_that_counts():
    batch, length, channels, directions, states, rank = 2, 3, 4, 2, 5, 3
    count = 0
    for _ in range(batch * length * directions * channels):
        count += 2 * rank  # W low + bias: as many sums as products
        count += 1  # dt u
        for _ in range(states):
            count += 7  # dt A, exp, decay h, (dt u) B, +, C h, +
        count += 2  # skip u, +
    found = _scan_flops(
        (batch, length, channels),
        (batch, length, directions * (rank + 2 * states)),
        (directions, channels, rank),
        (directions, channels),
        (directions, channels, states),
    )
    assert found == count


@pytest.mark.parametrize("system", ["rd4ad", "uniad"])
def test_other_systems_have_parts_too(system):
    size = {"rd4ad": "64", "uniad": "128"}[system]
    *parts, whole = profile(make_config({"system": system, "encoder": "resnet18", "size": size}))
    assert sum(part.parameters for part in parts) == whole.parameters
    assert sum(part.flops for part in parts) == whole.flops > 0


def test_attention_is_counted():
    """Two products of l x l x c in each layer and attention, whatever PyTorch calls them."""
    torch.manual_seed(0)
    config = make_config({"system": "uniad", "encoder": "resnet18", "size": "128"})
    transformer = {part.name: part for part in profile(config)}["transformer"]
    cells, width, inner, layers = 64, 256, 1024, 4
    products = 4 * width**2 * cells  # of an attention: queries, keys, values, output
    attention = products + 2 * cells**2 * width
    feed_forward = 2 * width * inner * cells
    encoder, decoder = attention + feed_forward, 2 * attention + feed_forward
    assert transformer.flops == 2 * layers * (encoder + decoder)
