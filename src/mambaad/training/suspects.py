"""Training images that look unlike the rest of their class, found before any training.

Each image is compared with random fifths of its class that do not hold it (out of the bag), by the
distances of its patches to their nearest neighbours, as in PatchCore (Roth et al., CVPR 2022). So a
defect stands out that most of the fifths lack, though it is among the training images. As in
SoftPatch (Jiang et al., NeurIPS 2022) a distance is related to how dense the fifth is there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch.nn import functional as F

from mambaad.data.read_ahead import read_batches
from mambaad.errors import DataError
from mambaad.models.encoder import Encoder
from mambaad.models.normalise import normalise
from mambaad.types import ProductClass, Sample

FIFTHS = 5
FEWEST = 4
"""Images of a class that are needed: two in each of two parts."""
PATCHES = 4000
"""Patches of a memory bank, drawn at random from the images of its fifth."""
CHANNELS = 128
"""Channels of a patch, after a random projection that keeps distances (Johnson-Lindenstrauss)."""
TOP = 0.005
"""Share of an image's patches, the farthest, whose mean distance is its score."""
SPREADS = 4.0
"""Spreads above the median from which on an image is a suspect."""

_STRIDES = (8, 16)  # layers 2 and 3 of a ResNet, as in PatchCore
_BATCH = 8
_ROWS = 1024  # patches whose distances to a bank are in memory at a time
_LEAST_SPREAD = 0.02  # of logarithms: 2 % of the score
_LEAST_SPACING = 0.1  # of a bank's median spacing, where it holds the same patch twice
_TINY = 1e-6  # instead of a distance of 0


@dataclass(frozen=True)
class ScoredClass:
    """The training images of a class with their scores, the most suspect first.

    ``samples``: n images. ``scores``: of each, 0 or more. ``maps``: of each, the distances of its
    patches, at stride 8. ``suspects``: whether it is one. ``threshold``: suspects score above it,
    or as high where a share was asked for. ``median``: of the scores.
    """

    name: str
    samples: tuple[Sample, ...]
    scores: Float[np.ndarray, " n"]
    maps: Float[np.ndarray, "n h w"]
    suspects: Bool[np.ndarray, " n"]
    threshold: float
    median: float


def score_class(
    product: ProductClass,
    encoder: Encoder,
    size: tuple[int, int],
    *,
    share: float | None = None,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> ScoredClass:
    """Score the training images of a class, and name the suspects.

    Args:
        product: with ``FEWEST`` training images or more; whether they are labelled as defective
            is not looked at.
        encoder, size, seed, progress: see :func:`score_images`.
        share: of the images, above 0 and below 1: so many of the highest scores are the suspects,
            at least one. Without it see :func:`suspect_threshold`.

    Raises:
        DataError: too few images, or one that cannot be read.
    """
    if len(product.train) < FEWEST:
        raise DataError(
            f"class {product.name} has {len(product.train)} training images, too few to compare "
            f"with each other ({FEWEST} are needed); leave it out with --classes"
        )
    seed = zlib.crc32(f"{seed} {product.name}".encode())
    scores, maps = score_images(product.train, encoder, size, seed=seed, progress=progress)
    order = np.argsort(-scores, kind="stable")
    scores, maps = scores[order], maps[order]
    if share is None:
        threshold = suspect_threshold(scores)
        suspects = scores > threshold
    else:
        count = max(1, round(share * len(scores)))
        threshold, suspects = float(scores[count - 1]), np.arange(len(scores)) < count
    samples = tuple(product.train[i] for i in order)
    median = float(np.median(scores))
    return ScoredClass(product.name, samples, scores, maps, suspects, threshold, median)


def suspect_threshold(scores: Float[np.ndarray, " n"]) -> float:
    """Compute the score above which an image of a class is suspect.

    It lies ``SPREADS`` spreads above the median of the logarithms. The spread is the distance from
    the first quartile to the median, as a standard deviation of normal values (divided by 0.6745):
    defective images among the good ones move what lies below the median little, while they would
    widen a deviation of all images. Of normal values one in 30,000 lies above.
    """
    logarithms = np.log(np.maximum(scores, _TINY))
    quartile, median = np.quantile(logarithms, (0.25, 0.5))
    spread = max(float(median - quartile) / 0.6745, _LEAST_SPREAD)
    return float(np.exp(median + SPREADS * spread))


@torch.inference_mode()
def score_images(
    samples: Sequence[Sample],
    encoder: Encoder,
    size: tuple[int, int],
    *,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n h w"]]:
    """Compare each of n images with the others, out of the bag.

    The images are divided at random into five parts (into n / 2 where n is below 10), and a memory
    bank of each has ``PATCHES`` patches. The distance of a patch to a bank is that to its nearest
    neighbour there, divided by the square root of that neighbour's own distance to the nearest
    patch of another image of the bank. An image's score by one bank is the mean of its farthest
    patches (``TOP``, at least one); its score is the median over the banks of the other parts.

    Images are read and encoded twice, so that of all images only their maps are in memory (4 KiB
    each at 256 pixels). Besides those it holds a batch of 8 with the encoder's maps of it, five
    banks (10 MB) and the distances of 1024 patches to one of them (16 MB).

    Args:
        samples: of one class, ``FEWEST`` or more.
        encoder: with maps at strides 8 and 16 (:func:`make_encoder`), on any device.
        size: height and width to which images are resized.
        seed: of the parts, of the patches drawn and of the projection.
        progress: called after each image, twice for each.

    Returns:
        The scores; and the median distances of patches, a map at stride 8 for each image.

    Raises:
        DataError: an image that cannot be read.
    """
    random = np.random.default_rng(seed)
    count = len(samples)
    part_of = random.permutation(count) % min(FIFTHS, count // 2)
    sizes = np.bincount(part_of)
    drawn: list[list[torch.Tensor]] = [[] for _ in sizes]
    for i, patches in enumerate(_patches(samples, encoder, size, seed)):
        part = part_of[i]
        wanted = -(-PATCHES // sizes[part])
        chosen = random.permutation(patches.shape[0] * patches.shape[1])[:wanted]
        drawn[part].append(patches.flatten(0, 1)[torch.from_numpy(chosen).to(patches.device)])
        progress()
    banks = [_Bank(of_part) for of_part in drawn]
    scores, maps = [], []
    for i, patches in enumerate(_patches(samples, encoder, size, seed)):
        others = [bank for part, bank in enumerate(banks) if part != part_of[i]]
        distances = torch.stack([bank.distances(patches.flatten(0, 1)) for bank in others])
        top = max(1, round(TOP * distances.shape[1]))
        # NumPy's median is the mean of the middle two; PyTorch's would be the lower one.
        scores.append(float(np.median(distances.topk(top).values.mean(dim=1).cpu().numpy())))
        maps.append(np.median(distances.cpu().numpy(), axis=0).reshape(patches.shape[:2]))
        progress()
    return np.asarray(scores), np.stack(maps)


def make_encoder(name: str, weights: str, device: torch.device) -> Encoder:
    """Load the encoder for :func:`score_images` (ConfigError: see :class:`Encoder`)."""
    encoder = Encoder(name, weights, _STRIDES)
    return encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _patches(
    samples: Sequence[Sample], encoder: Encoder, size: tuple[int, int], seed: int
) -> Iterator[Float[torch.Tensor, "h w c"]]:
    """Yield the patches of each image: both maps at stride 8, with their neighbours, projected."""
    device = next(encoder.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    shape = (sum(encoder.channels), CHANNELS)
    projection = (torch.randn(shape, generator=generator) / CHANNELS**0.5).to(device)
    with closing(read_batches(samples, size, _BATCH)) as batches:
        for batch in batches:
            maps = encoder(normalise(torch.from_numpy(batch.pixels).to(device)))
            around = [F.avg_pool2d(m, 3, 1, 1, count_include_pad=False) for m in maps]
            shape_of_first = around[0].shape[-2:]
            resized = [F.interpolate(m, shape_of_first, mode="bilinear") for m in around]
            yield from torch.cat(resized, dim=1).permute(0, 2, 3, 1) @ projection


class _Bank:
    """Patches of some images of a class, and how far each is from those of the other images.

    Args:
        of_images: for each image, patches x channels.
    """

    def __init__(self, of_images: Sequence[Float[torch.Tensor, "_ c"]]) -> None:
        self._patches = torch.cat(list(of_images))
        self._squares = self._patches.square().sum(dim=1)
        spacings, first = [], 0
        for own in of_images:
            last = first + len(own)
            others = torch.cat([self._patches[:first], self._patches[last:]])
            squares = torch.cat([self._squares[:first], self._squares[last:]])
            spacings.append(_nearest(own, others, squares)[0])
            first = last
        spacing = torch.cat(spacings)
        least = (_LEAST_SPACING * spacing.median()).clamp_min(_TINY)
        self._roots = spacing.maximum(least).sqrt()

    def distances(self, patches: Float[torch.Tensor, "q c"]) -> Float[torch.Tensor, " q"]:
        """Compute the distance of each patch to the bank, related to the spacing there."""
        distance, nearest = _nearest(patches, self._patches, self._squares)
        return distance / self._roots[nearest]


def _nearest(
    patches: Float[torch.Tensor, "q c"],
    bank: Float[torch.Tensor, "k c"],
    squares: Float[torch.Tensor, " k"],
) -> tuple[Float[torch.Tensor, " q"], torch.Tensor]:
    """Find each patch's nearest of a bank: the Euclidean distance, and its index.

    Args:
        patches, bank: to compare.
        squares: the squared norms of the bank's.
    """
    distances, indices = [], []
    for first in range(0, len(patches), _ROWS):
        rows = patches[first : first + _ROWS]
        least, index = torch.addmm(squares[None], rows, bank.T, alpha=-2).min(dim=1)
        distances.append((least + rows.square().sum(dim=1)).clamp_min(0).sqrt())
        indices.append(index)
    return torch.cat(distances), torch.cat(indices)
