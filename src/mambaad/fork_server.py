"""Imported by the server of :func:`mambaad.process.process_context`, and by nothing else.

The server ends by itself when the process that started it does, but not while it imports. With this
import, its first, the kernel ends it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

STARTED_BY = "MAMBAAD_SERVER_OF"
"""In the server's environment: the id of the process whose main thread started it. With another
thread the kernel would end it as soon as that thread ends."""

_PR_SET_PDEATHSIG = 1  # from Linux's prctl.h

starter = os.environ.pop(STARTED_BY, "")
if starter and sys.platform == "linux" and "forkserver" in str(sys.orig_argv):
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(starter):  # it has ended before
        os._exit(1)
