"""onnxruntime without its telemetry, which its newer packages for Linux and macOS have."""

from __future__ import annotations

import os

VARIABLES = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")
"""By either name, as versions differ; https://github.com/microsoft/onnxruntime/pull/27379."""


def without_telemetry() -> None:
    """Have onnxruntime send nothing, and leave no identifier on the machine.

    It decides when it is imported, so this comes before. What the user has set is left as it is.
    """
    for name in VARIABLES:
        os.environ.setdefault(name, "1")
