"""Good parts that are kept out of training, so that thresholds can be set on them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mambaad.errors import DataError
from mambaad.types import ProductClass


def keep_out(
    classes: Sequence[ProductClass],
    *,
    share: float = 0.0,
    fold: tuple[int, int] | None = None,
    seed: int = 0,
) -> tuple[list[ProductClass], list[ProductClass]]:
    """Part the good parts of each class into those to train on and those kept out.

    Args:
        classes: with all their good parts in ``train``.
        share: of each class's good parts that are kept out, 0 to below 1; at least one if not 0.
        fold: instead of a share ``(k, K)``: of K parts of about equal size the k-th, from 1. The K
            folds together are all good parts, each once.
        seed: of the draw, which depends on it, the class's name and the order of its images only.

    Returns:
        The classes with what is left in ``train``, and the same classes with what is kept out.

    Raises:
        DataError: a class with too few images for it.
    """
    left, out = [], []
    for c in classes:
        drawn = np.random.default_rng([seed, zlib.crc32(c.name.encode())]).permutation(len(c.train))
        if fold:
            chosen = set(drawn[fold[0] - 1 :: fold[1]].tolist())
        else:
            count = max(1, round(share * len(drawn))) if share else 0
            chosen = set(drawn[:count].tolist())
        if (share or fold) and (not chosen or len(drawn) - len(chosen) < 2):
            raise DataError(
                f"class {c.name} has {len(drawn)} good parts, too few to keep "
                f"{f'one of {fold[1]} parts' if fold else f'a share of {share}'} out of training "
                "and train on two or more; add images, or train without the class (mambaad train "
                "--classes)"
            )
        left.append(replace(c, train=tuple(s for i, s in enumerate(c.train) if i not in chosen)))
        out.append(replace(c, train=tuple(s for i, s in enumerate(c.train) if i in chosen)))
    return left, out
