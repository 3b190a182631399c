"""Synthetic anomalies on photographs."""

import numpy as np
import pytest

from mambaad.data.synthetic import anomalies
from mambaad.data.synthetic.anomalies import spoil
from mambaad.data.synthetic.render import render_part

KINDS = (anomalies._texture, anomalies._paste, anomalies._damage)


@pytest.fixture(scope="module")
def photographs():
    parts = [render_part(name, 1, size=64).image for name in ("bottle", "screw")]
    return [part[:, :48] for part in parts]  # neither square nor of a side that divides by 32


def some(photographs, number):
    return spoil(*photographs, np.random.default_rng(number))


def test_the_mask_is_where_the_photograph_was_changed(photographs):
    image, _ = photographs
    for number in range(40):
        spoiled, mask = some(photographs, number)
        assert spoiled.shape == image.shape
        assert spoiled.dtype == np.uint8
        change = np.abs(spoiled.astype(int) - image).max(axis=2)
        assert mask[change >= 8].all()
        # Beyond what was changed only gaps of a pixel or two are closed.
        assert (change[mask] >= 8).mean() > 0.6
        assert 12 / 65536 <= mask.mean() < 0.6


def test_a_seed_gives_one_anomaly(photographs):
    before = [photograph.copy() for photograph in photographs]
    one, another, again = (some(photographs, number) for number in (3, 4, 3))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], another[0])
    assert all(np.array_equal(a, b) for a, b in zip(before, photographs, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_seen_and_stays_local(photographs, kind):
    image, other = photographs
    changed = []
    for number in range(30):
        spoiled = kind(image, other, np.random.default_rng(number))
        changed.append((np.abs(spoiled.astype(int) - image).max(axis=2) >= 8).mean())
    assert np.median(changed) > 0.002
    assert np.median(changed) < 0.2


def test_what_cannot_be_seen_has_an_empty_mask(photographs, monkeypatch):
    monkeypatch.setattr(anomalies, "_SEEN", 256)
    spoiled, mask = some(photographs, 0)
    assert np.array_equal(spoiled, photographs[0])
    assert not mask.any()


def test_an_anomaly_is_mixed_with_the_photograph(photographs, monkeypatch):
    image = photographs[0]
    white = np.full_like(image, 255)
    monkeypatch.setattr(anomalies, "pick", lambda random, count: 0)
    monkeypatch.setattr(anomalies, "_texture", lambda image, other, random: white)
    room = 255 - image.astype(float)
    shares = [
        ((some(photographs, number)[0] - image.astype(float)).sum() / room.sum())
        for number in range(60)
    ]
    assert 0.1 <= min(shares) < 0.15
    assert 0.95 < max(shares) <= 1
    assert np.mean(shares) == pytest.approx(0.55, abs=0.1)
