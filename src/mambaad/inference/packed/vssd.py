"""The form for inference of :mod:`mambaad.models.mixers.vssd`."""

from __future__ import annotations

import torch
from jaxtyping import Float

from mambaad.inference.packed.duality import Duality
from mambaad.models.mixers import vssd as plain


class VSSD(Duality):
    """:class:`mambaad.models.mixers.vssd.VSSD`."""

    def __init__(self, trained: plain.VSSD, dtype: torch.dtype) -> None:
        super().__init__(trained, dtype)
        self.dt_bias = trained.dt_bias.detach().float()
        self.skip = trained.skip.detach().float()

    def mix(
        self,
        x: Float[torch.Tensor, "b l d"],
        B: Float[torch.Tensor, "b l n"],
        C: Float[torch.Tensor, "b l n"],
        dt: Float[torch.Tensor, "b l heads"],
        shape: torch.Size,
    ) -> Float[torch.Tensor, "b l d"]:
        """See :meth:`mambaad.models.mixers.duality.Duality.mix`."""
        return plain.non_causal(x, B, C, dt, self.dt_bias, self.skip)
