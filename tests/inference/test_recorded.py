"""What is recorded is tested in ``test_on_a_gpu.py``; here, that nothing is recorded on a CPU."""

import torch

from mambaad.inference.compiled import is_recorded
from mambaad.inference.recorded import WARM_UP, Recorder

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_on_a_cpu_the_function_is_called_each_time():
    seen = []

    def double(x):
        seen.append(x)
        return (2 * x,)

    recorder = Recorder(double, CPU)
    for number in range(WARM_UP + 2):
        (y,) = recorder(torch.tensor(float(number)))
        assert y == 2 * number
    assert len(seen) == WARM_UP + 2


def test_one_gpu_records_unless_it_is_off():
    assert is_recorded("cuda-graphs", GPU)
    assert is_recorded("default", GPU)
    assert not is_recorded("off", GPU)
    assert not is_recorded("cuda-graphs", GPU, devices=2)
    assert not is_recorded("cuda-graphs", CPU)
