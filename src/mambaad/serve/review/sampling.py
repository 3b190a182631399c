"""The random share: which parts go to review whatever their score, and with which probability.

Parts that go to review because of their score say nothing about those that passed, and too much
about those that nearly did. So a share of all parts, PASS included, is drawn as well, before and
independently of the score. The draw is a keyed hash of the image: nobody without the secret can
tell beforehand whether a part will be looked at, and the same image sent again has the same draw,
so nobody can try until it is not. Inspecting a part again, after a crash or against another
bundle, does not change its draw either.

The draw of an image is one number u, uniform in [0, 1), and the part is drawn if u is below the
share of that moment. Shares of different size are therefore nested: the parts drawn at 1 % are
among those that would have been drawn at 2 %. :func:`thinned` uses that.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mambaad.errors import ConfigError, RunError
from mambaad.files import written_whole
from mambaad.serve.review.parts import ReviewedPart

SECRET_BYTES = 32
SECRET_FILE = "review.secret"
_DOMAIN = b"mambaad random share 1\0"
_BITS = 53  # of a double's significand, so that every number of them is exact


def read_secret(folder: Path) -> bytes:
    """Read the secret of an installation, or make one, for its owner's eyes alone (RunError)."""
    path = folder / SECRET_FILE
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        with written_whole(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(secrets.token_bytes(SECRET_BYTES))
            temporary.chmod(0o600)
        secret = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from error
    if len(secret) != SECRET_BYTES:
        raise RunError(f"{path} is damaged; restore it from a copy: earlier draws need it")
    return secret


@dataclass(frozen=True)
class Draw:
    """The outcome of a draw: whether the part goes to review, and how probable that was."""

    drawn: bool
    probability: float


def draw(digest: str, secret: bytes, share: float) -> Draw:
    """Draw whether a part goes to review, whatever its score.

    Args:
        digest: SHA-256 of its image, hexadecimal.
        secret: of this installation, at least 16 bytes, known to no client.
        share: probability of being drawn, in [0, 1].

    Raises:
        ConfigError: a share outside [0, 1], or a secret that is too short.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"review share: expected a share from 0 to 1, got {share}")
    return Draw(uniform(digest, secret) < share, share)


def uniform(digest: str, secret: bytes) -> float:
    """Compute a part's number in [0, 1): HMAC-SHA256 of its digest, the first 53 bits of it."""
    if len(secret) < 16:
        raise ConfigError(
            f"the secret of the random share has {len(secret)} bytes, expected at least 16"
        )
    code = hmac.new(secret, _DOMAIN + bytes.fromhex(digest), sha256).digest()
    return (int.from_bytes(code[:8], "big") >> (64 - _BITS)) / 2.0**_BITS


def thinned(parts: Iterable[ReviewedPart], secret: bytes) -> tuple[list[ReviewedPart], float]:
    """Reduce drawn parts to those that the smallest of their shares would have drawn.

    Where the share was changed over time, times with a larger one are over-represented. Conformal
    thresholds need a sample in which every part had the same chance, and get it by keeping those
    whose number is below the smallest share: the parts that would have been drawn, had that share
    been in force all the time.

    Args:
        parts: drawn parts (:func:`mambaad.serve.review.parts.random_share`).
        secret: that they were drawn with.

    Returns:
        The parts that remain, in their order, and the common probability; 0 without any part.
    """
    kept = list(parts)
    if not kept:
        return [], 0.0
    lowest = min(part.probability for part in kept)
    if all(part.probability == lowest for part in kept):
        return kept, lowest
    return [part for part in kept if uniform(part.digest, secret) < lowest], lowest
