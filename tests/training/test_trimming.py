import numpy as np
import pytest
import torch

from mambaad.training.loss import cosine_loss
from mambaad.training.trimming import trimmed


@pytest.fixture
def maps():
    """Make features and their reconstruction, which takes gradients: two scales of three images."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 8, 5), (3, 6, 4, 3)]
    features = [torch.randn(shape, generator=generator) for shape in shapes]
    noise = [torch.randn(shape, generator=generator) for shape in shapes]
    rebuilt = [(f + n).requires_grad_() for f, n in zip(features, noise, strict=True)]
    return features, rebuilt


def farthest(features, rebuilt, share):
    """Positions b x h x w of the largest cosine distances, one by one."""
    count, _, height, width = features.shape
    distances = {}
    for place in np.ndindex(count, height, width):
        f, g = (m.detach().numpy()[place[0], :, place[1], place[2]] for m in (features, rebuilt))
        distances[place] = 1 - f @ g / np.sqrt((f @ f) * (g @ g))
    worst = sorted(distances, key=distances.__getitem__, reverse=True)
    return set(worst[: int(share * len(worst))])


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_farthest_positions_of_each_scale_take_no_gradient(maps, share):
    features, rebuilt = maps
    for scale, f, g in zip(trimmed(features, rebuilt, share), features, rebuilt, strict=True):
        (gradient,) = torch.autograd.grad(scale.square().sum(), g)
        still = (gradient == 0).all(dim=1)
        assert {tuple(place) for place in still.nonzero().tolist()} == farthest(f, g, share)
        moving = ~still.unsqueeze(1).expand_as(g)
        torch.testing.assert_close(gradient[moving], 2 * g.detach()[moving])


def test_no_value_changes_and_so_no_loss(maps):
    features, rebuilt = maps
    kept = trimmed(features, rebuilt, 0.2)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(kept, rebuilt, strict=True))
    assert torch.equal(cosine_loss(features, kept), cosine_loss(features, rebuilt))


def test_nothing_is_trimmed_without_a_share_or_of_too_few_positions(maps):
    features, rebuilt = maps
    assert all(a is b for a, b in zip(trimmed(features, rebuilt, 0.0), rebuilt, strict=True))
    # A hundredth of 36 positions is none.
    coarse = trimmed(features[1:], rebuilt[1:], 0.01)[0]
    (gradient,) = torch.autograd.grad(coarse.sum(), rebuilt[1])
    assert (gradient == 1).all()


def test_half_precision_keeps_its_type(maps):
    features, rebuilt = ([m.detach().bfloat16() for m in side] for side in maps)
    for scale, g in zip(trimmed(features, rebuilt, 0.1), rebuilt, strict=True):
        assert scale.dtype == torch.bfloat16
        assert torch.equal(scale, g)


def test_no_value_is_read_on_the_way(maps):
    # On a device without values whatever reads one, or has a shape that depends on one, raises.
    features, rebuilt = ([m.detach().to("meta") for m in side] for side in maps)
    shapes = [scale.shape for scale in trimmed(features, rebuilt, 0.1)]
    assert shapes == [g.shape for g in rebuilt]
