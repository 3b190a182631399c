"""Systems of anomalib on this project's data, metrics and protocol (extra ``peers``).

PatchCore (Roth et al., CVPR 2022) has one memory bank for all classes here, as one model for all.
Systems that need further data or weights (EfficientAD: ImageNet images; Dinomaly: DINOv2) are not
available.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from mambaad.data.read_ahead import read_batches
from mambaad.errors import ConfigError
from mambaad.inference.engine import Observation
from mambaad.inference.packed.encoder import pack_encoder
from mambaad.models.encoder import Encoder
from mambaad.models.normalise import normalise
from mambaad.models.system import System
from mambaad.process import limit_threads
from mambaad.progress import ProgressBar
from mambaad.types import Sample
from mambaad.workflows.benchmark.peer_settings import PeerSettings

_BATCH = 8


class PatchCore:
    """anomalib's PatchCore on the maps of this project's encoders, as an engine.

    Raises:
        ConfigError: anomalib is not installed.
    """

    device = "cpu"
    batch_size = 1
    reads_ahead = 2
    trained: System | None = None

    def __init__(self, settings: PeerSettings) -> None:
        try:
            from anomalib.models.image.patchcore.torch_model import PatchcoreModel
        except ImportError as error:
            raise ConfigError(
                "PatchCore needs anomalib, which is not installed; run pip install 'mambaad[peers]'"
            ) from error
        limit_threads()
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.size = settings.size
        encoder = Encoder(settings.encoder, settings.encoder_weights)
        pack_encoder(encoder, torch.float32)
        # anomalib builds an extractor of its own, here a small one, which is replaced.
        layers = ("layer2", "layer3")
        self.model = PatchcoreModel(layers=layers, backbone="resnet18", pre_trained=False)
        self.model.feature_extractor = _NamedMaps(encoder)

    def fit(self, samples: Sequence[Sample]) -> None:
        """Fill the memory bank with patches of good parts."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        is_random = self.settings.coreset == "random"
        done = 0
        with ProgressBar("filling the memory bank") as bar:
            for batch in read_batches(samples, self.size, _BATCH):
                with torch.inference_mode():
                    self.model.train()(normalise(torch.from_numpy(batch.pixels)))
                if is_random:
                    patches = self.model.embedding_store.pop()
                    chosen = torch.rand(len(patches), generator=generator) < self.settings.share
                    self.model.embedding_store.append(patches[chosen].clone())
                done += len(batch.samples)
                bar.update(done, len(samples))
        if is_random:
            self.model.memory_bank = torch.vstack(self.model.embedding_store)
            self.model.embedding_store.clear()
        else:
            self.model.subsample_embedding(self.settings.share)
        self.model.eval()

    @torch.inference_mode()
    def observe(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Observation]:
        """Compute the maps (distances to the nearest patches, smoothed) and their maxima.

        It takes image by image, because the distances of a batch would take gigabytes.
        """
        batch = normalise(torch.from_numpy(images))
        maps = [self.model(image[None]).anomaly_map[0, 0].numpy() for image in batch]
        no_distances = np.empty(0, np.float32)
        return [Observation(float(map_.max()), map_, no_distances) for map_ in maps]


class _NamedMaps(nn.Module):
    """An encoder whose maps have the names that anomalib expects."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        _, f2, f3 = self.encoder(images)
        return {"layer2": f2, "layer3": f3}
