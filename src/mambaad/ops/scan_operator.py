"""The name of the selective scan in exported models; loads nothing.

An exported graph, its definition in ONNX (``selective_scan/onnx.py``) and the runtimes' kernels
mean the same inputs and output by it: those of
:func:`mambaad.ops.selective_scan.selective_scan`. Whoever changes them counts the version up.
"""

DOMAIN, OPERATOR, VERSION = "mambaad", "SelectiveScan", 1
