"""Figures as plain text, for terminals and log files alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mambaad.files import printable

if TYPE_CHECKING:  # they import PyTorch, which mambaad info does not need
    from mambaad.config import TrainConfig
    from mambaad.workflows.evaluate import Evaluation
    from mambaad.workflows.profile import PartProfile
    from mambaad.workflows.verdicts import VerdictEvaluation


_LONGEST_CELL = 800


def aligned(rows: Sequence[Sequence[str]], *, last_is_text: bool = False) -> str:
    """Lay out rows as a table, numbers to the right; every cell stays within its line, and is cut
    where it is very long (names that were made by accident).

    Args:
        rows: of equal length, headings included; the first column is text.
        last_is_text: whether the last column is text too.
    """
    rows = [list(map(_cell, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text_columns = {0, len(widths) - 1} if last_is_text else {0}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _cell(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]} ..."


def metrics_table(evaluation: Evaluation) -> str:
    """A row for each class, in per cent."""
    return "\n".join(
        [
            aligned(evaluation.to_rows(), last_is_text=bool(evaluation.reasons)),
            f"per cent; protocol {evaluation.protocol}, {_place(evaluation)}",
            *evaluation.notes,
            f"time: model {evaluation.model_seconds:.0f} s, "
            f"metrics {evaluation.metric_seconds:.0f} s",
        ]
    )


def further_table(evaluation: Evaluation) -> str:
    """The figures that the data set has of its own, in per cent."""
    from mambaad.workflows.data_figures import to_rows

    return "\n".join(
        [
            f"figures of this data set, per cent; {_place(evaluation)}",
            aligned(to_rows(evaluation.further)),
            *evaluation.further_notes,
        ]
    )


def _place(evaluation: Evaluation) -> str:
    """Say where pixels were compared."""
    size = " x ".join(map(str, evaluation.size))
    if evaluation.at == "map":
        return f"pixels at the map's size, {size}"
    return f"pixels at the masks' own size, maps of {size}"


def verdict_tables(evaluation: VerdictEvaluation, at: str = "map") -> str:
    """What was found, in numbers of parts; then rates, with the product given, and inferred."""
    warnings = "".join(f"\nWARNING: {line}" for line in evaluation.warnings())
    return f"""{evaluation.lead()}{warnings}

{aligned(evaluation.plain_rows())}
found: FAIL or REVIEW; missed: PASS; false alarm: a good part that FAILs

In detail. Verdicts, product given (per cent of the good and of the defective parts)
{aligned(evaluation.to_rows(evaluation.given))}

Verdicts, product inferred
{aligned(evaluation.to_rows(evaluation.inferred))}

All classes pooled, one common threshold (set at the FAIL rate); pixels at the {at}'s size
{aligned(evaluation.unified_rows())}"""


def profile_table(config: TrainConfig, parts: Sequence[PartProfile]) -> str:
    """Lay out the profile of each module of a system."""
    rows = [["module", "parameters (M)", "trainable (M)", "GFLOPs", "ms per image"]]
    for part in parts:
        sizes = (f"{part.parameters / 1e6:.3f}", f"{part.trained / 1e6:.3f}")
        rows.append([part.name, *sizes, f"{part.flops / 1e9:.2f}", f"{1000 * part.seconds:.1f}"])
    height, width = config.size
    note = (
        f"{config.system}, encoder {config.encoder}, {height} x {width}; FLOPs count a "
        "multiplication and an addition as two, and include those of the selective scan."
    )
    if config.system == "mambaad" and config.encoder_groups is None:
        total = parts[-1].parameters + _order_entries(config)
        note += (
            f"\nThe released code counts order tables as parameters: {total / 1e6:.2f} M with them."
        )
    return f"{aligned(rows)}\n\n{note}"


def _order_entries(config: TrainConfig) -> int:
    """Count the entries of the released code's order tables: two of a map's length a block."""
    cells = [config.size[0] * config.size[1] // (32 >> stage) ** 2 for stage in range(4)]
    return 2 * sum(depth * length for depth, length in zip(config.depths, cells, strict=True))
