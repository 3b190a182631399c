"""The table ``review``: what holds of a part, worked out from its inspection and decisions alone.

The row that is kept saves lists the work; the audit trail's check works it out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_NEEDS_REVIEW = ("REVIEW", "UNKNOWN PRODUCT", "BAD IMAGE")
_PASSES = {"PASS": True, "FAIL": False}
_GOOD = {"good": True, "defective": False}


def review_of(
    last: Mapping[str, Any] | None,
    *,
    product: str | None,
    verdict: str | None,
    error: str | None,
    sampled: bool,
) -> dict[str, Any] | None:
    """Work out a part's row of ``review``, but its key; None if it has none.

    Args:
        last: the decision that no other supersedes, with ``id`` and ``decision``; None if nobody
            has decided.
        product, verdict, error, sampled: of its inspection.
    """
    # A person should look at a part in doubt, and at one that could not be inspected.
    is_doubtful = verdict in _NEEDS_REVIEW or error is not None
    is_wanted = is_doubtful or bool(sampled)
    if last is None and not is_wanted:
        return None
    decided = last["decision"] if last else None
    passes, good = _PASSES.get(verdict or ""), _GOOD.get(decided or "")
    is_undecided = decided in (None, "withdrawn")
    return {
        "product": product,
        "reason": "verdict" if is_doubtful else "sample" if sampled else "decided",
        "is_open": decided == "unsure" or (is_undecided and is_wanted),
        # A withdrawal is the last of the decisions, and is superseded next.
        "decision": None if is_undecided else decided,
        "decision_id": last["id"] if last else None,
        "differs": None not in (passes, good) and passes != good,
    }


def last_of(decisions: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The one of a part's decisions that no other supersedes; None without any."""
    kept = list(decisions)
    superseded = {one["supersedes"] for one in kept}
    return next((one for one in kept if one["id"] not in superseded), None)
