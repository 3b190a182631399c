"""Sizes as they are written on the command line."""

from __future__ import annotations

import pytest

from mambaad.errors import ConfigError
from mambaad.size import check_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256", (256, 256)),
        ("392x14", (392, 14)),
        (" 256\n", (256, 256)),
        ("224x320", (224, 320)),
        ("32", (32, 32)),
        ("8192x32", (8192, 32)),
    ],
)
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "256x", "x256", "-32", "25.6", "big", "1x2x3", "999999"])
def test_not_a_size(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--size: expected 256, or 224x320") as e:
        parse_size(text)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "side", "nearest"),
    [
        ("250", 250, 256),
        ("256x100", 100, 96),
        ("0", 0, 32),
        ("256x0", 0, 32),
        ("8193", 8193, 8192),
        ("99999", 99999, 8192),
    ],
)
def test_not_a_multiple(text: str, side: int, nearest: int) -> None:
    with pytest.raises(ConfigError) as caught:
        check_size(parse_size(text))
    assert str(caught.value) == (
        f"--size: {side} is not a multiple of 32 between 32 and 8192; the nearest is {nearest}"
    )


@pytest.mark.parametrize(
    ("size", "side", "largest", "nearest"),
    [
        ((256, 392), 256, 8190, 252),
        ((392, 400), 400, 8190, 406),
        ((14, 8192), 8192, 8190, 8190),
        ((0, 14), 0, 8190, 14),
    ],
)
def test_an_encoder_may_ask_for_another_multiple(
    size: tuple[int, int], side: int, largest: int, nearest: int
) -> None:
    check_size((14, 518), 14)
    check_size((224, 448), 14)  # of 14 and of 32
    check_size((224, 448))
    with pytest.raises(ConfigError) as caught:
        check_size(size, 14)
    assert str(caught.value) == (
        f"--size: {side} is not a multiple of 14 between 14 and {largest}; the nearest is {nearest}"
    )
