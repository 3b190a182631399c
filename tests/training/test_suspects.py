import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from mambaad.data.layouts import read_data
from mambaad.data.synthetic.factory import make_data
from mambaad.errors import DataError
from mambaad.models.normalise import normalise
from mambaad.training import suspects as module
from mambaad.training.suspects import make_encoder, score_class, score_images, suspect_threshold
from mambaad.types import ProductClass

CPU = torch.device("cpu")
SIZE = (64, 64)


@pytest.fixture(scope="module")
def encoder():
    return make_encoder("embedded", "timm", CPU)


@pytest.fixture
def bolts(many_parts):
    return read_data(many_parts, ["bolt"])[0]


def patches_of(path, encoder, seed):
    """All patches of an image: every neighbourhood averaged by itself, in float64."""
    pixels = np.asarray(Image.open(path).resize(SIZE, Image.Resampling.BILINEAR))
    both = []
    for m in encoder(normalise(torch.from_numpy(pixels.copy())[None])):
        values = m[0].double()
        mean = torch.zeros_like(values)
        for row, column in np.ndindex(*values.shape[1:]):
            around = values[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            mean[:, row, column] = around.mean(dim=(1, 2))
        both.append(mean)
    coarse = F.interpolate(both[1][None], both[0].shape[1:], mode="bilinear")[0]
    joined = torch.cat([both[0], coarse]).flatten(1).T
    shape = (joined.shape[1], module.CHANNELS)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (joined @ drawn.double() / module.CHANNELS**0.5).numpy()


def reference(patches, seed, wanted_of_a_bank):
    """Score images one patch at a time, as the docstrings say it."""
    random = np.random.default_rng(seed)
    count = len(patches)
    part_of = random.permutation(count) % min(5, count // 2)
    banks = {part: [] for part in part_of}
    for i, own in enumerate(patches):
        wanted = int(np.ceil(wanted_of_a_bank / (part_of == part_of[i]).sum()))
        chosen = random.permutation(len(own))[:wanted]
        banks[part_of[i]] += [(i, own[j]) for j in chosen]
    spacings = {}
    for part, bank in banks.items():
        gaps = [min(np.linalg.norm(p - q) for j, q in bank if j != i) for i, p in bank]
        spacings[part] = np.maximum(gaps, 0.1 * np.sort(gaps)[(len(gaps) - 1) // 2])
    scores = []
    for i, own in enumerate(patches):
        of_banks = []
        for part, bank in banks.items():
            if part == part_of[i]:
                continue
            held = np.stack([q for _, q in bank])
            found = []
            for p in own:
                distances = np.linalg.norm(held - p, axis=1)
                nearest = distances.argmin()
                found.append(distances[nearest] / np.sqrt(spacings[part][nearest]))
            of_banks.append(np.sort(found)[-max(1, round(0.005 * len(found))) :].mean())
        scores.append(np.median(of_banks))
    return scores


@pytest.mark.parametrize("count", [12, 5])  # five parts; two
def test_scores_are_those_of_brute_force(encoder, bolts, monkeypatch, count):
    monkeypatch.setattr(module, "PATCHES", 40)
    samples = bolts.train[:count]
    scores, maps = score_images(samples, encoder, SIZE, seed=3)
    patches = [patches_of(s.path, encoder, 3) for s in samples]
    # float32 against float64, of differences of squares
    np.testing.assert_allclose(scores, reference(patches, 3, 40), rtol=2e-4)
    assert maps.shape == (count, 8, 8)
    assert maps.dtype == np.float32
    # With one patch to average, an image's score lies among its median distances' highest.
    if count == 5:  # one other part: the median is its value
        np.testing.assert_allclose(maps.reshape(count, -1).max(axis=1), scores, rtol=1e-6)


def test_the_same_seed_gives_the_same_scores(encoder, bolts):
    first, again, other = (score_class(bolts, encoder, SIZE, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.scores, again.scores)
    assert first.samples == again.samples
    assert not np.array_equal(np.sort(first.scores), np.sort(other.scores))


def test_the_random_fifths_differ_between_classes(monkeypatch, encoder, bolts):
    seeds = []

    def scored(samples, encoder, size, *, seed, progress):
        seeds.append(seed)
        return np.ones(len(samples)), np.ones((len(samples), 8, 8), np.float32)

    monkeypatch.setattr(module, "score_images", scored)
    score_class(bolts, encoder, SIZE, seed=7)
    score_class(ProductClass("nut", bolts.train), encoder, SIZE, seed=7)
    assert seeds == [zlib.crc32(b"7 bolt"), zlib.crc32(b"7 nut")]


def test_an_odd_image_comes_first(encoder, bolts, parts, tmp_path):
    odd = read_data(parts, ["bolt"])[0].test[-1]
    assert odd.is_defective
    steps = []
    mixed = ProductClass("bolt", (*bolts.train[:10], odd, *bolts.train[10:]))
    found = score_class(mixed, encoder, SIZE, progress=lambda: steps.append(1))
    assert found.samples[0] == odd
    assert found.suspects[0]
    assert found.suspects.sum() <= 2
    assert found.scores[0] > found.threshold > found.median
    assert (np.diff(found.scores) <= 0).all()
    assert len(steps) == 2 * len(mixed.train)


def test_clean_synthetic_classes_have_few_suspects_and_defects_are_found(
    tmp_path, encoder, monkeypatch
):
    monkeypatch.setattr(module, "PATCHES", 1000)
    make_data(tmp_path / "data", ["wood", "kit"], train=24, test=4, size=128, difficulty=0)
    for c in read_data(tmp_path / "data"):
        clean = score_class(c, encoder, (128, 128))
        assert clean.suspects.sum() <= 1, c.name
        odd = [sample for sample in c.test if sample.is_defective]
        dirty = score_class(ProductClass(c.name, (*c.train, *odd)), encoder, (128, 128))
        assert dirty.samples[0] in odd, c.name


def test_a_share_that_is_asked_for(encoder, bolts):
    found = score_class(bolts, encoder, SIZE, share=0.1)
    assert found.suspects.tolist() == [True] * 3 + [False] * 27
    assert found.threshold == found.scores[2]
    assert score_class(bolts, encoder, SIZE, share=0.001).suspects.sum() == 1


def test_images_that_are_all_the_same_are_no_suspects(encoder, bolts):
    found = score_class(ProductClass("bolt", bolts.train[:1] * 8), encoder, SIZE)
    assert not found.suspects.any()
    assert np.isfinite(found.scores).all()


def test_too_few_images(encoder, bolts):
    with pytest.raises(DataError, match="bolt has 3 training images, too few to compare"):
        score_class(ProductClass("bolt", bolts.train[:3]), encoder, SIZE)
    assert len(score_class(ProductClass("bolt", bolts.train[:4]), encoder, SIZE).scores) == 4


def test_the_threshold_of_normal_values():
    logarithms = np.random.default_rng(0).normal(1, 0.2, 100_000)
    assert np.log(suspect_threshold(np.exp(logarithms))) == pytest.approx(1 + 4 * 0.2, abs=0.02)
    # A tenth of far higher scores moves it by less than one and a half spreads.
    dirty = np.concatenate([logarithms[:9000], np.full(1000, 5.0)])
    assert np.log(suspect_threshold(np.exp(dirty))) == pytest.approx(1 + 4 * 0.2, abs=0.3)


def test_the_threshold_of_equal_scores_is_above_them():
    assert suspect_threshold(np.full(9, 2.0)) == pytest.approx(2 * np.exp(4 * 0.02))
    assert suspect_threshold(np.zeros(9)) > 0
