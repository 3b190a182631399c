"""The scan orders as a tensor on the map's device, and as an operator for torch.compile.

An operator of its own because the orders are computed with NumPy, which Dynamo cannot trace.
"""

# No "from __future__ import annotations" here: custom_op reads the types of the signatures.
import torch

from mambaad.ops.orders import ScanMethod, directional_orders


def order_table(
    method: ScanMethod, directions: int, height: int, width: int, device: torch.device
) -> torch.Tensor:
    """:func:`mambaad.ops.orders.directional_orders` on a device: int32, K x L, read-only."""
    if torch.compiler.is_dynamo_compiling():
        table: torch.Tensor = _order_table(method, directions, height, width, device)
        return table
    return _kept(method, directions, height, width, device)


# Kept for good: recorded CUDA graphs read them.
_tables: dict[tuple[ScanMethod, int, int, int, torch.device], torch.Tensor] = {}


@torch.inference_mode(False)  # a tensor kept from inference must serve training too
def _kept(
    method: ScanMethod, directions: int, height: int, width: int, device: torch.device
) -> torch.Tensor:
    key = (method, directions, height, width, device)
    table = _tables.get(key)
    if table is None:
        table = torch.tensor(directional_orders(method, directions, height, width), device=device)
        if type(table) is torch.Tensor:  # while exporting it is one without values
            table = _tables.setdefault(key, table)
    return table


@torch.library.custom_op("mambaad::order_table", mutates_args=())
def _order_table(
    method: str, directions: int, height: int, width: int, device: torch.device
) -> torch.Tensor:
    # A copy: compiled code may write over what an operator returned.
    # Names are checked where orders are computed.
    return _kept(method, directions, height, width, device).clone()  # type: ignore[arg-type]


@_order_table.register_fake
def _(method: str, directions: int, height: int, width: int, device: torch.device) -> torch.Tensor:
    return torch.empty((directions, height * width), dtype=torch.int32, device=device)
