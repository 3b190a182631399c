"""The training loop: the released recipe, interrupted and resumed to the very same weights."""

from __future__ import annotations

import functools
import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.multiprocessing.spawn import ProcessException

from mambaad.artifacts.run_folder import CHECKPOINT, LOG, save_weights
from mambaad.config import TrainConfig
from mambaad.errors import ConfigError, MambaADError, NonFiniteLossError, RunError
from mambaad.files import write_text
from mambaad.inference.compiled import begin_step, compile_system
from mambaad.models.system import System
from mambaad.process import keep_freed_memory, limit_threads, on_signals
from mambaad.progress import ProgressBar, say
from mambaad.training.batches import Feed
from mambaad.training.checkpoint import Position, load_checkpoint, save_checkpoint
from mambaad.training.gpu_meter import GpuMeter
from mambaad.training.loggers import make_loggers
from mambaad.training.loss import LOSSES
from mambaad.training.schedule import epoch_batches, learning_rate, mix
from mambaad.types import Sample


def make_fabric(config: TrainConfig) -> Fabric:
    """Lightning Fabric for a configuration's devices and precision; refused by ConfigError."""
    strategy = DDPStrategy(start_method="spawn") if config.devices > 1 else "auto"
    try:
        return Fabric(devices=config.devices, strategy=strategy, precision=config.precision)
    except Exception as error:  # Fabric's own kinds, none of them public
        reason = " ".join(str(error).split())
        raise ConfigError(f"--devices {config.devices}, --precision: {reason}") from error


def fit(
    fabric: Fabric, config: TrainConfig, model: System, samples: Sequence[Sample], out: Path
) -> bool:
    """Train a model to the end (True), or to an interruption (False), and go on from a checkpoint.

    In one process, or in one for each device.

    Args:
        fabric: what :func:`make_fabric` made of ``config``.
        config: how long, at what rates, on how many devices.
        model: as it is to start; in one process the very one that is trained.
        samples: good parts, of all classes.
        out: the run folder, which gets weights and log after each epoch, and a checkpoint.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
        DataError, RunError: an image that cannot be read, a process that ended, no room.
    """
    if config.devices == 1:
        return _fit(fabric, model, config, samples, out)
    context = multiprocessing.get_context("spawn")
    ready, problems = context.Semaphore(0), context.SimpleQueue()
    # Fabric gives each process its own copy of a model among the plain arguments, which would
    # else be one in shared memory; but it refuses our frozen records there.
    fit: Any = functools.partial(
        _fit_process, config=config, samples=samples, out=out, ready=ready, problems=problems
    )

    def pass_on() -> None:
        # The children stop at the same step and save, and this process waits for them. Until all
        # of them can, there is nothing to save.
        if not all(ready.acquire(block=False) for _ in range(config.devices)):
            raise KeyboardInterrupt
        for child in multiprocessing.active_children():
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    with on_signals(pass_on):
        try:
            return bool(fabric.launch(fit, model))
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():
                child.kill()
            return False
        except ProcessException as error:
            if not problems.empty():
                raise problems.get() from None
            last = str(error).strip().splitlines()[-1]
            raise RunError(f"a training process ended early: {last}") from error


def _fit_process(fabric: Fabric, model: System, *, ready: Any, problems: Any, **rest: Any) -> bool:
    """:func:`_fit` in one of several processes, which tells the first what went wrong."""
    try:
        return _fit(fabric, model, **rest, when_ready=ready.release)
    except MambaADError as error:
        problems.put(error)
        raise


def _fit(
    fabric: Fabric,
    model: System,
    config: TrainConfig,
    samples: Sequence[Sample],
    out: Path,
    when_ready: Callable[[], None] = lambda: None,
) -> bool:
    """Train to the end (True) or to an interruption (False)."""
    keep_freed_memory()
    limit_threads()
    trained = [p for p in model.parameters() if p.requires_grad]
    plain_optimizer = torch.optim.AdamW(
        trained,
        config.lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    compile_system(model, config.compile)
    network, optimizer = fabric.setup(model, plain_optimizer)
    network.mark_forward_method("reconstruct")
    network.train()
    feed = Feed(samples, config, out, fabric.device)
    position = Position()
    if (out / CHECKPOINT).is_file():
        position = load_checkpoint(out / CHECKPOINT, model, plain_optimizer)
    fabric.barrier()
    if fabric.is_global_zero:
        fabric.loggers.extend(make_loggers(config, out))
    if fabric.is_global_zero and not (out / CHECKPOINT).is_file():
        # So that resuming never needs the encoder's file again.
        save_checkpoint(out / CHECKPOINT, model, plain_optimizer, position)

    stop = threading.Event()
    with on_signals(stop.set):
        when_ready()
        while position.epoch < config.epochs:
            finished = _run_epoch(fabric, config, network, optimizer, samples, feed, position, stop)
            if fabric.is_global_zero:
                if finished:
                    save_weights(out, model)
                    log = "".join(json.dumps(record) + "\n" for record in position.log)
                    write_text(out / LOG, log)
                # Last: a kill before it leaves the epoch to be done again, and nothing lost.
                save_checkpoint(out / CHECKPOINT, model, plain_optimizer, position)
            if not finished:
                return False
    for logger in fabric.loggers:
        logger.finalize("success")
    return True


def _run_epoch(
    fabric: Fabric,
    config: TrainConfig,
    network: Any,
    optimizer: Any,
    samples: Sequence[Sample],
    feed: Feed,
    position: Position,
    stop: threading.Event,
) -> bool:
    """Train on each image once; False if it was interrupted, with ``position`` in between."""
    epoch = position.epoch
    batches = epoch_batches(len(samples), config.batch_size, config.devices, config.seed, epoch)
    rest = batches[position.step :]
    share = len(batches[0]) // fabric.world_size
    first = fabric.global_rank * share
    mine = [batch[first : first + share] for batch in rest]
    steps = feed.steps(mine)
    meter = GpuMeter(fabric.device)
    title = f"epoch {epoch + 1}/{config.epochs}"
    with ProgressBar(title, show=fabric.is_global_zero) as bar:
        started = time.perf_counter() - position.seconds
        waited_before = feed.waited - position.waited
        for indices, (images, features) in zip(mine, steps, strict=True):
            # Nothing random depends on what came before: that makes resuming exact.
            torch.manual_seed(mix(config.seed, epoch, position.step))
            begin_step(config.compile)
            # Both parts in the same precision whether features are kept or not. (Fabric itself
            # sees to that in ``network(...)``, but not in a method of one device's network.)
            with fabric.autocast():
                if features is None:
                    features = network.encoder(images)
                    feed.keep(indices, features)
                reconstructed = network.reconstruct(features)
            loss = LOSSES[config.loss](features, reconstructed)
            optimizer.zero_grad()
            fabric.backward(loss)
            # Read after the backward is under way, and before any weight changes.
            stop_asked = torch.tensor(float(stop.is_set())).to(loss)
            told: Any = fabric.all_reduce(torch.stack([loss.detach(), stop_asked]))
            mean_loss, stopping = told.tolist()
            if not math.isfinite(mean_loss):
                names = ", ".join(str(samples[i].path) for i in indices)
                raise NonFiniteLossError(
                    f"the loss became {mean_loss} in epoch {epoch + 1}; lower --lr, or look at "
                    f"the images of that batch: {names}"
                )
            rate = learning_rate(config, epoch, position.step / len(batches))
            for group in optimizer.param_groups:
                group["lr"] = rate
            fabric.clip_gradients(network, optimizer, max_norm=config.clip_grad)
            optimizer.step()
            position.step += 1
            position.loss_sum += mean_loss
            position.seconds = time.perf_counter() - started
            position.waited = feed.waited - waited_before
            meter.ask(position.step)
            speed = position.step * len(batches[0]) / position.seconds
            note = f"loss {position.loss_sum / position.step:.4f}  {speed:.1f} images/s{meter.note}"
            bar.update(position.step, len(batches), note)
            if stopping:
                steps.close()
                return False

    speed = len(batches) * len(batches[0]) / position.seconds
    position.log.append(
        {
            "epoch": epoch + 1,
            "loss": position.loss_sum / len(batches),
            "lr": learning_rate(config, epoch),
            "images_per_s": round(speed, 3),
            "seconds": round(position.seconds, 3),
            "waited": round(position.waited, 3),
            **({"gpu_percent": round(meter.mean, 1)} if meter.mean is not None else {}),
        }
    )
    if fabric.is_global_zero:
        left = (config.epochs - epoch - 1) * position.seconds / 60
        mean_loss = position.log[-1]["loss"]
        fabric.log_dict({k: position.log[-1][k] for k in ("loss", "lr", "images_per_s")}, epoch + 1)
        say(f"{title}  loss {mean_loss:.4f}  {speed:.1f} images/s{meter.note}  {left:.0f} min left")
    position.epoch += 1
    position.step, position.loss_sum = 0, 0.0
    position.seconds, position.waited = 0.0, 0.0
    return True
