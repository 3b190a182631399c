"""Settings of a product: thresholds, inspected area, smallest defect, recalibration."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import ValidationError

from mambaad.errors import ConfigError
from mambaad.inspection.calibration import ClassCalibration
from mambaad.serve.page import queries
from mambaad.serve.page.errors import PageRoute
from mambaad.serve.page.page import Page, form_page, page_for
from mambaad.serve.page.plots import Histogram, histogram
from mambaad.serve.page.routes import hours_ago, view
from mambaad.serve.problems import Problem
from mambaad.serve.product_setting import ProductSetting, adjusted_class
from mambaad.serve.review.recalibrate import check_decided, new_thresholds
from mambaad.serve.shapes import Shape
from mambaad.serve.store.reviewed import reviewed_parts
from mambaad.serve.store.rows import Filter, time_text
from mambaad.serve.what_if import changes, stated

router = APIRouter(include_in_schema=False, route_class=PageRoute)
ForViewers = Annotated[Page, Depends(page_for("viewer"))]
_YESTERDAY_SECONDS = 60.0
_DAYS = 7  # of inspected parts in the histogram


def in_force(page: Page, product: str) -> ClassCalibration:
    """The calibration of a product with what the page has set (Problem: 404 without one)."""
    model = page.parts.model()
    c = model.calibration.classes.get(product) if model.calibration else None
    if c is None:
        raise Problem(404, "not_found", f"there is no calibrated product {product}")
    return adjusted_class(c, page.parts.setting(product), model.size, page.parts.in_use().sha256)


def _shown(c: ClassCalibration, setting: ProductSetting, bundle: str) -> dict[str, Any]:
    inspected = c.settings.inspected
    return {
        "review": c.review,
        "fail": c.fail,
        "min_area_px": c.settings.min_area_px,
        "mm_per_px": c.settings.mm_per_px,
        "inspected_share": 1 if inspected is None else float(inspected.mean()),
        "is_changed": setting.review is not None and setting.bundle == bundle,
    }


@router.get("/settings")
def settings(page: ForViewers) -> Response:
    """List the products with their thresholds."""
    model = page.parts.model()
    products = [
        SimpleNamespace(
            name=name,
            **_shown(in_force(page, name), page.parts.setting(name), page.parts.in_use().sha256),
        )
        for name in model.products
    ]
    return page.html("settings.html", "settings", products=products)


@router.get("/settings/{product}")
def product_page(
    page: ForViewers,
    product: str,
    review: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    fail: Annotated[float | None, Query(allow_inf_nan=False)] = None,
) -> Response:
    """Show the settings of a product, and the effect of thresholds that somebody considers."""
    c, setting = in_force(page, product), page.parts.setting(product)
    chosen = _chosen(c, review, fail)
    since = max(hours_ago(24 * _DAYS), setting.area_changed or "")  # others are of another area
    seen = page.parts.store.read(lambda k: queries.scores_since(k, product, since))
    rows = page.parts.store.inspections(Filter(product=product), limit=20)
    views = [view(page, row) for row in rows]
    usable, fresh = _recalibration(page, product)
    needed = math.ceil(1 / _asked(page, product)["target_fpr"] - 1e-9) - 1
    return page.html(
        "product.html",
        "settings",
        product=product,
        plot=_plot(c, seen, chosen),
        chosen=chosen,
        current=SimpleNamespace(**_shown(c, setting, page.parts.in_use().sha256)),
        shapes=setting.shapes,
        sample=next((p for p in views if p.image and p.size and p.is_judged), None),
        usable=usable,
        fresh=fresh,
        needed=needed,
        **_effect(page, product, c, chosen),
    )


@router.get("/fragments/thresholds/{product}")
def thresholds_fragment(
    page: ForViewers,
    product: str,
    review: Annotated[float, Query(allow_inf_nan=False)],
    fail: Annotated[float, Query(allow_inf_nan=False)],
) -> Response:
    """Give the stated rates of two thresholds, and what they would have changed."""
    c = in_force(page, product)
    return page.fragment(
        "thresholds_part.html", **_effect(page, product, c, _chosen(c, review, fail))
    )


def _chosen(c: ClassCalibration, review: float | None, fail: float | None) -> dict[str, float]:
    chosen_review = c.review.value if review is None else review
    chosen_fail = c.fail.value if fail is None else fail
    # As many digits as tell scores apart; the exact values if nobody has chosen others.
    given = {"review": min(chosen_review, chosen_fail), "fail": chosen_fail}
    return {name: float(f"{value:.6g}") for name, value in given.items()}


def _plot(c: ClassCalibration, seen: list[float], chosen: dict[str, float]) -> Histogram:
    return histogram(seen, c.scores, [c.review.value, c.fail.value, *chosen.values()])


def _effect(
    page: Page, product: str, c: ClassCalibration, chosen: dict[str, float]
) -> dict[str, Any]:
    today = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    since, until = time_text(today - timedelta(days=1)), time_text(today)
    bundle = page.parts.in_use().sha256
    # Scores from before the inspected area was changed are of another area.
    since = max(since, page.parts.setting(product).area_changed or "")

    # Of a day that is over nothing changes but decisions, and a slider asks many times a second.
    parts = page.parts.remember(
        ("yesterday", product, since, bundle),
        _YESTERDAY_SECONDS,
        lambda: page.parts.store.read(
            lambda k: list(queries.scored_between(k, product, since, until, bundle))
        ),
    )
    return {
        "stated": {name: stated(c.scores, value) for name, value in chosen.items()},
        "yesterday": changes(parts, chosen["review"], chosen["fail"]),
    }


def _asked(page: Page, product: str) -> dict[str, float]:
    """The rates that the bundle's calibration aimed at; thresholds of the page have no aim."""
    model = page.parts.model()
    assert model.calibration is not None  # in_force raises without one
    own = model.calibration.classes[product]
    return {"target_fpr": own.fail.asked, "review_fpr": max(own.review.asked, own.fail.asked)}


def _recalibration(page: Page, product: str) -> tuple[SimpleNamespace, dict[str, Any] | None]:
    """What the random share has for a product, and the thresholds that it gives, if any."""
    usable, scores = usable_scores(page, product)
    counts = SimpleNamespace(
        good=len(scores),
        unsure=usable.unsure,
        waiting=usable.waiting,
        defective=usable.defective,
        to_decide=usable.to_decide,
    )
    if not len(scores) or usable.to_decide:
        return counts, None
    undecided = usable.unsure + usable.waiting
    return counts, vars(new_thresholds(scores, undecided, **_asked(page, product)))


def usable_scores(page: Page, product: str) -> tuple[Any, list[float]]:
    """The random share of a product under the bundle in use and the area that is inspected now."""
    from mambaad.serve.review.recalibrate import usable_parts

    bundle, changed = page.parts.in_use().sha256, page.parts.setting(product).area_changed
    parts = page.parts.store.read(
        lambda c: reviewed_parts(c, product=product, sampled=True, since=changed)
    )
    usable = usable_parts([p for p in parts if p.bundle == bundle], product, page.parts.secret)
    return usable, [part.score for part in usable.good if part.score is not None]


def _url(product: str) -> str:
    return f"/settings/{quote(product, safe='')}"


async def _save(
    page: Page, product: str, change: Callable[[ProductSetting], dict[str, Any]]
) -> None:
    """Check and keep a changed setting, and have the workers take it up.

    ``change``: the fields that change, of the present setting; what it raises is passed on.
    """

    def changed(before: ProductSetting) -> ProductSetting:
        model = page.parts.model()
        setting = ProductSetting.model_validate({**before.model_dump(), **change(before)})
        assert model.calibration is not None  # in_force raises without one
        c, bundle = model.calibration.classes[product], page.parts.in_use().sha256
        adjusted_class(c, setting, model.size, bundle)
        return setting

    await asyncio.to_thread(page.parts.change_setting, product, changed, page.name)


@router.post("/settings/{product}/thresholds")
async def save_thresholds(request: Request, product: str) -> Response:
    """Keep two thresholds, or go back to the bundle's."""
    page, fields = await form_page(request, "engineer")
    await asyncio.to_thread(in_force, page, product)
    if fields.get("reset"):
        nothing = dict.fromkeys(("review", "fail", "sample", "bundle"))
        await _save(page, product, lambda _: nothing)
        return page.go(_url(product), "saved")
    review, fail = (_number(fields.get(name, "")) for name in ("review", "fail"))
    if review is None or fail is None or review > fail:
        return page.go(_url(product), "order")
    bundle = page.parts.in_use().sha256

    def change(before: ProductSetting) -> dict[str, Any]:
        values = {"review": review, "fail": fail, "bundle": bundle}
        # A sample under another bundle is dropped.
        return values if before.bundle == bundle else {**values, "sample": None}

    await _save(page, product, change)
    return page.go(_url(product), "saved")


@router.post("/settings/{product}/shapes")
async def save_shapes(request: Request, product: str) -> Response:
    """Add or remove a region of the inspected area."""
    page, fields = await form_page(request, "engineer")
    await asyncio.to_thread(in_force, page, product)

    def change(before: ProductSetting) -> dict[str, Any]:
        shapes = [shape.model_dump() for shape in before.shapes]
        if "remove" in fields:
            del shapes[int(fields["remove"])]
        else:
            shapes.append(_shape(fields).model_dump())
        return {"shapes": shapes}

    try:
        await _save(page, product, change)
    except ConfigError:
        return page.go(_url(product), "nothing_left")
    except (ValueError, IndexError, RecursionError):  # pydantic's errors are ValueErrors
        return page.go(_url(product), "bad_shape")
    return page.go(_url(product), "saved")


def _shape(fields: dict[str, str]) -> Shape:
    points: Any
    if fields.get("points"):
        points = json.loads(fields["points"])
    else:
        left, top, right, bottom = (
            float(fields[side]) / 100 if side in fields else math.nan
            for side in ("left", "top", "right", "bottom")
        )
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return Shape.model_validate({"kind": fields.get("kind"), "points": points})


@router.post("/settings/{product}/size")
async def save_size(request: Request, product: str) -> Response:
    """Keep the smallest defect and the scale."""
    page, fields = await form_page(request, "engineer")
    await asyncio.to_thread(in_force, page, product)
    scale = fields.get("mm_per_px", "").strip()
    try:
        sizes = {
            "min_area_px": _number(fields.get("min_area_px", "")),
            "mm_per_px": float(scale) if scale else None,
        }
        await _save(page, product, lambda _: sizes)
    except (ValidationError, ValueError) as error:
        raise Problem(422, "invalid", "the smallest defect or the scale is no number") from error
    return page.go(_url(product), "saved")


@router.post("/settings/{product}/recalibrate")
async def recalibrate(request: Request, product: str) -> Response:
    """Use the thresholds that the random share gives."""
    page, _ = await form_page(request, "engineer")
    await asyncio.to_thread(in_force, page, product)
    usable, scores = await asyncio.to_thread(usable_scores, page, product)
    check_decided(usable)
    new = new_thresholds(scores, usable.unsure + usable.waiting, **_asked(page, product))
    ids = {part.id for part in usable.good if part.score is not None}
    qualities = await asyncio.to_thread(
        page.parts.store.read, lambda k: queries.qualities(k, product, ids)
    )
    sample = {
        "scores": scores,
        **{
            name: [qualities[part.id][name] for part in usable.good if part.id in ids]
            for name in ("sharpness", "brightness")
        },
    }
    values = {
        "review": new.review.value,
        "fail": new.fail.value,
        "bundle": page.parts.in_use().sha256,
        "sample": sample,
    }
    await _save(page, product, lambda _: values)
    return page.go(_url(product), "recalibrated")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
