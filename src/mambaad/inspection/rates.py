"""The rates of false alarms that a calibration can aim at; loads neither NumPy nor PyTorch."""

from __future__ import annotations

from mambaad.errors import ConfigError

SMALLEST = 1e-6  # which takes a million good parts


def check_rates(target_fpr: float, review_fpr: float) -> None:
    """Refuse shares of good parts that calibration cannot aim at (ConfigError)."""
    for flag, rate in (("--target-fpr", target_fpr), ("--review-fpr", review_fpr)):
        if not SMALLEST <= rate < 1:
            raise ConfigError(
                f"{flag}: expected a share of at least {SMALLEST:.6f} and below 1, got {rate}"
            )
    if review_fpr < target_fpr:
        raise ConfigError(
            f"--review-fpr {review_fpr} is below --target-fpr {target_fpr}, but every FAIL counts "
            "as not passed; give a larger one"
        )
