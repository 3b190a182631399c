"""What every data set reader returns, whatever the layout on disk."""

from __future__ import annotations

from dataclasses import dataclass

from mambaad.types import Sample


@dataclass(frozen=True)
class ProductClass:
    """One product of a factory: good parts to train on, good and defective parts to test on."""

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...] = ()

    @property
    def has_masks(self) -> bool:
        """Whether defects are outlined, so that pixel-level figures make sense."""
        return any(sample.mask_path for sample in self.test)
