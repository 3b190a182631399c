"""The training loop: the released recipe, interrupted and resumed to the very same weights.

On a GPU only up to the rounding of atomic sums, whose order changes from run to run.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import CHECKPOINT, LOG, WEIGHTS
from mambaad.artifacts.run_folder import check_epochs, records_content
from mambaad.artifacts.snapshot import opened
from mambaad.config import TrainConfig
from mambaad.errors import NonFiniteLossError
from mambaad.inference.compiled import (
    choose_compilation,
    compile_for_training,
    is_recorded,
    or_plain,
)
from mambaad.inference.recorded import Recorder, Tensors
from mambaad.inference.weights import weights_content
from mambaad.launch import Launch
from mambaad.models.system import System
from mambaad.process import keep_freed_memory, limit_threads, on_signals
from mambaad.training.batches import TrainingBatch, TrainingBatches, make_batches
from mambaad.training.callbacks import NO_CALLBACKS, Callbacks, StepEnd
from mambaad.training.checkpoint import (
    Position,
    check_position,
    checkpoint_content,
    load_checkpoint,
)
from mambaad.training.devices import one_line_errors, run_on_devices
from mambaad.training.epoch_log import EpochLog
from mambaad.training.gpu_meter import GpuMeter
from mambaad.training.loggers import make_loggers
from mambaad.training.loss import training_loss
from mambaad.training.optimizer import make_optimizer
from mambaad.training.schedule import (
    device_share,
    epoch_batches,
    learning_rate,
    loose_share,
    step_seed,
)
from mambaad.training.trimming import trimmed
from mambaad.types import Sample

_log = logging.getLogger(__name__)
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Training:
    """All that the steps of one process work with; ``position`` moves, the weights change."""

    fabric: Fabric
    config: TrainConfig
    model: System
    network: Any  # the model and its optimizer, as Fabric wraps them
    optimizer: Any
    batches: TrainingBatches
    position: Position
    stop: threading.Event
    callbacks: Callbacks
    # Of images, and of the encoder's maps: the loss, the maps, and the gradients in the weights.
    from_images: Recorder
    from_maps: Recorder


def fit(
    fabric: Fabric,
    config: TrainConfig,
    model: System,
    samples: Sequence[Sample],
    out: Path,
    callbacks: Callbacks = NO_CALLBACKS,
    launch: Launch | None = None,
) -> bool:
    """Train a model to the end (True), or to an interruption (False), from a checkpoint if any.

    In one process, or in one for each device; each of those that a launcher has started calls it.

    Args:
        fabric: made by :func:`mambaad.training.devices.make_fabric` for ``config``.
        config: how long, at what rates, on how many devices.
        model: as it is to start; in one process the very one that is trained.
        samples: good parts, of all classes.
        out: the run folder, which gets weights, log and checkpoint after each epoch; the caller
            holds its lock. Only the first of several processes reads and writes there.
        callbacks: called on one device only.
        launch: this process's place, if a launcher has started all of them.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
        DataError, RunError: an image that cannot be read, a process that ended, no room.
    """
    called = callbacks if config.devices == 1 else NO_CALLBACKS
    work = functools.partial(_fit, config=config, samples=samples, out=out, callbacks=called)
    finished = run_on_devices(fabric, model, config.devices, config.precision, work, launch)
    if fabric.device.type == "cuda":
        with contextlib.suppress(RuntimeError):  # after a recording that failed
            torch.cuda.empty_cache()  # what recorded graphs held is free for what comes next
    return finished


def _fit(
    fabric: Fabric,
    model: System,
    *,
    config: TrainConfig,
    samples: Sequence[Sample],
    out: Path,
    callbacks: Callbacks,
    when_ready: Callable[[], None],
) -> bool:
    """:func:`fit` in this process."""
    with one_line_errors(config, fabric.device):
        keep_freed_memory()
        limit_threads()
        _log.debug("training on %s with %d threads", fabric.device, torch.get_num_threads())
        adamw = make_optimizer(model, config, fused=True)
        compilation = choose_compilation(config.compile, fabric.device, config.devices)
        if fabric.device.type == "cuda":  # as the decoder's maps are
            model.to(memory_format=torch.channels_last)
        compile_for_training(model, compilation)
        network, optimizer = fabric.setup(model, adamw)
        network.mark_forward_method("reconstruct")
        network.train()

        resumed = _position(fabric, config, model, adamw, len(samples), out)
        position = resumed or Position()
        fabric.barrier()
        if fabric.is_global_zero:
            fabric.loggers.extend(make_loggers(config, out))
            if not resumed:  # so that resuming never needs the encoder's file again
                commit(out, {CHECKPOINT: checkpoint_content(model, adamw, position)})

        batches, stop = make_batches(samples, config, out, fabric.device), threading.Event()
        place = fabric.device if is_recorded(compilation, fabric.device, config.devices) else _CPU
        trained = [p for p in model.parameters() if p.requires_grad]
        recorders = [
            Recorder(
                functools.partial(function, fabric, config, network, optimizer), place, trained
            )
            for function in (_gradients_from_images, _gradients_from_maps)
        ]
        training = _Training(
            fabric,
            config,
            model,
            network,
            optimizer,
            batches,
            position,
            stop,
            callbacks,
            *recorders,
        )
        with on_signals(stop.set):
            when_ready()
            while position.epoch < config.epochs:
                finished = _train_epoch(training)
                if fabric.is_global_zero:
                    changed = {CHECKPOINT: checkpoint_content(model, adamw, position)}
                    if finished:
                        changed[WEIGHTS] = weights_content(model)
                        changed[LOG] = records_content(position.log)
                    commit(out, changed)
                if not finished:
                    return False
                if callbacks.after_epoch:
                    _after_epoch(training, callbacks.after_epoch(position.log[-1]), out)
        for logger in fabric.loggers:
            logger.finalize("success")
        return True


def _after_epoch(
    training: _Training, figures: Mapping[str, float | None] | None, out: Path
) -> None:
    """Log the figures of a validation, if there was one."""
    if figures is None:
        return
    position = training.position
    position.log[-1] = {**position.log[-1], "validation": dict(figures)}
    content = checkpoint_content(training.model, training.optimizer, position)
    commit(out, {CHECKPOINT: content, LOG: records_content(position.log)})
    known = {f"validation/{name}": value for name, value in figures.items() if value is not None}
    training.fabric.log_dict(known, position.epoch)


def _position(
    fabric: Fabric, config: TrainConfig, model: System, optimizer: Any, images: int, out: Path
) -> Position | None:
    """Restore the state of a run that has a checkpoint, and return its position."""
    found: tuple[bytearray | None, str] = (None, "")
    if fabric.is_global_zero:  # other machines need not have the run
        with opened(out) as run:
            if run.has(CHECKPOINT):
                found = run.read(CHECKPOINT), run.name(CHECKPOINT)
    content, name = fabric.broadcast(found)
    if content is None:
        return None
    position = load_checkpoint(content, name, model, optimizer)
    steps = epoch_batches(images, config.batch_size, config.devices, config.seed, epoch=0)
    check_position(
        position,
        name,
        optimizer,
        epochs=config.epochs,
        steps=len(steps),
        records=position.epoch,
        check_log=check_epochs,
    )
    return position


def _train_epoch(training: _Training) -> bool:
    """Train on each full batch of the epoch; False if interrupted, with the position in between."""
    fabric, config, position = training.fabric, training.config, training.position
    images, epoch = len(training.batches.samples), position.epoch
    everyones = epoch_batches(images, config.batch_size, config.devices, config.seed, epoch)
    mine = device_share(everyones[position.step :], fabric.global_rank, fabric.world_size)
    waited_before = training.batches.waited
    log = EpochLog(
        position,
        epochs=config.epochs,
        steps=len(everyones),
        images_per_step=len(everyones[0]),
        meter=GpuMeter(fabric.device),
        show=fabric.is_global_zero,
    )
    with log, closing(training.batches.load(mine)) as loaded:
        for batch in loaded:
            rate = learning_rate(config, epoch, position.step / len(everyones))
            easy = loose_share(config, epoch, position.step / len(everyones))
            loss, interrupted = _train_step(training, batch, rate, easy)
            log.add_step(loss, training.batches.waited - waited_before)
            if training.callbacks.after_step:
                done = epoch + 1, config.epochs, position.step, len(everyones)
                training.callbacks.after_step(StepEnd(*done, loss, rate))
            if interrupted:
                return False
    record = log.end(learning_rate(config, epoch))  # that at the start of the epoch
    if fabric.is_global_zero:
        fabric.log_dict({k: record[k] for k in ("loss", "lr", "images_per_s")}, epoch + 1)
    position.end_epoch(record)
    return True


def _train_step(
    training: _Training, batch: TrainingBatch, rate: float, easy: float
) -> tuple[float, bool]:
    """Change the weights by one step: the loss, and whether any device is to stop after it.

    ``rate``: the learning rate; ``easy``: the loose loss's share of easy cells.
    """
    fabric, config, network = training.fabric, training.config, training.network
    if fabric.world_size == 1:
        recorders = training.from_images, training.from_maps
        loss = or_plain(
            training.model, lambda: _compute_gradients(training, batch, easy), *recorders
        )
    else:  # the others would wait for one that does its step again
        loss = _compute_gradients(training, batch, easy)
    # Read after the backward is under way, and before any weight changes.
    stop = torch.tensor(float(training.stop.is_set())).to(loss)
    means: Any = fabric.all_reduce(torch.stack([loss, stop]))
    mean_loss, stopping = means.tolist()
    if not math.isfinite(mean_loss):
        paths = ", ".join(str(training.batches.samples[i].path) for i in batch.indices)
        raise NonFiniteLossError(
            f"the loss became {mean_loss} in epoch {training.position.epoch + 1}; lower --lr, or "
            f"check the images of that batch: {paths}"
        )
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    fabric.clip_gradients(network, training.optimizer, max_norm=config.clip_grad)
    training.optimizer.step()
    return mean_loss, stopping > 0


def _compute_gradients(training: _Training, batch: TrainingBatch, easy: float) -> torch.Tensor:
    """The gradients of a step, in the weights' ``grad``; returns the loss."""
    position = training.position
    # Nothing random depends on what came before: resuming repeats the same steps.
    torch.manual_seed(step_seed(training.config.seed, position.epoch, position.step))
    share = torch.full((), easy, device=training.fabric.device)
    if batch.features is not None:
        training.from_images.forget()  # from here on all maps are kept
        loss, *_ = training.from_maps(share, *batch.features)
    else:
        assert batch.images is not None
        loss, *features = training.from_images(share, batch.images)
        # Now that it is known how much memory a step takes.
        training.batches.keep(batch.indices, features)
    return loss


def _gradients_from_images(
    fabric: Fabric,
    config: TrainConfig,
    network: Any,
    optimizer: Any,
    easy: torch.Tensor,
    images: torch.Tensor,
) -> Tensors:
    with _autocast(fabric):
        features = network.encoder(images)
    return _gradients_from_maps(fabric, config, network, optimizer, easy, *features)


def _gradients_from_maps(
    fabric: Fabric,
    config: TrainConfig,
    network: Any,
    optimizer: Any,
    easy: torch.Tensor,
    *features: torch.Tensor,
) -> Tensors:
    with _autocast(fabric):
        reconstructed = network.reconstruct(list(features))
    reconstructed = trimmed(features, reconstructed, config.trim)
    loss = training_loss(features, reconstructed, config.loss, config.loose_loss, easy).mean()
    optimizer.zero_grad()
    fabric.backward(loss)
    return (loss.detach(), *features)


@contextmanager
def _autocast(fabric: Fabric) -> Iterator[None]:
    """Both parts in the same precision, whether the encoder's maps are kept or not.

    (Fabric sees to that in ``network(...)``, but not in a method of one device's network.) No cast
    is kept for later: what a recording casts, it casts in every replay.
    """
    keeps = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with fabric.autocast():
            yield
    finally:
        torch.set_autocast_cache_enabled(keeps)
