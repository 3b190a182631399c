"""Compile the kernels for GPUs, on a machine without one; report what the code needs.

    python gpu_compile.py GPU... [--states N...] [--cuda RANKS...] [--loops]

A GPU is the compute capability of NVIDIA's (90), or the architecture of AMD's (gfx942). Prints a
JSON line a kernel: its registers, what it spills, its shared memory, and with --loops the
instructions of its longest loop (NVIDIA's only). With --cuda also the CUDA kernels, by NVRTC; the
tools are Triton's. The exit code is 1 if a kernel spills. In a process of its own, since a process
that has interpreted kernels compiles none.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mambaad.ops.selective_scan.cuda import program
from mambaad.ops.selective_scan.plan import TILING, WIDTHS, channels_of
from mambaad.ops.selective_scan.triton.backward import backward_kernel, costate_kernel
from mambaad.ops.selective_scan.triton.forward import forward_kernel
from mambaad.ops.selective_scan.triton.products import product_of, product_warps
from mambaad.ops.selective_scan.triton.scans import STAGES, tile_of
from mambaad.ops.selective_scan.triton.time_steps import (
    expand_kernel,
    low_gradient_kernel,
    weight_gradient_kernel,
)

TOOLS = Path(nvidia.__file__).parent / "bin"
SIZES = {"L", "D", "K", "first_pair", "steps", "tiles_in_all", "tiles_of_part"}
RANKS = (4, 32)  # of the model's first and last stage
STATES = (16, 8, 32)  # the published decoder's, lite's, and the most
FORWARD = {
    "states only": {"STATES_ONLY": True, "KEEP": False, "ATOMIC": True},
    "inference": {"STATES_ONLY": False, "KEEP": False, "ATOMIC": True},
    "training": {"STATES_ONLY": False, "KEEP": True, "ATOMIC": True},
    "deterministic": {"STATES_ONLY": False, "KEEP": True, "ATOMIC": False},
}


def kernels(
    states: Sequence[int] = STATES, *, hip: bool = False
) -> Iterator[tuple[str, Any, dict[str, Any], int]]:
    """Each kernel with each set of compile-time arguments that is shipped, and its warps."""
    for count, width in itertools.product(states, WIDTHS):
        channels = channels_of(count, width)
        scan = {
            **{"R": RANKS[0], "N": count, **tile_of(count, channels)},
            **{"WIDE": False, "EVEN": True, "STAGES": STAGES},
        }
        tile, sizes = {**scan, "T": TILING.steps}, f"{count} states x {channels} channels"
        atomic = width == "atomic"
        for name, flags in FORWARD.items() if atomic else ():
            yield f"forward, {name}, {sizes}", forward_kernel, {**tile, **flags}, 1
        yield f"costates, {sizes}", costate_kernel, scan, 1
        name = "training" if atomic else "deterministic"
        yield f"backward, {name}, {sizes}", backward_kernel, {**tile, "ATOMIC": atomic}, 1
    for rank in RANKS:
        product = {"R": rank, "N": STATES[0], **product_of(rank, hip=hip)}
        for kernel in (expand_kernel, low_gradient_kernel, weight_gradient_kernel):
            name = kernel.__name__.removesuffix("_kernel").replace("_", " ")
            yield f"{name}, rank {rank}", kernel, product, product_warps(rank)


def compile_kernel(kernel: Any, constants: dict[str, Any], warps: int, target: GPUTarget) -> Any:
    """Compile for a GPU, with pointers aligned as PyTorch's are and sizes as the model's are."""
    types, attributes = {}, {}
    for index, name in enumerate(kernel.arg_names):
        if name in constants:
            types[name] = "constexpr"
            continue
        # The kernels read maps of any type as float32 (gpu.py).
        types[name] = "i32" if name in SIZES else "*i32" if name == "order" else "*fp32"
        if name not in ("K", "first_pair", "tiles_in_all", "tiles_of_part"):
            attributes[(index,)] = [["tt.divisibility", 16]]
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=types, constexprs=values, attrs=attributes)
    return triton.compile(source, target=target, options={"num_warps": warps})


def target_of(name: str) -> GPUTarget:
    if name.startswith("gfx"):
        return GPUTarget("hip", name, 64 if name.startswith("gfx9") else 32)
    return GPUTarget("cuda", int(name), 32)


def needs(compiled: Any, *, loops: bool) -> dict[str, Any]:
    """Of the machine code: registers a thread, spilled and shared bytes; also the longest loop."""
    if "amdgcn" in compiled.asm:
        pattern = r"\.(vgpr_count|vgpr_spill_count|group_segment_fixed_size):\s*(\d+)"
        counts = {name: int(n) for name, n in re.findall(pattern, compiled.asm["amdgcn"])}
        return {
            "registers": counts["vgpr_count"],
            "spilled": counts["vgpr_spill_count"],
            "shared": counts["group_segment_fixed_size"],
        }
    (figures,) = of_machine_code(compiled.asm["cubin"], loops=loops).values()
    return figures


def of_machine_code(binary: bytes, *, loops: bool) -> dict[str, dict[str, Any]]:
    """What each kernel in NVIDIA's machine code needs."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(binary)
        usage = _said_by("cuobjdump", "--dump-resource-usage", file.name)
        code = _said_by("nvdisasm", "-c", file.name) if loops else ""
    sections = re.split(r"\.section\s+\.text\.(\w+)", code)[1:]
    code_of = dict(zip(sections[::2], sections[1::2], strict=True))
    needed = {}
    for kernel, said in re.findall(r"Function (\w+):\n(.*)", usage):
        found = {name: int(count) for name, count in re.findall(r"(REG|STACK|SHARED):(\d+)", said)}
        figures: dict[str, Any] = {
            "registers": found["REG"],
            "spilled": found["STACK"],  # nothing else is on the stack
            "shared": found["SHARED"],
        }
        if loops:
            length, kinds = longest_loop(code_of[kernel])
            kinds_shown = ("MUFU", "SHFL", "LDG", "LDS", "LDGSTS", "STG")
            figures |= {"loop": length, "of which": {kind: kinds[kind] for kind in kinds_shown}}
        needed[kernel] = figures
    return needed


def _said_by(tool: str, *arguments: str) -> str:
    return subprocess.run(
        [TOOLS / tool, *arguments], capture_output=True, text=True, check=True
    ).stdout


def longest_loop(code: str) -> tuple[int, Counter[str]]:
    """The instructions of the longest loop that has no other within, and how many of each kind."""
    labels: dict[str, int] = {}
    instructions: list[tuple[str, str]] = []
    for line in code.splitlines():
        if label := re.match(r"\s*\.(L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif found := re.match(r"\s+/\*\w+\*/\s+(?:@!?U?P\d+\s+)?([A-Z0-9]+)(.*);", line):
            instructions.append((found[1], found[2]))
    loops = []
    for end, (kind, rest) in enumerate(instructions):
        target = re.search(r"L_x_\d+", rest) if kind == "BRA" else None
        begin = labels.get(target[0], end + 1) if target else end + 1
        if begin < end:
            loops.append((begin, end))
    inner = [a for a in loops if not any(a[0] <= b[0] and b[1] <= a[1] and a != b for b in loops)]
    begin, end = max(inner, key=lambda loop: loop[1] - loop[0], default=(0, -1))
    return end + 1 - begin, Counter(kind for kind, _ in instructions[begin : end + 1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile the kernels; see the top of the file.")
    parser.add_argument("gpus", nargs="+", metavar="GPU")
    parser.add_argument("--states", type=int, nargs="+", default=STATES, metavar="N")
    parser.add_argument("--cuda", type=int, nargs="+", default=(), metavar="RANKS")
    parser.add_argument("--loops", action="store_true")
    arguments = parser.parse_args()
    spilled = False
    for gpu in arguments.gpus:
        target = target_of(gpu)
        shipped = kernels(arguments.states, hip=target.backend == "hip")
        for name, kernel, constants, warps in shipped:
            compiled = compile_kernel(kernel, constants, warps, target)
            figures = needs(compiled, loops=arguments.loops)
            spilled |= figures["spilled"] > 0
            row = {"gpu": gpu, "kernel": name}
            print(json.dumps({**row, **figures}), flush=True)
        for ranks, file in itertools.product(arguments.cuda, sorted(set(program.FILES.values()))):
            binary = program.compile_file(file, int(gpu), ranks)
            for name, figures in of_machine_code(binary, loops=arguments.loops).items():
                spilled |= figures["spilled"] > 0
                row = {"gpu": gpu, "kernel": f"CUDA {name}, {ranks} ranks"}
                print(json.dumps({**row, **figures}), flush=True)
    sys.exit(int(spilled))


if __name__ == "__main__":
    main()
