"""The Triton kernels compile for GPUs without spilling: the interpreter sees neither.

No GPU is needed. Here every kernel is compiled for each generation of GPUs with one type of maps,
and for one of them with all numbers of states. All combinations take ten minutes
(``python tests/ops/selective_scan/gpu_compile.py 80 86 89 90 100``).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

from triton.backends import nvidia

CASES = {
    "8.0": ("80", "--dtypes", "bf16", "--states", "16"),
    "8.6": ("86", "--dtypes", "fp32", "--states", "16"),
    "8.9": ("89", "--dtypes", "fp16", "--states", "16"),
    "9.0": ("90", "--dtypes", "bf16"),
    "10.0": ("100", "--dtypes", "bf16", "--states", "16"),
}


@pytest.mark.parametrize("capability", CASES)
def test_the_kernels_compile_for_a_gpu_and_spill_nothing(capability, tmp_path):
    if capability == "10.0" and not (Path(nvidia.__file__).parent / "bin/ptxas-blackwell").exists():
        pytest.skip("this Triton knows no GPU of compute capability 10.0")
    # In a process of its own: here Triton was imported to interpret.
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    script = Path(__file__).with_name("gpu_compile.py")
    command = [sys.executable, script, *CASES[capability]]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {row["kernel"].split(",")[0] for row in rows} == {
        *("forward", "costates", "backward"),
        *("expand", "low gradient", "weight gradient"),
    }
    assert [row for row in rows if row["spilled"]] == []
