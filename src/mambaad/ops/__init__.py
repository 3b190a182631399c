"""The scan engine: in which order the cells of a map are visited, and the selective scan."""

from mambaad.ops.instance_norm import instance_norm, instance_norm_silu_
from mambaad.ops.order_tables import order_table
from mambaad.ops.orders import (
    DIRECTIONS,
    SCAN_METHODS,
    ScanMethod,
    directional_orders,
    scan_order,
)
from mambaad.ops.selective_scan import selective_scan

__all__ = [
    "DIRECTIONS",
    "SCAN_METHODS",
    "ScanMethod",
    "directional_orders",
    "instance_norm",
    "instance_norm_silu_",
    "order_table",
    "scan_order",
    "selective_scan",
]
