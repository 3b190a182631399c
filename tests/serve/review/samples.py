"""Parts to review, made up."""

from hashlib import sha256

from mambaad.serve.review.parts import ReviewedPart
from mambaad.serve.review.sampling import draw
from mambaad.types import Verdict

SECRET = b"only for the tests, 32 bytes long"


def digest_of(number):
    return sha256(f"part {number}".encode()).hexdigest()


def part(number, verdict="PASS", decision=None, *, probability=1.0, score=0.1, product="bolt"):
    """A part that was drawn at random, unless its probability is 0."""
    return ReviewedPart(
        id=f"i{number:06}",
        digest=digest_of(number),
        product=product,
        verdict=Verdict(verdict) if verdict else None,
        score=score,
        time="2026-03-01T08:00:00+00:00",
        probability=probability,
        drawn=probability > 0,
        decision=decision,
    )


def line(scores, defective, share, *, review=0.95, fail=0.99, first=0):
    """Parts as a service stores them: drawn by their digest, decided if drawn or REVIEW."""
    parts = []
    for number, (score, is_defective) in enumerate(zip(scores, defective, strict=True), first):
        verdict = "FAIL" if score > fail else "REVIEW" if score > review else "PASS"
        drawn = draw(digest_of(number), SECRET, share)
        decided = drawn.drawn or verdict == "REVIEW"
        parts.append(
            ReviewedPart(
                id=f"i{number:06}",
                digest=digest_of(number),
                product="bolt",
                verdict=Verdict(verdict),
                score=float(score),
                time="2026-03-01T08:00:00+00:00",
                probability=share,
                drawn=drawn.drawn,
                decision=("defective" if is_defective else "good") if decided else None,
            )
        )
    return parts
