import pytest
import torch

from mambaad.models.embedding import distances_to, embedding


def test_an_embedding_does_not_depend_on_the_place_of_things():
    features = [torch.rand(2, c, 4, 4) for c in (3, 5)]
    shifted = [f.roll((1, 2), dims=(2, 3)) for f in features]
    assert torch.allclose(embedding(features), embedding(shifted))
    assert embedding(features).shape == (2, 8)
    assert embedding(features).square().sum(1) == pytest.approx([2, 2])  # each scale at length 1


def test_distances_are_euclidean_and_small_ones_are_exact():
    prototypes = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    embedded = torch.tensor([[0.0, 0.0], [3.0, 4.0 + 2**-20]])
    found = distances_to(prototypes, embedded)
    assert found.tolist() == [[0, 5], [pytest.approx(5, rel=1e-6), 2**-20]]


def test_without_prototypes_there_are_no_distances():
    assert distances_to(torch.empty(0, 0), torch.rand(3, 8)).shape == (3, 0)
