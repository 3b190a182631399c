import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, uniform_filter
from torch import nn

from mambaad.models.scoring import anomaly_map, image_score, measure, smooth
from mambaad.models.system import Reconstruction, System


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96), (7, 5)])
@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_smooth_is_scipys_gaussian_filter(height, width, sigma):
    maps = torch.rand(2, height, width, generator=torch.Generator().manual_seed(0))
    expected = np.stack([gaussian_filter(m, sigma) for m in maps.double().numpy()])
    np.testing.assert_allclose(smooth(maps, sigma), expected, atol=1e-6)


def pixel_loop_map(features, reconstructed, size):
    """The unsmoothed map of one image, pixel by pixel from its definition."""
    height, width = size
    total = np.zeros(size)
    for f, g in zip(features, reconstructed, strict=True):
        f, g = f[0].double().numpy(), g[0].double().numpy()
        cosine = (f * g).sum(0) / np.sqrt((f * f).sum(0) * (g * g).sum(0))
        distance = 1 - cosine
        h, w = distance.shape
        for y in range(height):
            for x in range(width):
                v, u = y * (h - 1) / (height - 1), x * (w - 1) / (width - 1)
                i, j = min(int(v), h - 2), min(int(u), w - 2)
                a, b = v - i, u - j
                total[y, x] += (
                    distance[i, j] * (1 - a) * (1 - b)
                    + distance[i, j + 1] * (1 - a) * b
                    + distance[i + 1, j] * a * (1 - b)
                    + distance[i + 1, j + 1] * a * b
                )
    return total / len(features)


def test_euclidean_map_is_the_length_of_the_difference():
    generator = torch.Generator().manual_seed(1)
    ours, theirs = torch.randn(2, 2, 5, 8, 8, generator=generator)
    found = anomaly_map([ours], [theirs], (8, 8), sigma=0.0, distance="euclidean")
    expected = np.linalg.norm(ours.numpy() - theirs.numpy(), axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_map_is_the_mean_cosine_distance_over_scales():
    generator = torch.Generator().manual_seed(1)
    shapes = [(1, 4, 8, 12), (1, 8, 4, 6), (1, 16, 2, 3)]
    features = [torch.randn(s, generator=generator) for s in shapes]
    reconstructed = [torch.randn(s, generator=generator) for s in shapes]
    computed = anomaly_map(features, reconstructed, (16, 24), sigma=0.0)
    expected = pixel_loop_map(features, reconstructed, (16, 24))
    np.testing.assert_allclose(computed[0], expected, atol=1e-5)


def test_perfect_reconstruction_scores_zero_and_opposite_two():
    features = [torch.rand(2, 3, 4, 4) + 0.1]
    assert anomaly_map(features, features, (32, 32)).abs().max() < 1e-6
    opposite = anomaly_map(features, [-f for f in features], (32, 32))
    torch.testing.assert_close(opposite, torch.full((2, 32, 32), 2.0))


def test_half_precision_features_give_a_float32_map():
    features = [torch.rand(1, 3, 4, 4).bfloat16()]
    assert anomaly_map(features, features, (32, 32)).dtype == torch.float32


def test_score_is_the_worst_place():
    maps = torch.zeros(2, 4, 4)
    maps[1, 2, 3] = 0.7
    assert image_score(maps).tolist() == pytest.approx([0.0, 0.7])


@pytest.mark.parametrize(("height", "width", "side"), [(32, 48, 16), (20, 17, 5), (16, 16, 16)])
def test_pooled_score_is_the_highest_mean_of_a_square_inside_the_map(height, width, side):
    maps = torch.rand(3, height, width, generator=torch.Generator().manual_seed(2))
    inside = (
        slice(side // 2, height - (side - 1) // 2),
        slice(side // 2, width - (side - 1) // 2),
    )
    expected = [uniform_filter(m, side)[inside].max() for m in maps.double().numpy()]
    np.testing.assert_allclose(image_score(maps, side), expected, rtol=1e-5)


class Measured(System):
    """Measures of its own; what it rebuilds does not matter."""

    distance, smoothing, pooling = "euclidean", 2.0, 3

    def reconstruct(self, features):
        return list(features)


def test_a_system_is_measured_by_its_own_distance_smoothing_and_pooling():
    ours, theirs = torch.randn(2, 2, 5, 8, 8, generator=torch.Generator().manual_seed(3))
    maps, _, scores, _ = measure(Measured(nn.Identity()), Reconstruction([ours], [theirs]), (8, 8))
    length = np.linalg.norm(ours.double().numpy() - theirs.double().numpy(), axis=1)
    expected = np.stack([gaussian_filter(m, 2.0) for m in length])
    np.testing.assert_allclose(maps, expected, rtol=1e-5)
    means = [[m[y : y + 3, x : x + 3].mean() for y in range(6) for x in range(6)] for m in expected]
    np.testing.assert_allclose(scores, np.max(means, axis=1), rtol=1e-5)
