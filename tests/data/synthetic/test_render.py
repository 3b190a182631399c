"""One part: determinism, the good twin, the mask, every product with each of its defects."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mambaad.data.synthetic.catalogue import DEFECTS, PRODUCTS
from mambaad.data.synthetic.render import render_part
from mambaad.data.synthetic.scene import Severity
from mambaad.errors import ConfigError, DataError

PAIRS = [(name, kind) for name, product in PRODUCTS.items() for kind in product.defects]


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def test_there_are_enough_products_and_kinds() -> None:
    assert len(PRODUCTS) >= 10
    assert len(DEFECTS) >= 9
    assert {kind for _, kind in PAIRS} == set(DEFECTS)


@pytest.mark.parametrize("product", PRODUCTS)
def test_good_parts_are_alike_and_not_the_same(product: str) -> None:
    one, again, other = (render_part(product, seed, size=64) for seed in (1, 1, 2))
    assert one.image.shape == (64, 64, 3)
    assert one.image.dtype == np.uint8
    assert not one.mask.any()
    assert one.parameters["defect"] is None
    assert digest(one.image) == digest(again.image)
    assert one.parameters == again.parameters
    assert digest(one.image) != digest(other.image)
    # The mean of a product is the product, whatever the light.
    assert np.abs(one.image.mean((0, 1)) - other.image.mean((0, 1))).max() < 30


@pytest.mark.parametrize("size", [64, 256])
def test_parts_look_the_same_on_every_machine(size: int) -> None:
    # Changing what a seed gives is a change of the format: raise factory.FORMAT with it.
    together = hashlib.sha256()
    for number, (name, product) in enumerate(PRODUCTS.items()):
        kind = product.defects[number % len(product.defects)]
        together.update(render_part(name, 11, size=size, defect=kind).image.tobytes())
    assert together.hexdigest()[:16] == {64: "3a2b8bf69c47b343", 256: "90f6f91762708aad"}[size]


@pytest.mark.parametrize(("product", "kind"), PAIRS)
def test_the_mask_is_what_differs_from_the_good_twin(product: str, kind: str) -> None:
    for seed in (0, 1):
        good = render_part(product, seed, size=64)
        bad = render_part(product, seed, size=64, defect=kind)
        assert bad.mask.dtype == bool
        np.testing.assert_array_equal(bad.mask, (bad.image != good.image).any(-1))
        area = int(bad.mask.sum())
        assert bad.parameters["defect"]["kind"] == kind
        assert bad.parameters["defect"]["area"] == area
        assert 6 <= area < 0.75 * 64 * 64
        # Compact: no specks.
        regions, count = ndimage.label(bad.mask, np.ones((3, 3)))
        assert np.bincount(regions.ravel())[1:].min() >= 6
        assert count <= 12
        assert bad.parameters["drawn"] == good.parameters["drawn"]
        json.dumps(bad.parameters, allow_nan=False)


@pytest.mark.parametrize("product", PRODUCTS)
def test_defects_grow_smaller_and_fainter(product: str) -> None:
    ratios = []
    for seed, kind in enumerate(PRODUCTS[product].defects):
        easy, hard = (
            render_part(product, seed, size=64, defect=kind, difficulty=difficulty)
            for difficulty in (0.0, 1.0)
        )
        ratios.append(hard.mask.sum() / easy.mask.sum())
    assert np.exp(np.mean(np.log(ratios))) < 0.75


def test_defects_have_their_places_and_sizes_by_the_seed() -> None:
    masks = [render_part("metal", seed, size=64, defect="stain").mask for seed in range(8)]
    middles = np.array([ndimage.center_of_mass(mask) for mask in masks])
    assert middles.std(0).min() > 4
    areas = [mask.sum() for mask in masks]
    assert max(areas) > 1.7 * min(areas)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", PRODUCTS["kit"].defects)
def test_a_wrong_kit_has_one_thing_wrong_and_good_parts_only(kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    right = PRODUCTS["kit"].plan(random)
    wrong = deepcopy(right)
    PRODUCTS["kit"].alterations[kind](wrong, random, Severity.of(seed / 7))
    before, after = (
        [sorted(part["kind"] for part in place) for place in plan["places"]]
        for plan in (right, wrong)
    )
    changed = [i for i in range(6) if before[i] != after[i]]
    assert len(changed) == (2 if kind == "swapped" else 1)
    more = sum(map(len, after)) - sum(map(len, before))
    assert more == {"missing": -1, "extra": 1, "swapped": 0, "mistaken": 0}[kind]
    assert {k for place in after for k in place} <= {k for place in before for k in place}
    if kind == "swapped":
        assert after[changed[0]] == before[changed[1]]


@pytest.mark.parametrize("seed", range(40))
def test_an_extra_part_does_not_lie_in_another(seed: int) -> None:
    random = np.random.default_rng(seed)
    plan = PRODUCTS["kit"].plan(random)
    number = PRODUCTS["kit"].alterations["extra"](plan, random, Severity.of(0.5))["compartment"]
    *others, extra = plan["places"][int(number)]
    for other in others:
        assert np.hypot(other["x"] - extra["x"], other["y"] - extra["y"]) > 2 * 13  # their radius


def test_a_defect_that_cannot_be_seen_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alterations = {"missing": lambda plan, random, severity: {}}
    kit = replace(PRODUCTS["kit"], alterations=alterations)
    monkeypatch.setitem(PRODUCTS, "kit", kit)
    with pytest.raises(DataError, match=r"^kit, seed 3: the defect 'missing' cannot be seen"):
        render_part("kit", 3, size=64, defect="missing")


def test_a_good_part_does_not_depend_on_the_difficulty() -> None:
    easy, hard = (render_part("tile", 3, size=64, difficulty=d) for d in (0.0, 1.0))
    np.testing.assert_array_equal(easy.image, hard.image)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("spoon", 0, {}), "no product 'spoon'; choose from fabric, metal"),
        (("kit", 0, {"defect": "scratch"}), "kit has no defect 'scratch'; choose from missing"),
        (("kit", 0, {"size": 100}), "--size: expected a multiple of 32 from 64 to 1024, got 100"),
        (("kit", 0, {"size": 32}), "--size: expected a multiple of 32 from 64 to 1024, got 32"),
        (("kit", 0, {"size": 1056}), "--size: expected a multiple of 32 from 64 to 1024, got 1056"),
        (("kit", 0, {"difficulty": 1.5}), "--difficulty: expected 0 (easy) to 1 (hard), got 1.5"),
        (
            ("kit", 0, {"difficulty": float("nan")}),
            "--difficulty: expected 0 (easy) to 1 (hard), got nan",
        ),
        (("kit", -1, {}), "--seed: expected 0 or more, got -1"),
    ],
)
def test_an_error_is_one_line(arguments: tuple[str, int, dict], complaint: str) -> None:
    product, seed, rest = arguments
    with pytest.raises(ConfigError) as caught:
        render_part(product, seed, **rest)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
