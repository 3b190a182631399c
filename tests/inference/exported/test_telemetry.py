"""onnxruntime leaves nothing on the machine, and starts nothing that sends, when a model runs."""

import os
import subprocess
import sys

import pytest

_LOADED = """
import os
from mambaad.inference.exported.onnx_session import OnnxSession
try:
    OnnxSession(b"no model", None)
except Exception as error:  # onnxruntime's own
    assert "odel" in str(error) or "rotobuf" in str(error), error
import onnxruntime
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.mark.parametrize("chosen", [None, "0"])
def test_nothing_is_left_in_the_temporary_folder(tmp_path, chosen):
    pytest.importorskip("onnxruntime")
    without = {k: v for k, v in os.environ.items() if not k.startswith("ORT_") and k != "CI"}
    given = {} if chosen is None else {"ORT_DISABLE_TELEMETRY": chosen}
    found = subprocess.run(
        [sys.executable, "-c", _LOADED],
        env={**without, **given, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == (chosen or "1")
    if chosen is None:
        assert list(tmp_path.rglob("*")) == []
