"""The CUDA kernels as programs: compiled without a GPU, and kept."""

import pytest
import torch

from mambaad.inference.device import is_lost
from mambaad.ops.selective_scan.cuda import program
from mambaad.process import is_out_of_memory

pytest.importorskip("cuda.bindings")


def test_what_was_compiled_is_kept_and_what_is_damaged_is_compiled_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = program.compile_file("backward.cu", 90, 8)
    assert first.startswith(b"\x7fELF")
    (kept,) = tmp_path.rglob("backward.cu-*")
    with monkeypatch.context() as patch:
        patch.setattr(program, "_compiled", lambda *_: b"compiled again")
        assert program.compile_file("backward.cu", 90, 8) == first
        kept.write_bytes(kept.read_bytes()[:100])
        assert program.compile_file("backward.cu", 90, 8) == b"compiled again"
        assert program.compile_file("backward.cu", 90, 16) == b"compiled again"  # another program


def test_without_a_folder_to_keep_it_in_it_is_compiled(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(program, "_compiled", lambda *_: b"compiled")
    assert program.compile_file("forward.cu", 90, 8) == b"compiled"


def test_code_that_does_not_compile_is_one_error(monkeypatch):
    with pytest.raises(RuntimeError, match=r"forward\.cu does not compile .*sm_90"):
        program._compiled(
            "forward.cu", b"__global__ void f() { g(); }", ["--gpu-architecture=sm_90"]
        )


def test_errors_of_the_driver_are_known_for_what_they_are():
    from cuda.bindings.driver import CUresult

    with pytest.raises(torch.OutOfMemoryError) as full:
        program._checked((CUresult.CUDA_ERROR_OUT_OF_MEMORY,))
    assert is_out_of_memory(full.value)
    with pytest.raises(RuntimeError) as lost:
        program._checked((CUresult.CUDA_ERROR_ILLEGAL_ADDRESS,))
    assert is_lost(lost.value)
    assert program._checked((CUresult.CUDA_SUCCESS, 3)) == 3
