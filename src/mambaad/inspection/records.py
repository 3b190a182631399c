"""Inspection records: the result for one image as a line of JSON, for downstream systems.

The fields are described in ``docs/verdicts.md``. A change that a reader of version 1 would
misread makes it version 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mambaad.documents import DocumentError, parse_json
from mambaad.errors import DataError
from mambaad.files import open_regular, printable
from mambaad.inspection.prediction import Prediction
from mambaad.inspection.quality import Quality
from mambaad.setting_checks import problem_of
from mambaad.types import Verdict

SCHEMA: Literal[1] = 1
_MOST_BYTES = 2**24  # of a line

_NUMBERS = ConfigDict(extra="ignore", allow_inf_nan=False)  # later versions may add fields


class RegionRecord(BaseModel):
    """A region in a record; see :class:`mambaad.types.Region`."""

    model_config = _NUMBERS

    box: tuple[int, int, int, int]
    area_px: float
    area_mm2: float | None
    peak: float
    peak_at: tuple[int, int]


class Record(BaseModel):
    """The record of one image; ``error``: why it has no score. See :class:`mambaad.Prediction`.

    ``skipped``: whether it stands for something that nobody expects to be inspected, such as a
    hidden folder; ``error`` says what it is.
    """

    model_config = _NUMBERS

    schema_version: Literal[1] = SCHEMA
    path: str
    time: str | None = None
    model: str | None = None
    product: str | None = None
    product_given: bool = False
    product_margin: float | None = None
    verdict: Verdict | None = None
    reason: str = ""
    score: float | None = None
    percentile: float | None = None
    p_value: float | None = None
    regions: list[RegionRecord] = []
    quality: Quality | None = None
    defect_type: str | None = None
    error: str | None = None
    skipped: bool = False

    @property
    def is_rejected(self) -> bool:
        """Whether the part failed or has no verdict; a part for REVIEW is not rejected."""
        if self.skipped:
            return False
        return self.error is not None or self.verdict not in (Verdict.PASS, Verdict.REVIEW)


class FrameRecord(BaseModel):
    """A frame in a cycle's record; see :class:`mambaad.capture.frame.Frame`."""

    model_config = _NUMBERS

    frame: int
    seconds: float
    score: float | None = None
    verdict: Verdict | None = None
    error: str | None = None


class CycleRecord(Record):
    """The record of a part, or a machine's cycle, of a stream; ``docs/streams.md`` has the fields.

    Version 1 is that of a single frame, whose score and verdict are an image's. Where frames are
    joined it is version 2: whoever compares scores with an image's thresholds would be misled.
    """

    schema_version: Literal[1, 2] = SCHEMA  # type: ignore[assignment]  # wider than an image's
    cycle: int
    serial: str | None = None
    source: str
    frame: int | None = None
    seconds: float | None = None
    taken: str | None = None
    frames: list[FrameRecord] = []
    rule: str | None = None
    dropped: int = 0


def record_of(
    path: str | Path,
    prediction: Prediction | None,
    *,
    product_given: bool = False,
    model: str | None = None,
    time: str | None = None,
    defect_type: str | None = None,
    error: str | None = None,
) -> Record:
    """Make the record of an image, whether or not it could be inspected.

    Args:
        path: the image's file; empty for pixels without one.
        prediction: the model's; None if there is an ``error``.
        product_given: whether the caller gave the product.
        model: the SHA-256 of the model's weights.
        time: of the inspection, as ISO 8601.
        defect_type: the data set's label, if it has one.
        error: why there is no prediction.
    """
    name = Path(printable(path)).as_posix() if path else ""
    if prediction is None:
        return Record(path=name, time=time, model=model, error=printable(error or ""))
    return Record(
        path=name,
        time=time,
        model=model,
        product=prediction.product,
        product_given=product_given,
        product_margin=prediction.product_margin,
        verdict=prediction.verdict,
        reason=prediction.reason,
        score=prediction.score,
        percentile=prediction.percentile,
        p_value=prediction.p_value,
        regions=[RegionRecord(**asdict(region)) for region in prediction.regions],
        quality=prediction.quality or None,  # type: ignore[arg-type]  # pydantic makes it one
        defect_type=defect_type,
    )


def read_records(path: Path) -> Iterator[Record]:
    """Read a file of records, one per line.

    Raises:
        DataError: a file that cannot be read, or a line that is not a record; names path and line.
    """
    try:
        with open_regular(path) as file:
            lines = iter(lambda: file.readline(_MOST_BYTES), b"")
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _record(path, number, line)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _record(path: Path, number: int, line: bytes) -> Record:
    try:
        return Record.model_validate(parse_json(line, str(path), first_line=number))
    except DocumentError as error:
        raise DataError(str(error)) from error
    except ValidationError as error:
        where, problem = problem_of(error)
        expected = "give a predictions.jsonl that 'mambaad predict' wrote"
        if where == "schema_version":
            expected += "; those of joined frames ('mambaad watch') have thresholds of their own"
        raise DataError(
            f"{path}, line {number}: {where or 'line'}: {problem}; {expected}"
        ) from None
