"""A line with parts that were inspected, made up, in a real store."""

import hashlib
import io
import json
from dataclasses import asdict
from datetime import datetime, timedelta, timezone

import numpy as np
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import insert, text

from mambaad.inspection.calibration import Calibration, ClassCalibration
from mambaad.inspection.product_settings import ProductSettings
from mambaad.inspection.quality import QualityLimits
from mambaad.inspection.records import Record
from mambaad.inspection.thresholds import conformal_threshold
from mambaad.serve.app import HEADERS
from mambaad.serve.auth import Auth
from mambaad.serve.page import add_page
from mambaad.serve.page.page import Bundle, Model, PageParts
from mambaad.serve.review.sampling import draw
from mambaad.serve.settings import make_settings
from mambaad.serve.store.images import ImageStore
from mambaad.serve.store.rows import NewInspection, NewPart, time_text
from mambaad.serve.store.store import Store
from mambaad.serve.store.tables import audit, inspection, part, review
from mambaad.types import Reading

SECRET = b"only for the tests, 32 bytes long"
BUNDLE = "b" * 64
WEIGHTS = "c" * 64
SIZE = (64, 64)


def calibration():
    """Two products, each calibrated on 199 good parts whose scores are uniform from 0 to 0.4."""
    scores = np.linspace(0.002, 0.398, 199)
    c = ClassCalibration(
        scores=scores,
        distances=np.full(199, 0.1),
        sharpness=np.linspace(-2, -1, 199),
        brightness=np.linspace(100, 140, 199),
        review=conformal_threshold(scores, 0.05),
        fail=conformal_threshold(scores, 0.01),
        outline=0.3,
        median=0.05,
        unknown_beyond=0.5,
        limits=QualityLimits((-4, 0), (60, 180), 0.1, 0.1, ((96, 128),)),
        settings=ProductSettings(),
    )
    return Calibration({"bolt": c, "metal nut": c}, "hold-out", 0, "float32", WEIGHTS)


def image_bytes(number, is_odd):
    random = np.random.default_rng(number)
    y, x = np.mgrid[:96, :128]
    pixels = (
        120 + 60 * (np.hypot(y - 48, x - 64) < 38)[..., None] + random.normal(0, 5, (96, 128, 3))
    )
    if is_odd:
        pixels[np.hypot(y - 40, x - 70) < 9] = (200, 40, 30)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def embedding_of(number):
    return np.random.default_rng(number).normal(size=8).astype(np.float16)


def verdict_of(number):
    if number % 23 == 22:
        return ("UNKNOWN PRODUCT", "BAD IMAGE")[number // 23 % 2]
    return {3: "REVIEW", 8: "FAIL", 13: "REVIEW"}.get(number % 15, "PASS")


def record(number, verdict):
    random = np.random.default_rng(number)
    score = {"PASS": 0.38, "REVIEW": 0.02, "FAIL": 0.3}.get(verdict, 0.3) * random.random()
    score += {"REVIEW": 0.381, "FAIL": 0.41}.get(verdict, 0.0)
    regions = []
    if verdict in ("REVIEW", "FAIL"):
        regions = [
            {
                "box": (60, 30, 80, 50),
                "area_px": 250.0,
                "area_mm2": 3.6,
                "peak": score,
                "peak_at": (70, 40),
            }
        ]
    reason = {"PASS": "", "BAD IMAGE": "blurred: sharpness -4.50 (from -4.00)"}
    return Record(
        path="",
        time="2026-01-01T00:00:00+00:00",
        model=WEIGHTS,
        product=None if verdict == "UNKNOWN PRODUCT" else ("bolt", "metal nut")[number % 2],
        product_margin=0.4,
        verdict=verdict,
        reason=reason.get(
            verdict, f"peak {score:.4f} is above 0.3800, which 5.0% of good parts exceed"
        ),
        score=score,
        percentile=50.0,
        p_value=0.5,
        regions=regions,
        quality={
            "sharpness": -1.5,
            "brightness": 120.0,
            "dark": 0.0,
            "bright": 0.0,
            "height": 96,
            "width": 128,
        },
    )


def rows(number, at, share=0.02, sha256=None):
    """A part and its inspection; ids sort by number."""
    made = record(number, verdict_of(number))
    sha256 = sha256 or hashlib.sha256(f"image {number}".encode()).hexdigest()
    drawn = draw(sha256, SECRET, share)
    new_part = NewPart(
        id=f"0197a3c1-0000-7000-8000-{number:012x}",
        received_at=at,
        source="http",
        sha256=sha256,
        bytes=1000,
        format="PNG",
        request_digest=sha256,
        serial=f"SN-{number:06}",
    )
    inspected = NewInspection(
        id=f"0197a3c1-1000-7000-8000-{number:012x}",
        part_id=new_part.id,
        at=at,
        record=made.model_dump_json(),
        bundle=BUNDLE,
        bundle_version=None,
        queue_ms=1.0,
        worker_ms=100.0,
        attempts=1,
        sampled=drawn.drawn,
        sample_probability=drawn.probability,
    )
    return new_part, inspected


def inspection_id(number):
    return f"0197a3c1-1000-7000-8000-{number:012x}"


def minutes_ago(minutes):
    return time_text(datetime.now(timezone.utc) - timedelta(minutes=minutes))


def make_parts(folder, database=None, **settings):
    """The page's parts over an empty store below a folder, or in a database."""
    settings = make_settings(
        bundle=folder / "line.mambaad", data=folder, database=database, **settings
    )
    store = Store(folder, settings.database_url)
    model = Model(("bolt", "metal nut"), calibration(), SIZE, Reading())
    changed = []

    def change_setting(product, change, actor):
        before = parts.setting(product)
        after = change(before)
        if after.shapes != before.shapes:
            after = after.model_copy(update={"area_changed": minutes_ago(0)})
        store.put_setting(product, after.model_dump(mode="json"), actor=actor).result()
        changed.append(product)

    parts = PageParts(
        store=store,
        auth=Auth(store, settings),
        images=ImageStore(folder, 0),
        secret=SECRET,
        in_use=lambda: Bundle(folder / "line.mambaad", BUNDLE),
        promote=lambda number, actor: None,
        rollback=lambda actor, expected: 1,
        change_setting=change_setting,
        read_model=lambda path: model,
    )
    parts.changed = changed
    return parts


def fill(parts, count, *, share=0.2, with_images=True, minutes=60.0, first=0):
    """Keep parts as the service does; the newest was inspected just now."""
    waiting = []
    for number in range(first, first + count):
        content = image_bytes(number, verdict_of(number) in ("FAIL", "REVIEW"))
        sha256 = hashlib.sha256(content).hexdigest()
        new_part, inspected = rows(
            number, minutes_ago(minutes * (1 - number / count)), share, sha256
        )
        if with_images:
            layer = np.zeros(SIZE, np.float32)
            layer[20:34, 30:40] = 0.5
            file = io.BytesIO()
            np.savez(
                file,
                map=layer,
                regions=layer > 0,
                range=np.asarray((0.05, 0.7)),
                at=np.asarray((27, 35)),
                shares=np.asarray((0.5, 0.3, 0.2)),
                strides=np.asarray((4, 8, 16)),
                embedding=embedding_of(number),
            )
            small = io.BytesIO()
            Image.open(io.BytesIO(content)).resize((96, 72)).save(small, "JPEG")
            parts.images.spool(new_part, content)
            parts.images.keep(new_part, file.getvalue(), small.getvalue())
            parts.images.release(new_part)
        waiting.append(parts.store.add_inspection(new_part, inspected))
    for future in waiting:
        future.result()


def fill_quickly(parts, count, *, share=0.02, first=0):
    """Keep many parts without images and with a made-up audit trail, for measurements alone."""
    templates = [rows(number, minutes_ago(0), 0.0) for number in range(690)]  # all verdicts
    records = [json.loads(inspected.record) for _, inspected in templates]
    copied = [{k: r[k] for k in ("product", "verdict", "score", "error")} for r in records]
    pairs = [(asdict(p), {**asdict(i), **c}) for (p, i), c in zip(templates, copied, strict=True)]
    made = {part: [], inspection: [], review: [], audit: []}
    last = parts.store.last_event()
    for number in range(first, count):
        new_part, inspected = pairs[number % len(pairs)]
        at = minutes_ago(60 * 24 * (1 - number / count))
        drawn = number % round(1 / share) == 0
        ids = {"id": inspection_id(number), "part_id": f"0197a3c1-0000-7000-8000-{number:012x}"}
        sha256 = f"{number:064x}"
        made[part].append(
            {**new_part, "id": ids["part_id"], "received_at": at, "serial": f"SN-{number:06}"}
            | {"sha256": sha256, "request_digest": sha256}
        )
        sampled = {"sampled": drawn, "sample_probability": share}
        made[inspection].append({**inspected, **ids, **sampled, "at": at})
        if drawn or inspected["verdict"] not in ("PASS", "FAIL"):
            made[review].append(
                {
                    "inspection_id": ids["id"],
                    "product": inspected["product"],
                    "reason": "sample" if inspected["verdict"] in ("PASS", "FAIL") else "verdict",
                    "is_open": True,
                    "differs": False,
                }
            )

        made[audit].append(
            {"seq": last + len(made[audit]) + 1, "at": at, "actor": "http", "kind": "inspection"}
            | {"subject": ids["id"], "content": sha256, "previous": sha256}
            | {"hash": f"{inspection_id(number):0>64}"}
        )

    def write(connection):
        for table, new in made.items():
            connection.execute(insert(table), new)
        if connection.dialect.name == "postgresql":  # as it does by itself within a minute
            connection.execute(text("ANALYZE"))

    parts.store.write(write).result()


def make_app(parts):
    """An application of the pages alone, with the service's headers."""
    app = FastAPI()

    @app.middleware("http")
    async def add_headers(request, call_next):
        response = await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    add_page(app, parts)
    return app
