"""The graph that is exported: from pixels to anomaly maps, scores and distances to products."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import nn

from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import Snapshot
from mambaad.errors import ConfigError
from mambaad.inference.compute import Precision
from mambaad.inference.packed.convolution import PackedConv
from mambaad.inference.packed.pack import pack
from mambaad.inference.packed.ss2d import SS2D
from mambaad.inference.weights import load_model
from mambaad.models.embedding import distances_to, embedding
from mambaad.models.normalise import normalise
from mambaad.models.scoring import measure
from mambaad.models.system import System


class InferenceGraph(nn.Module):
    """A packed model, its measures and its prototypes, of plain operators and our scan.

    Args:
        model: packed (:func:`mambaad.inference.packed.pack.pack`); it is changed in place.
        size: height and width of its images.
        means: the products' mean embeddings, products x channels; products may be 0.

    Attributes:
        has_scan: whether our operator is in it.
        strides: of the model's scales, in pixels.
    """

    def __init__(
        self, model: System, size: tuple[int, int], means: Float[torch.Tensor, "products c"]
    ) -> None:
        super().__init__()
        self.model = model
        self.size = size
        self.register_buffer("means", means)
        self.means: torch.Tensor
        for module in model.modules():
            if isinstance(module, PackedConv):
                module.use_plain_operators()
        self.has_scan = any(isinstance(module, SS2D) for module in model.modules())
        # What is computed once and kept (tables of orders, Gaussians) must be there before it is
        # traced: a tracer would keep its own stand-ins.
        with torch.no_grad():
            features = model(normalise(self.example(1))).features
            self(self.example(1))
        self.strides = [size[0] // f.shape[2] for f in features]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what :meth:`forward` returns."""
        return (
            *("anomaly_map", "score", "scale_maps", "embedding"),
            *(() if self.model.head is None else ("error_map",)),
            *(("distances",) if len(self.means) else ()),
        )

    def forward(self, images: UInt8[torch.Tensor, "b h w 3"]) -> tuple[torch.Tensor, ...]:
        """Compute what :attr:`outputs` names, all float32.

        Args:
            images: 8-bit RGB at the graph's size.

        Returns:
            ``anomaly_map``: b x h x w. ``score``: b. ``scale_maps``: of each scale, not smoothed,
            b x scales x h x w. ``embedding``: b x c. ``error_map``: with a residual head, the
            anomaly map without its part. ``distances``: b x products. See
            :class:`mambaad.inference.engine.Observation` and
            :class:`mambaad.inference.engine.Evidence`.
        """
        found = self.model(normalise(images))
        maps, errors, scores, scale_maps = measure(self.model, found, self.size)
        embedded = embedding(found.features)
        return (
            *(maps, scores, scale_maps.transpose(0, 1), embedded),
            *(() if found.logits is None else (errors,)),
            *((distances_to(self.means, embedded),) if len(self.means) else ()),
        )

    def example(self, batch: int = 2) -> UInt8[torch.Tensor, "b h w 3"]:
        """Make a batch of random images."""
        random = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (batch, *self.size, 3), generator=random, dtype=torch.uint8)


def load_graph(run: Snapshot, precision: Precision = "float32") -> InferenceGraph:
    """Load a run's or bundle's model as a graph, on the CPU.

    Raises:
        ConfigError: a precision that this system does not have.
        RunError: see :func:`mambaad.inference.weights.load_model`.
    """
    means = torch.from_numpy(read_prototypes(run).means)
    return InferenceGraph(pack(load_model(run), precision), read_config(run).size, means).eval()


def traced(graph: InferenceGraph) -> torch.export.ExportedProgram:
    """Trace a graph for batches of any size.

    Raises:
        ConfigError: PyTorch cannot trace it.
    """
    # Its fused attention has no form in other runtimes.
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            return torch.export.export(
                graph, (graph.example(),), dynamic_shapes=({0: torch.export.Dim("batch")},)
            )
    except Exception as error:  # of many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"PyTorch cannot export this model ({type(error).__name__}: {reason}); use it with "
            "mambaad itself"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)
