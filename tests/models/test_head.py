"""The residual head."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mambaad.config import make_config
from mambaad.models.build import build_system
from mambaad.models.head import WIDTH, ResidualHead
from mambaad.models.scoring import HEAD_GAIN, anomaly_map, defect_probability, measure
from mambaad.models.system import Reconstruction

LITE = {"encoder": "resnet18", "variant": "lite", "head": "residual"}


@pytest.fixture
def maps():
    """Features and reconstructions of two images at two scales."""
    return [[torch.randn(2, 3, 8, 6), torch.randn(2, 5, 4, 3)] for _ in range(2)]


def trained_head() -> ResidualHead:
    head = ResidualHead((3, 5))
    head.begin()
    for norm in (m for m in head.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_mean, -0.1, 0.1)
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return head.eval()


def resized(channels, height, width):
    """Bilinear, corners aligned, by its definition; channels x h x w."""
    c, h, w = channels.shape
    rows, columns = np.linspace(0, h - 1, height), np.linspace(0, w - 1, width)
    down = np.stack(
        [[np.interp(rows, range(h), channels[k, :, j]) for j in range(w)] for k in range(c)]
    )
    return np.stack(
        [[np.interp(columns, range(w), down[k, :, i]) for i in range(height)] for k in range(c)]
    )


@torch.no_grad()
def test_it_sees_the_distance_times_the_difference_of_each_channel(maps):
    head = trained_head()
    seen = []
    head.segment.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    head(*maps)
    for image in range(2):
        total = np.zeros((WIDTH, 8, 6))
        for reduce, ours, theirs in zip(head.reduce, *maps, strict=True):
            f, g = ours[image].numpy(), theirs[image].numpy()
            f, g = f / np.sqrt((f**2).sum(axis=0)), g / np.sqrt((g**2).sum(axis=0))
            residual = len(f) ** 0.5 * (1 - (f * g).sum(axis=0)) * np.abs(f - g)
            conv, norm = reduce
            y = np.einsum("oc,chw->ohw", conv.weight[:, :, 0, 0].numpy(), residual)
            scale = 1 / np.sqrt(norm.running_var.numpy() + norm.eps)
            y = (y - norm.running_mean.numpy()[:, None, None]) * scale[:, None, None]
            total += resized(y, 8, 6)
        np.testing.assert_allclose(seen[0][image], total, atol=1e-4)


@torch.no_grad()
def test_a_perfect_reconstruction_says_nothing_of_the_features(maps):
    # Whatever the size of the features: only where and how the reconstruction fails counts.
    head, (ours, theirs) = trained_head(), maps
    perfect = head(ours, ours)
    torch.testing.assert_close(perfect, head(theirs, theirs), atol=1e-5, rtol=0)
    larger = head([7 * m for m in ours], [0.5 * m for m in theirs])
    torch.testing.assert_close(head(ours, theirs), larger, atol=1e-4, rtol=0)


@torch.no_grad()
def test_before_it_is_trained_it_finds_nothing_and_takes_no_gradient():
    model = build_system(make_config(LITE), "random").eval()
    assert not any(p.requires_grad for p in model.head.parameters())
    found = model(torch.randn(1, 3, 64, 96))
    assert found.logits.shape == (1, 16, 24)
    maps, errors, _, _ = measure(model, found, (64, 96))
    torch.testing.assert_close(maps, errors, atol=1e-5, rtol=0)
    model.head.begin()
    assert all(p.requires_grad for p in model.head.parameters())


def test_probabilities_are_smoothed_on_their_grid_and_each_lies_where_its_cell_does():
    logits = torch.randn(2, 6, 4)
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    unsmoothed = defect_probability(logits, (24, 16), 0.0)
    np.testing.assert_allclose(unsmoothed[:, 0, 0], p[:, 0, 0], rtol=1e-6)
    smoothed = np.stack([gaussian_filter(image, 0.5) for image in p])  # 2 pixels
    found = defect_probability(logits, (24, 16), 2.0)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(smoothed)[:, None], (24, 16), mode="bilinear"
    )[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_it_adds_to_the_map_and_leaves_the_score_alone(maps):
    model = build_system(make_config(LITE), "random")
    found = Reconstruction(*maps, logits=torch.randn(2, 8, 6))
    both, errors, scores, _ = measure(model, found, (32, 24))
    probability = defect_probability(found.logits, (32, 24), model.smoothing)
    torch.testing.assert_close(both, errors + HEAD_GAIN * probability)
    assert (both >= errors).all()  # so that what scores high lies within an outline
    without = measure(model, found._replace(logits=None), (32, 24))
    assert torch.equal(without.anomaly_maps, errors)
    assert torch.equal(errors, anomaly_map(*maps, (32, 24)))
    assert torch.equal(scores, without.scores)
    assert torch.equal(scores, errors.amax(dim=(1, 2)))


@torch.no_grad()
def test_it_computes_in_float32_under_autocast(maps):
    head = trained_head()
    with torch.autocast("cpu", torch.bfloat16):
        found = head(*maps)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, head(*maps))


def test_only_mambaad_has_one():
    assert build_system(make_config({"encoder": "resnet18"}), "random").head is None
    settings = {"system": "rd4ad", "encoder": "resnet18", "recipe": "fast"}
    assert build_system(make_config(settings), "random").head is None
