"""The last stage of a training: the residual head, on synthetic anomalies over good parts.

All else is frozen, so that the reconstruction, which never saw an anomaly, stays what it was.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch.nn import functional as F

from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import HEAD_CHECKPOINT, HEAD_LOG
from mambaad.artifacts.run_folder import check_head_log, records_content
from mambaad.artifacts.snapshot import opened
from mambaad.config import TrainConfig
from mambaad.data.images import read_sample_image, resize_image
from mambaad.data.read_ahead import read_ahead, reader_threads
from mambaad.data.synthetic.anomalies import spoil
from mambaad.inference.device import memory_of
from mambaad.metrics.ranking import average_precision
from mambaad.models.head import ResidualHead
from mambaad.models.normalise import normalise
from mambaad.models.scoring import measure
from mambaad.models.system import System
from mambaad.process import is_out_of_memory, keep_freed_memory, limit_threads, on_signals
from mambaad.progress import ProgressBar, say, warn
from mambaad.training.checkpoint import (
    Position,
    check_position,
    checkpoint_content,
    load_checkpoint,
)
from mambaad.types import Sample

BATCH, SPOILED = 8, 6
"""Images of a step, and how many of them get an anomaly."""
LR, WARM_UP_STEPS = 1e-3, 20
"""AdamW's learning rate after these steps, from where it falls to 0 along half a cosine."""
KEPT = 2**29
"""Bytes of resized images that are kept, so that each is decoded once."""
CHECKED = 4
"""Batches of further anomalies on which the head is compared with the map without it."""
MOST_LEFT = 0.9
"""The most that it may leave of what pixel AP lacks of 1 there. One that was trained too briefly
gains less, and on real defects it loses."""
_STEPS_A_RECORD = 50
_CHANGED = 0x0EAD  # a stream of random numbers of its own, beside those of the epochs


class SpoiledBatch(NamedTuple):
    """Images of a step, 8-bit RGB, and where they were changed."""

    images: UInt8[np.ndarray, "b h w 3"]
    masks: Bool[np.ndarray, "b h w"]


def fit_head(
    config: TrainConfig, model: System, samples: Sequence[Sample], out: Path, device: torch.device
) -> list[dict[str, Any]] | None:
    """Train a system's head to the end, and return its log; None if it was interrupted.

    In the end the maps with it are compared with those without on further anomalies: a head that
    hardly helps is silenced, as is one whose loss became no number: the order of a map's values is
    then as without it.

    It goes on from a checkpoint in the run folder if there is one; every step's images and
    anomalies depend on the seed and the number of the step alone.

    Args:
        config: how many steps, of what size and seed.
        model: on ``device``; only its head changes.
        samples: good parts, of all classes.
        out: the run folder, which gets the log, and a checkpoint, every 50 steps; the caller holds
            its lock.
        device: where to compute.

    Raises:
        DataError: an image that cannot be read.
    """
    head = model.head
    assert head is not None
    keep_freed_memory()
    limit_threads()
    model.eval()
    torch.manual_seed(config.seed)
    head.begin()
    head.train()
    optimizer = torch.optim.AdamW(head.parameters(), LR, weight_decay=0.0)
    position = _position(config, head, optimizer, out)
    say(f"residual head: {config.head_steps} steps on synthetic anomalies")

    images = ResizedImages(samples, config.size)

    def load_step(step: int) -> SpoiledBatch:
        return spoiled_batch(images, config.seed, step)

    stop, began = threading.Event(), time.perf_counter() - position.seconds
    steps = range(position.step, config.head_steps)
    loaded = read_ahead(load_step, steps, workers=reader_threads(device.type != "cpu"), ahead=2)
    bar = ProgressBar("residual head")
    with on_signals(stop.set), closing(loaded), bar:
        for step, batch in zip(steps, loaded, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = _rate(step, config.head_steps)
            failure = None
            try:
                loss = _train_step(model, optimizer, batch, device)
                if not math.isfinite(loss):
                    failure = f"its loss became {loss} at step {step + 1}"
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                failure = f"{memory_of(device)} is too small for its {BATCH} images a step"
            if failure:  # nothing of what has been trained before is lost
                warn(f"residual head: {failure}, so it is silenced")
                head.begin()
                return _end(model, position, used=False)
            position.step += 1
            position.loss_sum += loss
            position.seconds = time.perf_counter() - began
            bar.update(position.step, config.head_steps, f"loss {loss:.3f}")
            if _is_recorded(position.step, config):
                position.log.append(_record(position))
                position.loss_sum = 0.0
                _save(out, head, optimizer, position)
            if stop.is_set() and position.step < config.head_steps:
                _save(out, head, optimizer, position)
                return None
    model.eval()
    last = position.log[-1]
    say(f"residual head: loss {last['loss']:.4f}, {last['seconds'] / 60:.1f} min")
    without, with_head = _precisions(model, images, config, device)
    say(
        f"pixel AP on further synthetic anomalies: {100 * without:.1f} without the head, "
        f"{100 * with_head:.1f} with it"
    )
    used = 1 - with_head <= MOST_LEFT * (1 - without)
    if not used:
        warn("residual head: hardly better, so it is silenced; more head_steps may help")
    return _end(model, position, used=used, without_head=without, with_head=with_head)


def _position(
    config: TrainConfig, head: ResidualHead, optimizer: torch.optim.Optimizer, out: Path
) -> Position:
    """Restore the state of a head whose training was interrupted; the position of a start else."""
    with opened(out) as run:
        if not run.has(HEAD_CHECKPOINT):
            return Position()
        name = run.name(HEAD_CHECKPOINT)
        position = load_checkpoint(run.read(HEAD_CHECKPOINT), name, head, optimizer)
        check_position(
            position,
            name,
            optimizer,
            epochs=1,
            steps=config.head_steps,
            records=sum(_is_recorded(step, config) for step in range(1, position.step + 1)),
            check_log=check_head_log,
        )
    return position


def _is_recorded(step: int, config: TrainConfig) -> bool:
    return step % _STEPS_A_RECORD == 0 or step == config.head_steps


def _save(
    out: Path, head: ResidualHead, optimizer: torch.optim.Optimizer, position: Position
) -> None:
    content = checkpoint_content(head, optimizer, position)
    commit(out, {HEAD_CHECKPOINT: content, HEAD_LOG: records_content(position.log)})


def _end(
    model: System,
    position: Position,
    *,
    used: bool,
    without_head: float | None = None,
    with_head: float | None = None,
) -> list[dict[str, Any]]:
    """Freeze the head, silence it unless it is used, and return its log with what was decided."""
    assert model.head is not None
    model.head.requires_grad_(False)
    if not used:
        model.head.silence()
    model.eval()
    loss = position.log[-1]["loss"] if position.log else None
    pixel_ap = {"without": without_head, "with": with_head}
    record = {
        "step": position.step,
        "loss": loss,
        "seconds": round(position.seconds, 3),
        "pixel_ap": pixel_ap,
        "used": used,
    }
    return [*position.log, record]


@torch.inference_mode()
def _precisions(
    model: System, images: ResizedImages, config: TrainConfig, device: torch.device
) -> tuple[float, float]:
    """Pixel AP of the map without the head, and with it, on anomalies that it has not seen."""
    maps: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    masks = []
    for step in range(config.head_steps, config.head_steps + CHECKED):
        batch = spoiled_batch(images, config.seed, step)
        found = model(normalise(torch.from_numpy(batch.images).to(device)))
        for kept, used in zip(maps, (found._replace(logits=None), found), strict=True):
            kept.append(measure(model, used, config.size).anomaly_maps.cpu().numpy().ravel())
        masks.append(batch.masks.ravel())
    labels = np.concatenate(masks)
    without, with_head = (average_precision(np.concatenate(kept), labels) or 0.0 for kept in maps)
    return without, with_head


class ResizedImages:
    """The images of samples, 8-bit RGB at one size, of which up to :data:`KEPT` bytes are kept.

    Args:
        samples: good parts.
        size: height and width to which they are resized.
    """

    def __init__(self, samples: Sequence[Sample], size: tuple[int, int]) -> None:
        self.size = size
        self._samples = samples
        self._room = KEPT // (3 * size[0] * size[1])
        self._kept: dict[int, UInt8[np.ndarray, "h w 3"]] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        kept = self._kept.get(index)
        if kept is None:
            kept = resize_image(read_sample_image(self._samples[index]), self.size)
            if len(self._kept) < self._room:
                self._kept[index] = kept
        return kept


def spoiled_batch(images: ResizedImages, seed: int, step: int) -> SpoiledBatch:
    """Draw the images of a step: good parts of any class, :data:`SPOILED` of them spoiled.

    Args:
        images: good parts.
        seed, step: of which everything is a function.

    Raises:
        DataError: an image that cannot be read.
    """
    random = np.random.default_rng([seed, _CHANGED, step])
    drawn, masks = [], []
    for number in range(BATCH):
        chosen, other = (int(index) for index in random.integers(len(images), size=2))
        image, mask = images[chosen], np.zeros(images.size, dtype=bool)
        if number < SPOILED:
            image, mask = spoil(image, images[other], random)
        drawn.append(image)
        masks.append(mask)
    return SpoiledBatch(np.stack(drawn), np.stack(masks))


def segmentation_loss(
    logits: Float[torch.Tensor, "b h w"], wanted: Float[torch.Tensor, "b h w"]
) -> Float[torch.Tensor, ""]:
    """Compute the Dice loss of a batch plus its binary cross-entropy.

    Dice (V-Net, Milletari et al. 2016, squares in the denominator): ``1 - (2 sum p y + 1) /
    (sum p^2 + sum y^2 + 1)``, with p the probabilities of all cells of the batch.

    Args:
        logits: of a defect in each cell.
        wanted: each cell's share of anomalous pixels, 0 to 1.
    """
    p = logits.sigmoid()
    overlap = 2 * (p * wanted).sum() + 1
    dice = 1 - overlap / (p.square().sum() + wanted.square().sum() + 1)
    return dice + F.binary_cross_entropy_with_logits(logits, wanted)


def _train_step(
    model: System, optimizer: torch.optim.Optimizer, batch: SpoiledBatch, device: torch.device
) -> float:
    assert model.head is not None
    with torch.no_grad():  # no gradient reaches the reconstruction
        images = normalise(torch.from_numpy(batch.images).to(device))
        features = model.encoder(images)
        reconstructed = model.reconstruct(features)
    logits = model.head(features, reconstructed)
    masks = torch.from_numpy(batch.masks).to(device)
    wanted = F.adaptive_avg_pool2d(masks.float(), logits.shape[1:])
    loss = segmentation_loss(logits, wanted)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def _rate(step: int, steps: int) -> float:
    return LR * min(1.0, (step + 1) / WARM_UP_STEPS) * (1 + math.cos(math.pi * step / steps)) / 2


def _record(position: Position) -> dict[str, float]:
    before = position.log[-1]["step"] if position.log else 0
    return {
        "step": position.step,
        "loss": position.loss_sum / (position.step - before),
        "seconds": round(position.seconds, 3),
    }
