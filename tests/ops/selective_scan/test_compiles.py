"""The kernels compile for GPUs without spilling: what runs them on a CPU sees neither.

No GPU is needed. Here every kernel is compiled for each generation of GPUs, for one of them with
all numbers of states, and by an older Triton too (in the folder ``MAMBAAD_OLDER_TRITON``). All
combinations: ``python tests/ops/selective_scan/gpu_compile.py 75 80 86 89 90 100 gfx942``, and with
``--cuda 8 16 32`` (from 80 on) the CUDA kernels.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

from triton.backends import nvidia

from mambaad.ops.selective_scan.cuda import program

CASES = {
    "7.5": ("75", "--states", "16"),
    "8.0": ("80", "--states", "16", "--cuda", "32"),
    "8.6": ("86", "--states", "16", "--cuda", "8"),
    "8.9": ("89", "--states", "16", "--cuda", "16"),
    "9.0": ("90", "--cuda", "8", "16", "32"),
    "10.0": ("100", "--states", "16", "--cuda", "32"),
    "AMD MI300": ("gfx942", "--states", "16"),
    "9.0, older Triton": ("90", "--states", "16"),
}
OLDER = os.environ.get("MAMBAAD_OLDER_TRITON")


@pytest.mark.parametrize("gpu", CASES)
def test_the_kernels_compile_for_a_gpu_and_spill_nothing(gpu, tmp_path):
    if gpu == "10.0" and not (Path(nvidia.__file__).parent / "bin/ptxas-blackwell").exists():
        pytest.skip("this Triton knows no GPU of compute capability 10.0")
    # In a process of its own: here Triton was imported to interpret.
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = environment["XDG_CACHE_HOME"] = str(tmp_path)
    if "older" in gpu:
        if not OLDER:
            pytest.skip("needs an older Triton in MAMBAAD_OLDER_TRITON")
        environment["PYTHONPATH"] = OLDER
    script = Path(__file__).with_name("gpu_compile.py")
    command = [sys.executable, script, *CASES[gpu]]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row for row in rows if row["spilled"]] == []
    assert result.returncode == 0, result.stderr
    expected = {
        *("forward", "costates", "backward"),
        *("expand", "low gradient", "weight gradient"),
    }
    if "--cuda" in CASES[gpu]:
        expected |= {f"CUDA {kernel}" for kernel in program.FILES}
    assert {row["kernel"].split(",")[0] for row in rows} == expected
