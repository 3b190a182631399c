"""The form for inference of :mod:`mambaad.models.mixers.ssd`."""

from __future__ import annotations

import torch
from jaxtyping import Float

from mambaad.inference.packed.duality import Duality
from mambaad.models.mixers import ssd as plain
from mambaad.ops.order_tables import order_table


class SSD(Duality):
    """:class:`mambaad.models.mixers.ssd.SSD`."""

    def __init__(self, trained: plain.SSD, dtype: torch.dtype) -> None:
        super().__init__(trained, dtype)
        self.scan = trained.scan
        self.dt_bias = trained.dt_bias.detach().float()
        self.A_log = trained.A_log.detach().float()
        self.skip = trained.skip.detach().float()

    def mix(
        self,
        x: Float[torch.Tensor, "b l d"],
        B: Float[torch.Tensor, "b l n"],
        C: Float[torch.Tensor, "b l n"],
        dt: Float[torch.Tensor, "b l steps"],
        shape: torch.Size,
    ) -> Float[torch.Tensor, "b l d"]:
        """See :meth:`mambaad.models.mixers.duality.Duality.mix`."""
        order = order_table(self.scan, 1, shape[1], shape[2], x.device)[0]
        return plain.both_ways(x, B, C, dt, self.dt_bias, self.A_log, self.skip, order)
