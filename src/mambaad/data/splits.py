"""Good parts held out of training, so that thresholds can be set on them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from mambaad.errors import DataError
from mambaad.types import ProductClass


def shuffled(name: str, count: int, seed: int) -> Int[np.ndarray, " n"]:
    """Shuffle the indices 0 to ``count`` - 1 of a class's images; name and seed fix the order."""
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return random.permutation(count)


def hold_out(
    classes: Sequence[ProductClass],
    *,
    share: float = 0.0,
    fold: tuple[int, int] | None = None,
    seed: int = 0,
) -> tuple[list[ProductClass], list[ProductClass]]:
    """Split the good parts of each class into those to train on and those held out.

    Args:
        classes: with all their good parts in ``train``.
        share: fraction of each class's good parts to hold out, from 0 to below 1; at least one
            part unless it is 0.
        fold: ``(k, K)`` instead of a share: hold out the k-th, from 1, of K folds of about equal
            size. The K folds together hold each good part once.
        seed: of the random draw, which otherwise depends on the class's name and the order of its
            images only.

    Returns:
        The classes with the remaining parts in ``train``, and the same classes with the held-out
        ones there.

    Raises:
        DataError: a class with too few images.
    """
    left, held_out = [], []
    for c in classes:
        drawn = shuffled(c.name, len(c.train), seed)
        if fold:
            chosen = set(drawn[fold[0] - 1 :: fold[1]].tolist())
        else:
            count = max(1, round(share * len(drawn))) if share else 0
            chosen = set(drawn[:count].tolist())
        if (share or fold) and (not chosen or len(drawn) - len(chosen) < 2):
            raise DataError(
                f"class {c.name} has {len(drawn)} good parts, too few to hold out "
                f"{f'one of {fold[1]} folds' if fold else f'a share of {share}'} and train on two "
                "or more; add images, or train without the class (mambaad train --classes)"
            )
        left.append(replace(c, train=tuple(s for i, s in enumerate(c.train) if i not in chosen)))
        held_out.append(replace(c, train=tuple(s for i, s in enumerate(c.train) if i in chosen)))
    return left, held_out
