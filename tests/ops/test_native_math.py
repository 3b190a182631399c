"""The kernel's elementary functions against float64, within the bounds that vec.hpp states."""

import numpy as np
import pytest

from mambaad.ops import native

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="installed without the kernel")


@pytest.fixture(params=native.VARIANTS)
def variant(request):
    return request.param


def exp2_product(variant, a, b):
    y = np.empty_like(a)
    native._native.exp2_product(variant, a, b, y)
    return y


def test_decay_is_within_its_stated_error(variant):
    exponents = np.concatenate(
        [-np.geomspace(1e-8, 125, 200_000), np.linspace(-2, 0, 200_000), [0.0, -1.0, -125.0]]
    )
    a = np.float32(np.random.default_rng(0).permutation(np.geomspace(1e-4, 20, len(exponents))))
    b = np.float32(exponents / a)
    product = a.astype(np.float64) * b
    expected = np.exp2(product)
    error = np.abs(exp2_product(variant, a, b) - expected) / expected
    rounding = 0 if variant == "avx512" else 4.2e-8 * np.abs(product)
    assert (error <= 4e-7 + rounding).all()
    # It vanishes with the exponent: next to 1 there is no error but the last bit's.
    small = np.abs(product) < 1e-3
    assert (error[small] <= 6e-8 + 2e-5 * np.abs(product[small])).all()


def test_decay_below_the_smallest_number(variant):
    a = np.float32([1, 200, 2.0**20, 2.0**20])
    b = np.float32([-127, -1, -1e3, -(2.0**40)])
    assert (exp2_product(variant, a, b) <= 2.0**-126).all()
    assert np.isnan(exp2_product(variant, np.float32([np.nan, 1]), np.float32([-1, np.nan]))).all()


def test_softplus_is_within_its_stated_error(variant):
    x = np.float32(np.concatenate([np.linspace(-80, 80, 200_001), np.linspace(-8, 2, 200_001)]))
    y = np.empty_like(x)
    native._native.softplus(variant, x, y)
    expected = np.logaddexp(0, x.astype(np.float64))
    assert (np.abs(y - expected) <= expected * (4e-7 + 7e-8 * np.abs(x))).all()


def test_silu_is_within_its_stated_error(variant):
    x = np.float32(np.concatenate([np.linspace(-79.9, 300, 200_001), np.linspace(-8, 2, 200_001)]))
    y = np.empty_like(x)
    native._native.silu(variant, x, y)
    wide = x.astype(np.float64)
    expected = wide / (1 + np.exp(-wide))
    assert (np.abs(y - expected) <= np.abs(expected) * (4e-7 + 1.2e-7 * np.abs(x))).all()
    far = np.float32([-81, -90, -1e4, -1e30, 1e30])
    y = np.empty_like(far)
    native._native.silu(variant, far, y)
    assert (np.abs(y[:4]) <= np.abs(far[:4]) * 2e-35).all()
    assert y[4] == far[4]
