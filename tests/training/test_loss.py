import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mambaad.training.loss import (
    LOSSES,
    WEIGHT,
    cosine_loss,
    loosen_by_quantile,
    loosen_softly,
    squared_error_loss,
    training_loss,
)


@pytest.fixture
def maps():
    """Make features and their reconstruction: two scales of three images, in float64."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return [[some(3, 3, 8, 6), some(3, 5, 4, 3)] for _ in range(2)]


def by_image(maps):
    """Yield the scales of each image, features beside reconstruction, as vectors of numpy."""
    ours, theirs = maps
    for image in range(3):
        pairs = zip(ours, theirs, strict=True)
        yield [(a[image].numpy().ravel(), b[image].numpy().ravel()) for a, b in pairs]


# In float32, of some hundred terms: a relative error of about 1e-7 each.
FLOAT32 = {"rtol": 1e-6}


def test_squared_error_of_an_image_is_five_times_the_sum_of_its_scales_means(maps):
    expected = [5 * sum(((a - b) ** 2).mean() for a, b in scales) for scales in by_image(maps)]
    losses = squared_error_loss(*maps)
    assert losses.dtype == torch.float32
    np.testing.assert_allclose(losses, expected, **FLOAT32)


def test_cosine_loss_of_an_image_takes_its_map_as_one_vector(maps):
    expected = [
        sum(1 - a @ b / np.sqrt(a @ a * (b @ b)) for a, b in scales) for scales in by_image(maps)
    ]
    losses = cosine_loss(*maps)
    assert losses.dtype == torch.float32
    np.testing.assert_allclose(losses, expected, **FLOAT32)


def test_the_means_are_the_released_losses_over_a_batch(maps):
    pairs = [(b.float(), a.float()) for a, b in zip(*maps, strict=True)]
    squared = WEIGHT * sum(F.mse_loss(theirs, ours) for theirs, ours in pairs)
    cosine = sum(
        1 - F.cosine_similarity(theirs.flatten(1), ours.flatten(1)).mean() for theirs, ours in pairs
    )
    torch.testing.assert_close(squared_error_loss(*maps).mean(), squared, rtol=1e-6, atol=0)
    torch.testing.assert_close(cosine_loss(*maps).mean(), cosine, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_an_image_loses_the_same_in_any_batch(maps, name):
    ours, theirs = maps
    alone = LOSSES[name]([a[1:2] for a in ours], [b[1:2] for b in theirs])
    torch.testing.assert_close(LOSSES[name](*maps)[1:2], alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_reconstruction_costs_nothing(maps, name):
    ours, _ = maps
    # A cosine of 1 in float32, at each of two scales.
    np.testing.assert_allclose(LOSSES[name](ours, ours), np.zeros(3), atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_map_of_zeros_has_a_finite_gradient(name):
    ours = [torch.zeros(1, 4, 2, 2)]
    theirs = [torch.zeros(1, 4, 2, 2, requires_grad=True)]
    LOSSES[name](ours, theirs).mean().backward()
    assert theirs[0].grad.isfinite().all()


def gradients(features, loosen):
    """The gradients of the cosine loss in random reconstructions, plain and loosened."""
    generator = torch.Generator().manual_seed(1)
    found = []
    rebuilt = [f + 0.5 * torch.randn(f.shape, generator=generator) for f in features]
    for change in (lambda f, g: g, loosen):
        leaves = [r.clone().requires_grad_() for r in rebuilt]
        changed = change(features, leaves)
        assert all(torch.equal(a, b) for a, b in zip(changed, leaves, strict=True))
        cosine_loss(features, changed).sum().backward()
        found.append([leaf.grad for leaf in leaves])
    return rebuilt, *found


def distances(features, rebuilt):
    """One minus the cosine of each cell, by its formula, of each scale."""
    for a, b in zip(features, rebuilt, strict=True):
        yield 1 - (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_cells_below_the_quantile_pass_on_a_tenth_of_their_gradient(maps, share):
    features = [m.float() for m in maps[0]]
    rebuilt, plain, loosened = gradients(
        features, lambda f, g: loosen_by_quantile(f, g, torch.tensor(share))
    )
    for d, before, after in zip(distances(features, rebuilt), plain, loosened, strict=True):
        threshold = np.quantile(d.numpy(), share, method="lower")
        expected = before * torch.where(d < threshold, 0.1, 1.0)[:, None]
        torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-9)
        assert (d < threshold).float().mean() == pytest.approx(share, abs=0.05)


def test_soft_weights_are_the_cube_of_the_relative_distance_up_to_1(maps):
    features = [m.float() for m in maps[0]]
    rebuilt, plain, loosened = gradients(features, loosen_softly)
    for d, before, after in zip(distances(features, rebuilt), plain, loosened, strict=True):
        weight = ((d / d.mean()) ** 3).clamp(max=1)
        torch.testing.assert_close(after, before * weight[:, None], rtol=1e-4, atol=1e-9)
        assert 0.2 < (weight == 1).float().mean() < 0.8


@pytest.mark.parametrize("loose", ["quantile", "soft"])
def test_a_loose_loss_has_the_values_of_the_plain_one(maps, loose):
    assert torch.equal(training_loss(*maps, "cosine", loose, 0.9), cosine_loss(*maps))


@pytest.mark.parametrize("loose", ["quantile", "soft"])
def test_a_loose_loss_of_perfect_and_of_empty_maps_has_finite_gradients(loose):
    for value in (0.0, 1.0):
        ours = [torch.full((2, 4, 2, 2), value)]
        theirs = [ours[0].clone().requires_grad_()]
        training_loss(ours, theirs, "cosine", loose, 0.9).mean().backward()
        assert theirs[0].grad.isfinite().all()
