"""The scan by the kernels of a GPU: natively where there is one, else by what stands in for it."""

import torch

from mambaad.ops.selective_scan import gpu
from mambaad.ops.selective_scan.dispatch import selective_scan
from mambaad.ops.selective_scan.plan import Tiling
from mambaad.ops.selective_scan.reference import selective_scan_reference
from tests.ops.conftest import FLOATS, Tensors, assert_close, make_inputs

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def scan(**inputs: torch.Tensor) -> torch.Tensor:
    """The dispatching function, on the device at hand."""
    return selective_scan(**{n: t.to(DEVICE) for n, t in inputs.items()}).cpu()


def placed(inputs: Tensors) -> tuple[torch.Tensor, ...]:
    """The inputs in their order, as the kernels take them."""
    floats = tuple(inputs[name].to(DEVICE) for name in FLOATS)
    return (*floats, inputs["order"].int().to(DEVICE))


def run_tiled(inputs: Tensors, tiling: Tiling) -> dict[str, torch.Tensor]:
    """As :func:`tests.ops.conftest.run`, without autograd and with a tiling of one's own."""
    given = placed(inputs)
    carry = torch.full(gpu.carry_shape(given[0], given[4], tiling), torch.nan, device=DEVICE)
    y = gpu.forward(given, carry, tiling)
    random = torch.Generator().manual_seed(12)
    grad_y = torch.randn(y.shape, generator=random, dtype=torch.float32).to(DEVICE)
    grads = gpu.backward(given, carry, grad_y, tiling)
    return {n: t.cpu() for n, t in zip(("y", *FLOATS), (y, *grads), strict=True)}


RANK, STATES = 2, 3
PLACES_OF_NAN = [
    *(("u", 0), ("dt_weight", 0), ("A", 0)),
    *(("proj", at) for at in (0, RANK, RANK + STATES)),
]
"""Names of inputs, and indices in them."""


def check_nan_stays(name: str, index: int, length: int) -> None:
    """NaN reaches what depends on it, and nothing else."""
    inputs = make_inputs(rank=RANK, states=STATES, length=length)
    inputs[name].view(-1)[index] = torch.nan
    found, expected = scan(**inputs), selective_scan_reference(**inputs)
    assert expected.isnan().any()
    assert not expected.isnan().all()
    assert torch.equal(found.isnan(), expected.isnan())


def check_order_stays_within_its_image() -> None:
    """An order that names other cells reads and writes none outside of its image."""
    inputs = make_inputs(batch=2)
    alone = {n: t[:1] if n in ("u", "proj") else t for n, t in inputs.items()}
    inputs["order"][1, 5], alone["order"] = 1000, inputs["order"]
    assert_close({"y": scan(**inputs)[:1]}, {"y": scan(**alone).double()})
