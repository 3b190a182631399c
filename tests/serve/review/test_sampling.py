import hashlib
import hmac
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import kstest

from mambaad.errors import ConfigError, RunError
from mambaad.serve.review.sampling import SECRET_FILE, draw, read_secret, thinned, uniform
from tests.serve.review.samples import SECRET, digest_of, line, part


def test_the_number_is_the_head_of_a_keyed_hash():
    code = hmac.new(
        SECRET, b"mambaad random share 1\0" + bytes.fromhex(digest_of(3)), hashlib.sha256
    ).hexdigest()
    expected = Fraction(int(code[:16], 16), 2**64)
    assert 0 <= expected - Fraction(uniform(digest_of(3), SECRET)) < Fraction(1, 2**53)


def test_the_numbers_are_uniform():
    numbers = [uniform(digest_of(n), SECRET) for n in range(4000)]
    assert kstest(numbers, "uniform").pvalue > 0.01
    assert (
        kstest([uniform(digest_of(n), SECRET[::-1]) for n in range(4000)], "uniform").pvalue > 0.01
    )


def test_the_share_is_drawn_and_its_probability_recorded():
    draws = [draw(digest_of(n), SECRET, 0.02) for n in range(20_000)]
    count = sum(d.drawn for d in draws)
    assert abs(count - 400) < 4 * np.sqrt(20_000 * 0.02 * 0.98)
    assert {d.probability for d in draws} == {0.02}
    assert not any(draw(digest_of(n), SECRET, 0.0).drawn for n in range(100))
    assert all(draw(digest_of(n), SECRET, 1.0).drawn for n in range(100))


def test_the_same_image_has_the_same_draw_and_another_secret_gives_another():
    first = [draw(digest_of(n), SECRET, 0.5).drawn for n in range(200)]
    assert first == [draw(digest_of(n), SECRET, 0.5).drawn for n in range(200)]
    other = [draw(digest_of(n), b"another secret of the tests", 0.5).drawn for n in range(200)]
    assert 60 < sum(a == b for a, b in zip(first, other, strict=True)) < 140


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        draw(digest_of(1), SECRET, share)


def test_a_short_secret_is_refused():
    with pytest.raises(ConfigError, match="at least 16"):
        draw(digest_of(1), b"short", 0.5)


def test_thinning_keeps_what_the_smallest_share_would_have_drawn():
    scores, fine = np.zeros(3000), np.zeros(3000)
    early = line(scores, fine, 0.4)
    late = line(scores, fine, 0.1, first=3000)
    drawn = [p for p in early + late if p.drawn]
    kept, probability = thinned(drawn, SECRET)
    assert probability == 0.1
    expected = [
        f"i{n:06}" for n in range(6000) if draw(digest_of(n), SECRET, 0.1).drawn
    ]  # as if 0.1 had always been in force
    assert [p.id for p in kept] == expected


def test_parts_of_one_share_are_kept_without_a_secret():
    parts = [part(n, probability=0.02) for n in range(5)]
    assert thinned(parts, b"") == (parts, 0.02)
    assert thinned([], b"") == ([], 0.0)


def test_the_secret_is_made_once_and_its_owners_alone(tmp_path):
    secret = read_secret(tmp_path)
    assert len(secret) == 32
    assert read_secret(tmp_path) == secret
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / SECRET_FILE).write_bytes(b"short")
    with pytest.raises(RunError, match="is damaged"):
        read_secret(tmp_path)
