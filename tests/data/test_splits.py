"""Good parts held out of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from mambaad.data.splits import hold_out
from mambaad.errors import DataError
from mambaad.types import ProductClass, Sample


def product(name: str, count: int) -> ProductClass:
    return ProductClass(name, tuple(Sample(Path(f"{i:03}.png"), name) for i in range(count)))


def test_a_share_of_each_class() -> None:
    classes = [product("bolt", 20), product("nut", 7)]
    left, out = hold_out(classes, share=0.2, seed=1)
    assert [len(c.train) for c in left] == [16, 6]
    assert [len(c.train) for c in out] == [4, 1]
    for before, a, b in zip(classes, left, out, strict=True):
        assert sorted((*a.train, *b.train), key=lambda s: s.path) == list(before.train)


def test_the_draw_depends_on_seed_and_class_only() -> None:
    bolt = product("bolt", 50)
    _, (a,) = hold_out([bolt], share=0.3, seed=1)
    _, (_, b) = hold_out([product("nut", 50), bolt], share=0.3, seed=1)
    assert a == b
    _, (c,) = hold_out([bolt], share=0.3, seed=2)
    assert a != c


def test_folds_are_all_parts_once() -> None:
    seen = []
    for k in (1, 2, 3):
        (left,), (out,) = hold_out([product("nut", 10)], fold=(k, 3), seed=4)
        assert len(left.train) + len(out.train) == 10
        seen += out.train
    assert sorted(s.path for s in seen) == [s.path for s in product("nut", 10).train]


def test_nothing_held_out() -> None:
    (left,), (out,) = hold_out([product("nut", 5)])
    assert left == product("nut", 5)
    assert out.train == ()


@pytest.mark.parametrize("how", [{"share": 0.9}, {"fold": (1, 2)}])
def test_too_few_parts(how: dict[str, float]) -> None:
    with pytest.raises(DataError, match="class nut has 3 good parts, too few to hold out"):
        hold_out([product("nut", 3)], **how)  # type: ignore[arg-type]
