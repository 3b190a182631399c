import numpy as np
import pytest
import torch

from mambaad.training.loss import LOSSES, cosine_loss, squared_error_loss


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return [[some(2, 3, 8, 6), some(2, 5, 4, 3)] for _ in range(2)]


def test_squared_error_is_five_times_the_sum_of_means(maps):
    ours, theirs = maps
    by_hand = 0.0
    for a, b in zip(ours, theirs, strict=True):
        differences = [(x - y) ** 2 for x, y in zip(a.flatten(), b.flatten(), strict=True)]
        by_hand += 5 * sum(differences) / len(differences)
    assert squared_error_loss(ours, theirs).item() == pytest.approx(float(by_hand), rel=1e-6)


def test_cosine_takes_each_images_map_as_one_vector(maps):
    ours, theirs = maps
    by_hand = 0.0
    for a, b in zip(ours, theirs, strict=True):
        a, b = a.flatten(1).numpy(), b.flatten(1).numpy()
        by_hand += np.mean(
            [1 - x @ y / np.sqrt(x @ x * (y @ y)) for x, y in zip(a, b, strict=True)]
        )
    assert cosine_loss(ours, theirs).item() == pytest.approx(float(by_hand), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_reconstruction_costs_nothing(maps, name):
    ours, _ = maps
    assert LOSSES[name](ours, ours).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_map_of_zeros_has_a_finite_gradient(name):
    ours = [torch.zeros(1, 4, 2, 2)]
    theirs = [torch.zeros(1, 4, 2, 2, requires_grad=True)]
    LOSSES[name](ours, theirs).backward()
    assert theirs[0].grad.isfinite().all()
