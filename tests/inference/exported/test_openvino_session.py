"""What OpenVINO does to the process that it runs in."""

import subprocess
import sys

import pytest

_PROGRAM = """
import faulthandler, gc, signal, sys, threading
from pathlib import Path
import numpy as np
import openvino
from openvino import opset13
from mambaad.inference.exported.openvino_session import OpenVinoSession

faulthandler.enable()  # which has signals handled on a stack of their own
folder = Path(sys.argv[1])
images = opset13.parameter([1, 2, 2, 3], np.uint8, name="images")
result = opset13.convert(images, np.float32)
result.output(0).set_names({"map"})
openvino.save_model(openvino.Model([result], [images]), folder / "plain.xml", False)
files = {path.name: path.read_bytes() for path in folder.iterdir()}
held = [OpenVinoSession(files, None)]
assert held[0].run(np.full((1, 2, 2, 3), 7, np.uint8))["map"].max() == 7

def let_go():
    held.clear()
    gc.collect()

thread = threading.Thread(target=let_go)
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda *_: print("Ctrl-C was handled"))
signal.raise_signal(signal.SIGINT)
"""


def test_ctrl_c_is_handled_after_a_session_went_in_another_thread(tmp_path):
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "Ctrl-C was handled\n"), done.stderr
