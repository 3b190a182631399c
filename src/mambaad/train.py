"""Training: the released recipe, as a loop that can be read, interrupted and resumed."""

from __future__ import annotations

import functools
import json
import math
import multiprocessing
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.multiprocessing.spawn import ProcessException

from mambaad.checkpoint import Position, load_checkpoint, save_checkpoint
from mambaad.config import TrainConfig, make_config
from mambaad.data import Preprocess, check_images, keep_out, load_batches, read_data
from mambaad.errors import ConfigError, MambaADError, NonFiniteLossError, RunError
from mambaad.feature_cache import FeatureCache
from mambaad.files import TEMPORARY, write_text
from mambaad.good_parts import look_at_good_parts
from mambaad.loggers import check_logger, make_loggers
from mambaad.loss import LOSSES
from mambaad.memory import keep_freed_memory
from mambaad.models.system import System
from mambaad.progress import ProgressBar, say
from mambaad.run import (
    CHECKPOINT,
    GOOD_PARTS,
    LOG,
    build_from,
    create_run,
    load_model,
    read_config,
    read_data_summary,
    save_good_parts,
    save_weights,
    summarise_data,
)
from mambaad.schedule import epoch_batches, learning_rate, mix
from mambaad.threads import limit_threads
from mambaad.types import Sample


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM arrived; the state is saved, and ``resume`` goes on from there."""


def train(
    data: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    skip_unreadable: bool = False,
    **settings: Any,
) -> Path:
    """Train one model for all classes of a data set, on their good parts.

    Args:
        data: a folder in any known layout (``docs/datasets.md``); others are read as MVTec AD's.
        out: the run folder to make (see :mod:`mambaad.run`).
        resume: go on with an interrupted run, to the same weights as if it had not been.
        skip_unreadable: leave unreadable images out instead of stopping.
        settings: those of :class:`mambaad.config.TrainConfig`; the others take their defaults.

    Returns:
        The run folder.

    Raises:
        ConfigError, DataError, RunError: before any training; nothing has been written.
        NonFiniteLossError: the loss became NaN or infinite.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    out = Path(out)
    config = _resumed_config(out, settings) if resume else make_config(settings)
    if resume and _is_finished(out):
        (out / CHECKPOINT).unlink(missing_ok=True)
        say(f"{out} is finished: nothing to resume")
        return out

    with ProgressBar("reading images") as bar:
        classes, skipped = check_images(
            read_data(Path(data), config.classes, layout=config.layout),
            skip_unreadable=skip_unreadable,
            progress=bar.update,
        )
    for problem in skipped:
        say(f"left out: {problem}")
    if skipped:
        say(f"{len(skipped)} unreadable images left out")
    everything = classes
    classes, kept_out = keep_out(
        everything, share=config.holdout, fold=config.fold, seed=config.seed
    )
    samples = tuple(sample for c in classes for sample in c.train)
    if len(samples) < config.devices:
        raise ConfigError(f"--devices {config.devices} is more than the {len(samples)} images")

    summary = summarise_data(everything, kept_out)
    if resume and summary["fingerprint"] != read_data_summary(out)["fingerprint"]:
        raise RunError(
            f"{data} does not hold the images that {out} was trained on (other names or sizes); "
            "give the same ones, or start a new run"
        )
    torch.manual_seed(config.seed)
    # A checkpoint has the encoder: the file it once came from may be gone.
    has_encoder = resume and (out / CHECKPOINT).is_file()
    model = build_from(config, "random" if has_encoder else config.encoder_weights)
    check_logger(config.logger)
    fabric = _make_fabric(config)
    if not resume:
        create_run(out, config, summary)
    for leftover in out.glob(f"*{TEMPORARY}"):
        leftover.unlink()
    counts = ", ".join(f"{c.name} {len(c.train)}" for c in classes)
    say(f"{len(samples)} training images of {len(classes)} classes: {counts}")
    if config.holdout or config.fold:
        say(f"{sum(len(c.train) for c in kept_out)} good parts kept out of it, to calibrate on")

    if not _launch(fabric, config, model, samples, out):
        command = ["mambaad", "train", str(data), "--out", str(out), "--resume"]
        command += ["--skip-unreadable"] if skip_unreadable else []
        raise Interrupted(f"interrupted; go on with: {shlex.join(command)}")
    save_good_parts(out, look_at_good_parts(load_model(out), classes, config.size))
    (out / CHECKPOINT).unlink(missing_ok=True)
    return out


def _resumed_config(out: Path, settings: dict[str, Any]) -> TrainConfig:
    config = read_config(out)
    asked = make_config({**config.model_dump(), **settings})
    for name in settings:
        if name not in ("cache_features", "logger") and getattr(asked, name) != getattr(
            config, name
        ):
            raise ConfigError(
                f"--{name.replace('_', '-')}: {out} was started with {getattr(config, name)}; "
                "leave it away to resume, or start a new run"
            )
    return config.model_copy(
        update={"cache_features": asked.cache_features, "logger": asked.logger}
    )


def _is_finished(out: Path) -> bool:
    return (out / GOOD_PARTS).is_file()  # written last


def _make_fabric(config: TrainConfig) -> Fabric:
    strategy = DDPStrategy(start_method="spawn") if config.devices > 1 else "auto"
    try:
        return Fabric(devices=config.devices, strategy=strategy, precision=config.precision)
    except Exception as error:  # Fabric's own kinds, none of them public
        reason = " ".join(str(error).split())
        raise ConfigError(f"--devices {config.devices}, --precision: {reason}") from error


def _launch(
    fabric: Fabric, config: TrainConfig, model: System, samples: Sequence[Sample], out: Path
) -> bool:
    """Run :func:`_fit` in one process, or in one for each device; False if interrupted."""
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

    with _signals(pass_on):
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
    network, optimizer = fabric.setup(model, plain_optimizer)
    network.mark_forward_method("reconstruct")
    network.train()
    cache = None
    if config.cache_features != "off" and config.devices == 1 and config.epochs > 1:
        cache = FeatureCache(len(samples), out, config.cache_features)
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
    with _signals(stop.set):
        when_ready()
        while position.epoch < config.epochs:
            finished = _run_epoch(
                fabric, config, network, optimizer, samples, cache, position, stop
            )
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
    cache: FeatureCache | None,
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
    unknown = [samples[i] for batch in mine if not (cache and cache.has(batch)) for i in batch]
    loader = load_batches(unknown, Preprocess(*config.size), share)
    title = f"epoch {epoch + 1}/{config.epochs}"
    with ProgressBar(title, show=fabric.is_global_zero) as bar:
        started = time.perf_counter() - position.seconds
        for indices in mine:
            # Nothing random depends on what came before: that makes resuming exact.
            torch.manual_seed(mix(config.seed, epoch, position.step))
            if cache and cache.has(indices):
                features = [maps.to(fabric.device) for maps in cache.get(indices)]
                reconstructed = network.reconstruct(features)
            else:
                features, reconstructed = network(next(loader).images.to(fabric.device))
                if cache:
                    cache.put(indices, features)
            loss = LOSSES[config.loss](features, reconstructed)
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
            optimizer.zero_grad()
            fabric.backward(loss)
            fabric.clip_gradients(network, optimizer, max_norm=config.clip_grad)
            optimizer.step()
            position.step += 1
            position.loss_sum += mean_loss
            position.seconds = time.perf_counter() - started
            speed = position.step * len(batches[0]) / position.seconds
            note = f"loss {position.loss_sum / position.step:.4f}  {speed:.1f} images/s"
            bar.update(position.step, len(batches), note)
            if stopping:
                loader.close()
                return False

    speed = len(batches) * len(batches[0]) / position.seconds
    position.log.append(
        {
            "epoch": epoch + 1,
            "loss": position.loss_sum / len(batches),
            "lr": learning_rate(config, epoch),
            "images_per_s": round(speed, 3),
            "seconds": round(position.seconds, 3),
        }
    )
    if fabric.is_global_zero:
        left = (config.epochs - epoch - 1) * position.seconds / 60
        mean_loss = position.log[-1]["loss"]
        fabric.log_dict({k: position.log[-1][k] for k in ("loss", "lr", "images_per_s")}, epoch + 1)
        say(f"{title}  loss {mean_loss:.4f}  {speed:.1f} images/s  {left:.0f} min left")
    position.epoch += 1
    position.step, position.loss_sum, position.seconds = 0, 0.0, 0.0
    return True


@contextmanager
def _signals(react: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM call ``react`` (a second Ctrl-C ends at once)."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before: dict[int, Any] = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: Any) -> None:
        signal.signal(number, before[number])
        react()

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
