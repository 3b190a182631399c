"""The rates of false alarms that a calibration can aim at; loads neither NumPy nor PyTorch."""

from __future__ import annotations

from mambaad.errors import ConfigError


def check_rates(target_fpr: float, review_fpr: float) -> None:
    """Refuse shares of good parts that calibration cannot aim at (ConfigError)."""
    for flag, rate in (("--target-fpr", target_fpr), ("--review-fpr", review_fpr)):
        if not 0 < rate < 1:
            raise ConfigError(f"{flag}: expected a share above 0 and below 1, got {rate}")
    if review_fpr < target_fpr:
        raise ConfigError(
            f"--review-fpr {review_fpr} is below --target-fpr {target_fpr}, but every FAIL counts "
            "as not passed; give a larger one"
        )
