"""Processes are watched, limited and replaced here as only Linux does it."""

import sys

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]
