"""Systems of anomalib, with our data, our metrics and our protocol (extra ``peers``).

PatchCore (Roth et al., CVPR 2022) pools all classes in one memory bank here, as one model for all.
Those that need data or weights of their own (EfficientAD: ImageNet images; Dinomaly: DINOv2) are
not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import nn

from mambaad.data.read_ahead import load_batches
from mambaad.data.transforms import Preprocess
from mambaad.errors import ConfigError
from mambaad.inference.packed.pack import prepare_encoder
from mambaad.inspection.inspector import Scored
from mambaad.models.encoder import Encoder
from mambaad.models.scoring import image_score
from mambaad.process import limit_threads
from mambaad.progress import ProgressBar
from mambaad.size import check_size, parse_size
from mambaad.types import Sample

_BATCH = 8


class PeerSettings(BaseModel):
    """``share``: of all training patches, those in the memory bank. ``coreset``: how they are
    chosen: at random from every image, or greedily as in the paper, whose time grows with the
    square of the number of patches.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    peer: Literal["patchcore"]
    encoder: str = "wide_resnet50_2"
    encoder_weights: str = "timm"
    size: tuple[int, int] = (256, 256)
    share: float = Field(0.05, gt=0, le=1)
    coreset: Literal["random", "greedy"] = "random"
    seed: int = 42

    @field_validator("size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        return parse_size(str(value)) if isinstance(value, (str, int)) else value


def peer_settings(given: dict[str, Any]) -> PeerSettings:
    """Check the settings of a peer (ConfigError)."""
    try:
        settings = PeerSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    check_size(settings.size)
    return settings


class PatchCore:
    """anomalib's PatchCore on the maps of one of our encoders, fit to be evaluated.

    Raises:
        ConfigError: anomalib is not installed.
    """

    precision: Literal["float32"] = "float32"
    device = torch.device("cpu")

    def __init__(self, settings: PeerSettings) -> None:
        try:
            from anomalib.models.image.patchcore.torch_model import PatchcoreModel
        except ImportError as error:
            raise ConfigError(
                "PatchCore is anomalib's: install it with pip install 'mambaad[peers]'"
            ) from error
        limit_threads()
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.size = settings.size
        self.preprocess = Preprocess(*settings.size)
        encoder = Encoder(settings.encoder, settings.encoder_weights)
        prepare_encoder(encoder, torch.float32)
        # Its own extractor, a small one, is replaced.
        layers = ("layer2", "layer3")
        self.model = PatchcoreModel(layers=layers, backbone="resnet18", pre_trained=False)
        self.model.feature_extractor = _Layers(encoder)

    def fit(self, samples: Sequence[Sample]) -> None:
        """Fill the memory bank with patches of good parts."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        is_random = self.settings.coreset == "random"
        done = 0
        with ProgressBar("filling the memory bank") as bar:
            for batch in load_batches(samples, self.preprocess, _BATCH):
                with torch.inference_mode():
                    self.model.train()(batch.images)
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
    def score(self, images: Float[torch.Tensor, "b 3 h w"]) -> Scored:
        """Its maps (distances to the nearest patches, smoothed), and their maxima.

        Image by image: the distances of a batch would take gigabytes.
        """
        maps = torch.cat([self.model(image[None]).anomaly_map[:, 0] for image in images])
        return Scored(maps.numpy(), image_score(maps).numpy())


class _Layers(nn.Module):
    """An encoder under the names by which anomalib asks for its maps."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        _, f2, f3 = self.encoder(images)
        return {"layer2": f2, "layer3": f3}
