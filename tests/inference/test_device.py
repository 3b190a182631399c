import pytest
import torch

from mambaad.errors import ConfigError
from mambaad.inference import device
from mambaad.inference.device import find_device, is_lost, memory_of
from mambaad.ops.selective_scan import operator
from mambaad.process import is_out_of_memory

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """As where a GPU's driver is installed; the lines that were said before do not count."""
    (tmp_path / "driver").touch()
    monkeypatch.setattr(device, "_DRIVERS", (tmp_path / "driver",))
    monkeypatch.setattr(device, "_said", set())


def test_a_device_that_there_is_not():
    assert find_device("cpu") == torch.device("cpu")
    for name in ("warp", "meta", "cuda:x", ""):
        with pytest.raises(
            ConfigError, match=f"expected auto, cpu, cuda, cuda:N or mps, got '{name}'"
        ):
            find_device(name)
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigError, match=f"--device: '{absent}' is not available") as error:
        find_device(absent)
    assert "\n" not in str(error.value)


@no_gpu
def test_auto_is_the_cpu_without_a_word_where_there_is_no_gpu(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(device, "_DRIVERS", (tmp_path / "absent",))
    assert find_device() == torch.device("cpu")
    assert capsys.readouterr().err == ""


@no_gpu
@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("hidden", ["", "-1"])
def test_auto_says_nothing_of_a_gpu_that_is_hidden(monkeypatch, capsys, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert find_device() == torch.device("cpu")
    assert capsys.readouterr().err == ""


def test_tritons_kernels_on_a_cpu_are_for_the_interpreter(monkeypatch):
    monkeypatch.setattr(operator, "triton_on_cpu", True)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ConfigError, match="MAMBAAD_KERNEL=triton needs a GPU; unset it, or set"):
        find_device("cpu")


@no_gpu
@pytest.mark.usefixtures("driver")
def test_auto_says_once_that_the_gpu_cannot_be_used(capsys):
    for _ in range(2):
        assert find_device("auto") == torch.device("cpu")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the GPU is not used (")
    assert line.endswith("); computing on the CPU")


def test_a_gpu_that_is_too_old(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(operator, "_wanted", "auto")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    gpu = torch.device("cuda")
    assert "its compute capability 6.1 is below 7.5" in device._too_old(gpu)
    monkeypatch.setattr(operator, "_wanted", "torch")  # then no kernel needs a newer one
    assert device._too_old(gpu) is None
    monkeypatch.setattr(operator, "_wanted", "auto")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert device._too_old(gpu) is None


def test_errors_of_memory_and_of_lost_gpus_are_told_apart():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    for error in (
        caught.value,
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ):
        assert is_out_of_memory(error)
        assert not is_lost(error)
    for text in (
        "CUDA error: unspecified launch failure",
        "HIP error: device not found",
        "CUDA driver error: unknown error",
        "Triton Error [CUDA]: an illegal memory access was encountered",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    ):
        assert is_lost(RuntimeError(text))
        assert not is_out_of_memory(RuntimeError(text))
    for error in (
        RuntimeError("CUDA error: operation not permitted when stream is capturing"),
        RuntimeError("CUDA error: operation failed due to a previous error during capture"),
        RuntimeError("shapes do not match"),
        ValueError("CUDA error"),
        KeyError("x"),
    ):
        assert not is_lost(error)
        assert not is_out_of_memory(error)
    if hasattr(torch, "AcceleratorError"):
        assert is_lost(torch.AcceleratorError("the device is gone"))


def test_memory_in_words(monkeypatch):
    assert memory_of(torch.device("cpu")) == "the memory"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**29, 8 * 2**30))
    assert memory_of(torch.device("cuda")) == "the GPU's memory (8.0 GiB, 0.5 free)"
