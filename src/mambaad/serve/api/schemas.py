"""What the API takes and gives, with examples."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mambaad.inspection.records import Record
from mambaad.serve.store.queries import Row

EXAMPLE_ID = "0197a3c1-5b7e-7c3a-9d20-0f6c2f1b7a11"
Text200 = Field(None, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")


class Inspection(Record):
    """An inspection: the record of predictions.jsonl, and what the service adds to it.

    ``id``: sorts by time. ``bundle``: the SHA-256 of what inspected the part. ``queue_ms``,
    ``worker_ms``: how long it waited and was worked on. ``sampled``: whether it was drawn for
    review whatever its verdict, with ``sample_probability``. ``decision``: the people's that holds;
    ``decision_id``: the last one, which the next one supersedes. ``differs``: whether the decision
    contradicts the verdict.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "schema_version": 1,
                    "path": "part.png",
                    "time": "2026-01-31T12:00:00+00:00",
                    "model": "5f" * 32,
                    "product": "bolt",
                    "product_given": True,
                    "verdict": "REVIEW",
                    "reason": "3 % of good parts score as high",
                    "score": 0.412,
                    "percentile": 97.0,
                    "p_value": 0.03,
                    "regions": [
                        {
                            "box": [40, 12, 71, 38],
                            "area_px": 420.0,
                            "area_mm2": 4.2,
                            "peak": 0.412,
                            "peak_at": [52, 20],
                        }
                    ],
                    "id": EXAMPLE_ID,
                    "part_id": "0197a3c1-5b7e-7c39-8a55-2f9b8f6e0c55",
                    "status": "done",
                    "serial": "A-1042",
                    "source": "http",
                    "received_at": "2026-01-31T12:00:00.000Z",
                    "inspected_at": "2026-01-31T12:00:00.042Z",
                    "sha256": "0c" * 32,
                    "format": "PNG",
                    "bundle": "b7" * 32,
                    "bundle_version": 3,
                    "queue_ms": 0.2,
                    "worker_ms": 38.5,
                    "attempts": 1,
                    "sampled": False,
                    "sample_probability": 0.02,
                    "in_review": True,
                    "review_reason": "REVIEW",
                }
            ]
        }
    )

    id: str
    part_id: str
    status: Literal["done"] = "done"
    serial: str | None = None
    source: str
    received_at: str
    inspected_at: str
    sha256: str
    format: str
    bundle: str
    bundle_version: int | None = None
    queue_ms: float
    worker_ms: float
    attempts: int
    sampled: bool
    sample_probability: float
    decision: str | None = None
    decision_id: str | None = None
    differs: bool = False
    in_review: bool = False
    review_reason: str | None = None


class Pending(BaseModel):
    """A part that was accepted and is not inspected yet; ``id`` will be its inspection's."""

    id: str = Field(examples=[EXAMPLE_ID])
    part_id: str
    status: Literal["waiting"] = "waiting"


class PixelAnomaly(BaseModel):
    """How much of the image something covers (0 to 1), and its colour in the mask."""

    TotalPercentageArea: float
    Color: str


class Anomaly(BaseModel):
    """What was found; we have one kind, ``defect``."""

    Name: str
    PixelAnomaly: PixelAnomaly


class DetectAnomalyResult(BaseModel):
    """See :func:`mambaad.serve.api.lookout.lookout_of`."""

    Source: dict[str, str]
    IsAnomalous: bool | None
    Confidence: float | None
    Anomalies: list[Anomaly]
    AnomalyMask: str | None = None


class Lookout(BaseModel):
    """An inspection with the fields of Amazon Lookout for Vision's ``DetectAnomalies``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "DetectAnomalyResult": {
                        "Source": {"Type": "direct"},
                        "IsAnomalous": True,
                        "Confidence": 0.97,
                        "Anomalies": [
                            {
                                "Name": "defect",
                                "PixelAnomaly": {"TotalPercentageArea": 0.006, "Color": "#40E0FF"},
                            }
                        ],
                        "AnomalyMask": "iVBORw0KGgo=",
                    }
                }
            ]
        }
    )

    DetectAnomalyResult: DetectAnomalyResult


class Page(BaseModel):
    """A page of a list; ``cursor`` gives the next one, None at the end."""

    items: list[Inspection]
    cursor: str | None = None


class NewDecision(BaseModel):
    """What a person decided about a part; ``withdrawn`` takes it back.

    ``supersedes``: the ``decision_id`` of the inspection, if it has one.
    """

    model_config = ConfigDict(extra="forbid")

    decision: Literal["good", "defective", "unsure", "withdrawn"] = Field(examples=["good"])
    note: str = Field("", max_length=2000, pattern=r"^[^\x00]*$")
    supersedes: str | None = Field(None, max_length=36, pattern=r"^[0-9a-f-]*$")


class Decision(BaseModel):
    """A decision as it was kept."""

    id: str
    inspection_id: str
    at: str
    actor: str
    decision: str
    note: str
    supersedes: str | None


class BundleVersion(BaseModel):
    """A version of the line's bundle; ``number`` None for a bundle without a registry."""

    number: int | None
    sha256: str
    added: str | None = None
    classes: list[str]
    note: str = ""
    in_use: bool


class SourceState(BaseModel):
    """A source of parts besides HTTP, and how it fares."""

    name: str
    kind: str
    state: dict[str, Any]


class SinkState(BaseModel):
    """A receiver of inspections: how many it has not taken yet, and why if something is wrong."""

    name: str = Field(examples=["mqtt"])
    waiting: int
    problem: str | None = None


class Login(BaseModel):
    """A name and password."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=100)
    password: str = Field(max_length=200)


class LoggedIn(BaseModel):
    """A session began; ``csrf`` goes into the header X-CSRF-Token of what changes something."""

    name: str
    csrf: str


class ErrorBody(BaseModel):
    """What went wrong: a word for programs, a sentence, and what to do."""

    code: str = Field(examples=["queue_full"])
    message: str
    hint: str = ""


class Error(BaseModel):
    """Every answer that is not 2xx."""

    error: ErrorBody


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's ``responses``: the one form of errors for some statuses."""
    return {status: {"model": Error} for status in (401, 403, 421, 503, *statuses)}


def inspection_of(row: Row) -> dict[str, Any]:
    """An inspection as JSON has it, from a row of the store."""
    record = dict(row["record"])
    # The columns repeat the record's product, verdict, score and error.
    added = {
        name: row[name] for name in Inspection.model_fields if name in row and name not in record
    }
    return {
        **record,
        **added,
        "status": "done",
        "inspected_at": row["at"],
    }
