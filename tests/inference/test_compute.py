import subprocess
import sys

import pytest

from mambaad.errors import ConfigError
from mambaad.inference.compute import PRECISIONS, check_precision


def test_known_precisions_are_taken_and_others_refused_in_one_line():
    assert PRECISIONS == ("float32", "bfloat16")
    for precision in PRECISIONS:
        check_precision(precision)
    with pytest.raises(ConfigError) as caught:
        check_precision("float16")
    expected = "--precision: expected one of float32, bfloat16, got 'float16'"
    assert str(caught.value) == expected


def test_checking_one_does_not_wait_for_pytorch():
    program = "import mambaad.inference.compute, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
