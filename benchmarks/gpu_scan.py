"""The scan on a GPU: its errors, and its times beside the device's limits."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mambaad.inference.recorded import Recorder
from mambaad.ops.order_tables import order_table
from mambaad.ops.selective_scan.dispatch import selective_scan
from mambaad.ops.selective_scan.vectorised import selective_scan_vectorised

sys.path.insert(0, str(Path(__file__).parent))
from gpu_clock import Clock, Sizes, ratio
from released_scan import mamba_ssm_scan, permuted_copies

HAS_MAMBA_SSM = importlib.util.find_spec("mamba_ssm") is not None
RELEASED = mamba_ssm_scan if HAS_MAMBA_SSM else permuted_copies
LANES, SPECIAL = 128, 16  # float32 multiply-adds, and exponentials, a multiprocessor and clock
STATES, DIRECTIONS = 16, 8
INPUTS = ("u", "proj", "dt_weight", "dt_bias", "A", "skip")


def scan_inputs(side: int, channels: int, batch: int, device: torch.device) -> dict[str, Any]:
    """Make random inputs of a stage's scan that require gradients."""
    torch.manual_seed(0)
    rank, length = max(channels // 32, 1), side * side  # R = C / 16, and D = 2 C
    inputs: dict[str, Any] = {
        "u": torch.randn(batch, length, channels),
        "proj": torch.randn(batch, length, DIRECTIONS * (rank + 2 * STATES)),
        "dt_weight": torch.randn(DIRECTIONS, channels, rank) * 0.1,
        "dt_bias": torch.rand(DIRECTIONS, channels) - 4,
        "A": -torch.rand(DIRECTIONS, channels, STATES) * 16,
        "skip": torch.ones(DIRECTIONS, channels),
    }
    inputs = {name: t.to(device).requires_grad_() for name, t in inputs.items()}
    return {**inputs, "order": order_table("hilbert", DIRECTIONS, side, side, device)}


def value_and_gradients(
    scan: Callable[..., torch.Tensor], inputs: dict[str, Any]
) -> list[torch.Tensor]:
    y = scan(*inputs.values())
    return [y, *torch.autograd.grad(y.square().sum(), [inputs[name] for name in INPUTS])]


def check(sizes: Sizes, device: torch.device) -> dict[str, dict[str, float]]:
    """Measure the largest relative errors of values and gradients, and changes from run to run.

    At the shapes that are timed, with four images, against PyTorch in float64; also for bfloat16
    maps.
    """
    table = {}
    for (side, channels), dtype in itertools.product(
        sizes.stages, (torch.float32, torch.bfloat16) if device.type == "cuda" else (torch.float32,)
    ):
        inputs = scan_inputs(side, channels, min(sizes.batch, 4), device)
        for name in ("u", "proj"):
            inputs[name] = inputs[name].detach().to(dtype).requires_grad_()
        exact_results = exactly(inputs)
        first, again = (value_and_gradients(selective_scan, inputs) for _ in range(2))
        errors, moved = {}, 0.0
        for name, *three in zip(("y", *INPUTS), first, again, exact_results, strict=True):
            ours, other, theirs = (t.detach().double() for t in three)
            scale = theirs.abs().max()
            errors[name] = float((ours - theirs).abs().max() / scale)
            moved = max(moved, float((ours - other).abs().max() / scale))
        if max(errors.values()) > (1e-3 if dtype == torch.float32 else 1e-2):
            sys.exit(f"gpu: the scan is wrong on this device, nothing is timed: {errors}")
        kind = str(dtype).removeprefix("torch.")
        table[f"{side}x{side}x{channels} {kind}"] = {**errors, "from_run_to_run": moved}
    return table


def exactly(inputs: dict[str, Any]) -> list[torch.Tensor]:
    """Values and gradients by PyTorch in float64, an image at a time: its states take GiB."""
    results = []
    for image in range(len(inputs["u"])):
        exact = {
            name: (t[image : image + 1] if name in ("u", "proj") else t).detach().double()
            for name, t in inputs.items()
            if name in INPUTS
        }
        exact = {name: t.requires_grad_() for name, t in exact.items()}
        given = {**exact, "order": inputs["order"]}
        results.append(value_and_gradients(selective_scan_vectorised, given))
    of_images, of_weights = [*zip(*results, strict=True)][:3], [*zip(*results, strict=True)][3:]
    return [*map(torch.cat, of_images), *(torch.stack(grads).sum(0) for grads in of_weights)]


def limits(device: torch.device) -> dict[str, float] | None:
    """Measure a copy's bytes a second; compute multiply-adds and exponentials from the clock."""
    if device.type != "cuda":
        return None
    source = torch.empty(2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = Clock(device, 10).medians({"copy": lambda: target.copy_(source)})["copy"] or math.inf
    properties = torch.cuda.get_device_properties(device)
    # In kHz; not in every version of PyTorch.
    clock = 1000 * getattr(properties, "clock_rate", 0)
    cycles = properties.multi_processor_count * clock
    return {
        "bytes_per_s": 2 * 2**30 / copied,
        "multiply_adds_per_s": LANES * cycles,
        "exponentials_per_s": SPECIAL * cycles,
    }


def recorded_seconds(plain: dict[str, Any], clock: Clock) -> dict[str, float | None]:
    """Time our kernels as a recorded graph replays them: without the launches one by one."""
    from mambaad.ops.selective_scan import gpu

    u, A = plain["u"], plain["A"]
    inputs = (*(plain[name] for name in INPUTS), plain["order"].int())
    kept = torch.empty(gpu.carry_shape(u, A), device=u.device)
    none = kept[:, :, :0]
    gradient = torch.randn_like(u)
    recorders = {
        "ours_forward_recorded": Recorder(lambda _: (gpu.forward(inputs, none),), u.device),
        "ours_forward_kept_recorded": Recorder(lambda _: (gpu.forward(inputs, kept),), u.device),
        "ours_backward_recorded": Recorder(
            lambda _: gpu.backward(inputs, kept, gradient), u.device
        ),
    }
    switch = torch.zeros(1, device=u.device)
    return clock.medians({n: functools.partial(r, switch) for n, r in recorders.items()})


def scan_table(sizes: Sizes, clock: Clock, peak: dict[str, float] | None) -> list[dict[str, Any]]:
    """Time each stage's scan, forward, backward and both, beside the released arrangement."""
    scans = {"ours": selective_scan, "released": RELEASED}
    results = []
    for side, channels in sizes.stages:
        inputs = scan_inputs(side, channels, sizes.batch, clock.device)
        plain = {name: t.detach() for name, t in inputs.items()}
        actions: dict[str, Callable[[], Any]] = {}
        half = {n: t.bfloat16() if n in ("u", "proj") else t for n, t in plain.items()}
        actions["ours_forward_bf16"] = functools.partial(selective_scan, *half.values())
        y = selective_scan(*inputs.values())
        actions["ours_backward"] = functools.partial(
            torch.autograd.grad,
            *(y, [inputs[name] for name in INPUTS], torch.randn_like(y)),
            retain_graph=True,
        )
        for name, scan in scans.items():
            actions[f"{name}_forward"] = functools.partial(scan, *plain.values())
            actions[f"{name}_both"] = functools.partial(value_and_gradients, scan, inputs)
        seconds = clock.medians(actions)
        if clock.device.type == "cuda":
            seconds |= recorded_seconds(plain, clock)
        values = sizes.batch * side**2 * channels
        states = values * DIRECTIONS * STATES
        read = 4 * (plain["u"].numel() + plain["proj"].numel() + values)
        row: dict[str, Any] = {
            "L": side**2,
            "D": channels,
            "batch": sizes.batch,
            **{f"{name}_ms": value and 1000 * value for name, value in seconds.items()},
            "least_bytes_forward": read,  # each map once, however many directions read it
            "states_per_s_forward": ratio(states, seconds["ours_forward"]),
            "released_over_ours_both": ratio(seconds["released_both"], seconds["ours_both"]),
        }
        spent = seconds.get("ours_forward_recorded")
        if peak and spent:
            row["of_bandwidth"] = read / spent / peak["bytes_per_s"]
            # dt A, its exponential, dt u B, the state and its part of y.
            row["of_multiply_adds"] = 5 * states / spent / max(peak["multiply_adds_per_s"], 1)
            row["of_exponentials"] = states / spent / max(peak["exponentials_per_s"], 1)
        results.append(row)
    return results
