"""The Triton kernels compile for a GPU: the interpreter checks no types. No GPU is needed."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

SIZES = {"L", "D", "K", "tiles"}
WIDTHS = {"R": 4, "N": 16, "RP": 4, "NP": 16, "BD": 16, "T": 16}


def compile_all() -> None:
    """Compile each kernel with each of its flags, for maps in bfloat16."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mambaad.ops.selective_scan.triton.backward import backward_kernel
    from mambaad.ops.selective_scan.triton.forward import forward_kernel

    def type_of(name: str) -> str:
        pointers = {"order": "*i32", "u": "*bf16", "proj": "*bf16"}
        return "i32" if name in SIZES else pointers.get(name, "*fp32")

    for kernel, flags in (
        (forward_kernel, {"STATES_ONLY": True, "KEEP": False}),
        (forward_kernel, {"STATES_ONLY": False, "KEEP": True}),
        (backward_kernel, {"COSTATES_ONLY": True}),
        (backward_kernel, {"COSTATES_ONLY": False}),
    ):
        constants = {**WIDTHS, **flags}
        names = kernel.arg_names
        types = {n: "constexpr" if n in constants else type_of(n) for n in names}
        source = ASTSource(fn=kernel, signature=types, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32))
        assert compiled.asm["ptx"]


def test_the_kernels_compile_for_a_gpu(tmp_path):
    # In a process of its own: here Triton was imported to interpret.
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, __file__]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


if __name__ == "__main__":
    compile_all()
