"""Training from a data set to a run folder; the loop itself is in ``training/loop.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch

from mambaad.artifacts.fingerprint import summarise_data
from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import CHECKPOINT
from mambaad.artifacts.run_folder import (
    check_longer,
    check_new,
    create_run,
    is_finished,
    new_folder,
    read_config,
    read_data_summary,
)
from mambaad.artifacts.snapshot import opened
from mambaad.config import SETTINGS, TrainConfig, make_config
from mambaad.data.checks import check_with_progress, list_to_check
from mambaad.data.depth import decided_depth
from mambaad.data.exclusion import read_exclusions
from mambaad.data.layout_file import as_setting
from mambaad.data.parts import Parts, PartSequence, as_source
from mambaad.data.splits import hold_out
from mambaad.errors import ConfigError, RunError
from mambaad.files import locked
from mambaad.inference.device import find_device, find_type
from mambaad.launch import Launch, launched
from mambaad.models.build import build_system
from mambaad.models.licences import licence_notice
from mambaad.progress import say, warn
from mambaad.training.callbacks import NO_CALLBACKS, Callbacks, StepEnd
from mambaad.training.devices import make_fabric
from mambaad.training.finish import CHECKPOINTS, finish
from mambaad.training.follow import take_part
from mambaad.training.link import Link
from mambaad.training.loggers import check_logger
from mambaad.training.longer import lengthen
from mambaad.training.loop import fit
from mambaad.training.notes import notes_on_images, notes_on_length
from mambaad.training.preparation import prepare
from mambaad.training.samples import training_samples
from mambaad.training.together import going_on_alone, joined, make_plan
from mambaad.workflows.resuming import check_resumed, how_to_resume
from mambaad.workflows.training_pages import TrainingPages
from mambaad.workflows.validation import EpochEnd, make_callbacks


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM arrived; the state is saved, and ``resume`` continues from there."""


def train(
    data: str | Path | PartSequence,
    out: str | Path,
    *,
    resume: bool = False,
    skip_unreadable: bool = False,
    device: str = "auto",
    after_step: Callable[[StepEnd], object] | None = None,
    after_epoch: Callable[[EpochEnd], object] | None = None,
    validate_every: int | None = None,
    validate_on: str | Path | PartSequence | None = None,
    system: Literal["mambaad", "rd4ad", "uniad"] | None = None,
    recipe: Literal["paper", "fast"] | None = None,
    variant: Literal["base", "lite"] | None = None,
    layout: str | Path | Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    exclude: str | Path | Iterable[str | Path] | None = None,
    bit_depth: Literal["auto", 8, 10, 12, 14, 16] | None = None,
    float_range: str | tuple[float, float] | None = None,
    max_pixels: int | None = None,
    tiles: str | tuple[int, int] | None = None,
    tile_views: int | None = None,
    tile_positions: Literal["random", "grid"] | None = None,
    holdout: float | None = None,
    size: int | str | tuple[int, int] | None = None,
    encoder: str | None = None,
    encoder_weights: str | Path | None = None,
    encoder_groups: Sequence[Sequence[int]] | Literal["auto"] | None = None,
    recentre: bool | None = None,
    mixer: Literal["s6", "vssd", "ssd"] | None = None,
    scan: Literal["sweep", "scan", "zorder", "zigzag", "hilbert"] | None = None,
    directions: Literal[1, 2, 4, 8] | None = None,
    states: int | None = None,
    expand: int | None = None,
    depths: tuple[int, int, int, int] | None = None,
    kernels: Sequence[int] | None = None,
    blocks: int | None = None,
    decoder_width: int | None = None,
    drop_path: float | None = None,
    noisy_bottleneck: float | None = None,
    head: Literal["off", "residual"] | None = None,
    head_steps: int | None = None,
    dropout: float | None = None,
    normalise_features: bool | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    loss: Literal["squared-error", "cosine"] | None = None,
    loose_loss: Literal["off", "quantile", "soft"] | None = None,
    trim: float | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    beta1: float | None = None,
    beta2: float | None = None,
    schedule: Literal["step", "cosine"] | None = None,
    lr_drop_after: float | None = None,
    clip_grad: float | None = None,
    seed: int | None = None,
    devices: int | None = None,
    precision: Literal["32-true", "bf16-mixed"] | None = None,
    cache_features: Literal["auto", "device", "memory", "disk", "off"] | None = None,
    cache_images: Literal["auto", "memory", "disk", "off"] | None = None,
    compile: Literal["auto", "off", "default", "cuda-graphs"] | None = None,
    logger: Literal["none", "tensorboard", "mlflow"] | None = None,
) -> Path:
    """Train one model for all classes of a data set, on their good parts.

    A setting that is not given (None) takes the default of the system, recipe and variant: in
    brackets below, first of the recipe ``"paper"``, then what ``"fast"`` and ``"lite"`` change. A
    resumed run keeps its own settings.

    Args:
        data: a folder in any known layout (``docs/datasets.md``), or a sequence of
            :class:`mambaad.Part`, all of them good; the same when resuming.
        out: the run folder to make (see :mod:`mambaad.artifacts.run_folder`).
        resume: continue an interrupted run, to the same weights as if it had not been (on a GPU
            up to the rounding of atomic sums); or with more ``epochs`` train one longer, which may
            have ended (:func:`mambaad.training.longer.lengthen` says at which learning rate).
        skip_unreadable: leave unreadable images out instead of stopping.
        device: where to compute, see :class:`mambaad.Inspector`; with several ``devices`` their
            type. Resuming may use another.
        after_step: called with a :class:`mambaad.StepEnd` after each step; on one device only, as
            the next three. What a callback raises ends the training; it can be resumed.
        after_epoch: called with a :class:`mambaad.EpochEnd` after each epoch; the run has its
            weights then.
        validate_every: evaluate the model after every so many epochs. The figures are logged, and
            given to ``after_epoch``. The weights are the same as without.
        validate_on: what on: a folder or a sequence of parts, good and defective; by default the
            test images of ``data``.

        system: ``"mambaad"``, or a baseline, with defaults of its own. ["mambaad"]
        recipe: the published training, or a much shorter one. ["paper"]
        variant: size of MambaAD's decoder: the published one, or a sixth of its work. ["base"]

        layout: of the data set: its name, or a file or the fields of a declared one; see
            ``docs/datasets.md``. [recognised]
        classes: names of the classes to train on. [all]
        exclude: training images to leave out: a text file with one path a line, as ``mambaad data
            suspects`` writes it, or the paths; relative to ``data``. [none]
        bit_depth: bits in use of images that are stored with 16 or 32 bits a channel, for the
            whole data set and for what the run inspects; ``"auto"`` decides by the images' values,
            and stops where these do not decide it. ["auto"]
        float_range: values of black and white in images of floats: "0,1" or two numbers. [none:
            such images are refused]
        max_pixels: images with more are refused, as unsafe to decode. [89478485]
        tiles: size and stride of the tiles in which images larger than one are seen, beside the
            image as a whole, such as "512:384" (``docs/tiles.md``); ``size`` is then theirs.
            [none]
        tile_views: tiles of an image that are trained on, on average. [16]
        tile_positions: of these: ``"random"``, or those of the grid. ["random"]
        holdout: share of the good parts, 0 to 0.9, held out for calibration. [0]
        size: pixels to which images are resized, multiples of 32, or with ``encoder_groups`` of
            the patch size: 256, "224x320" or (height, width). [256; DINO's ViTs: 28 patches]

        encoder: timm architecture, or ``"embedded"``, which comes with mambaad. ["resnet34"]
        encoder_weights: ``"timm"`` (its own download), ``"random"``, or a local .safetensors or
            .pth file; not with ``"embedded"``. ["timm"]
        encoder_groups: for each of at most four maps, the blocks (from 0) of a vision transformer
            whose mean it is, all on the grid of its patches; ``"auto"``: the middle two thirds of
            the blocks in two groups. [vision transformers: "auto"]
        recentre: subtract each block's class token from its patch tokens. [False]

        mixer: how MambaAD's decoder mixes the cells of a feature map: ``"s6"``, selective scans as
            published; ``"vssd"``, one state for all cells (no order: without ``scan`` and
            ``directions``); ``"ssd"``, Mamba-2's scan, forwards and backwards in the order of
            ``scan`` (without ``directions``). ["s6"]
        scan: order in which MambaAD's decoder reads a feature map. ["hilbert"]
        directions: in how many directions it does: 1, 2, 4 or 8. [8; lite: 4]
        states: of the selective scan, for each channel, 1 to 256. [16; lite: 8]
        expand: channels inside a block, as a multiple of those outside, 1 to 8. [2; lite: 1]
        depths: HSS blocks of each of the four stages. [(3, 4, 6, 3); lite: (1, 1, 1, 1)]
        kernels: sizes of the local branches' convolutions, odd. [(5, 7); lite: (5,)]
        blocks: HSS blocks in each LSS module, a divisor of every depth. [3, 2 or 1 by depth]
        decoder_width: channels of the decoder with ``encoder_groups``. [the encoder's, up to 384]
        drop_path: largest rate at which a block is skipped in training, below 1. [0.2; fast: 0]

        noisy_bottleneck: rate of dropout on the fused map in training, below 1 (Dinomaly's noisy
            bottleneck). [0]
        head: ``"residual"``: after all else, train a head that finds defects in the residuals, on
            synthetic anomalies over the good parts; what it finds is added to the anomaly map.
            ["off"; fast: "residual"]
        head_steps: steps of its training, of 8 images each. [300]
        dropout: share of values that UniAD zeroes in training, below 1. [0.1; fast: 0]
        normalise_features: give UniAD's encoder maps whose cells all have the same length, so that
            none outweighs the others; not in its paper. [False; fast: True]

        epochs: passes over the training images. [100; fast: 6, with lite 10, UniAD 20]
        batch_size: images in a step, over all devices together. [16; fast: 4]
        loss: between the encoder's features and the decoder's. ["squared-error"; fast: "cosine"]
        loose_loss: whether cells that are rebuilt well already pass on less of their gradient:
            ``"quantile"`` (Dinomaly) or ``"soft"`` (INP-Former). ["off"]
        trim: share of a batch's positions, those rebuilt worst, that are not learned, 0 to below
            0.5; for good parts with defects among them (``docs/dirty_data.md``). [0]
        lr: learning rate of AdamW. [0.005; fast: 0.002, UniAD 0.001]
        weight_decay: of AdamW. [0.0001]
        beta1: AdamW's decay rate for the mean of gradients. [0.9]
        beta2: AdamW's decay rate for the mean of their squares. [0.999; fast: 0.95]
        schedule: ``"step"`` divides lr by 10 once; ``"cosine"`` warms up briefly and falls to 0
            along half a cosine. ["step"; fast: "cosine"]
        lr_drop_after: share of the epochs after which ``"step"`` divides. [0.8]
        clip_grad: largest norm of a step's gradient. [5; UniAD 0.5, fast: 2.5]
        seed: of everything random, 0 to 2**32 - 1. [42]

        devices: processes, or GPUs; ``batch_size`` is a multiple. [1]
        precision: of the network's arithmetic. ["32-true"]
        cache_features: where the encoder's maps are kept between epochs (one device): ``"auto"``
            takes the first with room of a GPU's own memory (``"device"``), memory and disk.
            ["auto"]
        cache_images: where resized images are kept, if those maps are not. ["auto"]
        compile: how torch.compile builds the network, see :mod:`mambaad.inference.compiled`;
            ``"auto"``: with CUDA graphs on one GPU, else not. ["auto"]
        logger: a further place for the figures of each epoch, beside the run's own log. ["none"]

    Returns:
        The run folder.

    Raises:
        ConfigError, DataError, RunError: before any training; nothing has been written.
        NonFiniteLossError: the loss became NaN or infinite.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    arguments = locals()
    given = {name: arguments[name] for name in SETTINGS if arguments[name] is not None}
    out, source = Path(out), as_source(data)
    if launch := launched():
        if not launch.is_first:  # what is wrong with the arguments, the first one says
            advice = how_to_resume(source, out, skip_unreadable, launch)
            if not take_part(launch, device, out, advice):
                raise Interrupted(f"interrupted; {advice}")
            return out
        given["devices"] = launch.devices(devices)
    if not resume:
        check_new(out)
    if exclude is not None and isinstance(source, Path):
        given["exclude"] = read_exclusions(exclude, source)
    if resume and given.get("bit_depth") == "auto":
        del given["bit_depth"]  # it has been decided
    if layout is not None:
        given["layout"] = as_setting(layout)
    config = make_config({**_settings(out), **given} if resume else given)
    callbacks = make_callbacks(
        out, config, source, device, after_step, after_epoch, validate_every, validate_on
    )
    return train_run(
        data,
        out,
        config,
        resume=resume,
        skip_unreadable=skip_unreadable,
        device=device,
        callbacks=callbacks,
    )


def _settings(out: Path) -> dict[str, Any]:
    with opened(out) as run:
        return read_config(run).model_dump()


def train_run(
    data: str | Path | PartSequence,
    out: str | Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    skip_unreadable: bool = False,
    device: str = "auto",
    callbacks: Callbacks = NO_CALLBACKS,
) -> Path:
    """Train as :func:`train` does, with settings that are checked and complete.

    Resumed, ``config`` must be the run's own, but for caches, logger, and more epochs.
    """
    source, out = as_source(data), Path(out)
    launch = launched()
    advice = how_to_resume(source, out, skip_unreadable, launch)
    with ExitStack() as held:
        together = None
        if launch:
            together = launch, held.enter_context(joined(launch, advice))
        finished = _train_run(
            source, out, config, resume, skip_unreadable, device, callbacks, held, together
        )
        if not finished:
            raise Interrupted(f"interrupted; {advice}")
    return out


def _train_run(
    data: Path | Parts,
    out: Path,
    config: TrainConfig,
    resume: bool,
    skip_unreadable: bool,
    device: str,
    callbacks: Callbacks,
    held: ExitStack,
    together: tuple[Launch, Link] | None,
) -> bool:
    """:func:`train_run`, which holds the run's lock in ``held``; False if it was interrupted.

    ``together``: what the first of several processes that were launched shares its plan by.
    """
    launch, link = together or (None, None)
    place = find_device(device) if config.devices == 1 else find_type(device)
    fingerprint, has_encoder, is_longer = None, False, False
    if resume:
        held.enter_context(locked(out))
        with opened(out) as run:
            check_resumed(run, config)
            is_longer = check_longer(run, config.epochs)
            has_ended, fingerprint = is_finished(run), read_data_summary(run)["fingerprint"]
            # The checkpoint's, or the weights': the file that it once came from may be gone.
            has_encoder = run.has(CHECKPOINT) or has_ended
        if has_ended and not is_longer:
            commit(out, {}, removed=CHECKPOINTS)  # which former versions deleted last
            say(f"{out} is finished: nothing to resume; to train it longer, give more --epochs")
            if link:
                link.tell(None)
            return True

    listed = list_to_check(
        data,
        config.classes,
        layout=config.layout,
        exclude=config.exclude,
        # Of a training that has begun, and of the folds of one, they may have been deleted since.
        may_be_gone=resume or config.fold is not None,
        skip_unreadable=skip_unreadable,
        reading=config.reading,
    )
    # Before all images are read: its encoder may have to be downloaded.
    torch.manual_seed(config.seed)
    model = build_system(config, "random" if has_encoder else config.encoder_weights)
    everything = check_with_progress(listed, skip_unreadable=skip_unreadable)
    # What was decided for these images is part of the run, for those that it will inspect.
    if depth := decided_depth(everything):
        config = config.model_copy(update={"bit_depth": depth})
    classes, held_out = hold_out(
        everything, share=config.holdout, fold=config.fold, seed=config.seed
    )
    samples = training_samples(classes, config)
    if len(samples) < config.devices:
        raise ConfigError(f"--devices {config.devices} is more than the {len(samples)} images")
    if config.devices > 1 and any(sample.held for sample in samples):
        raise ConfigError(f"--devices {config.devices} needs images in files; give their paths")

    summary = summarise_data(everything, held_out, excluded=config.exclude or ())
    if resume and summary["fingerprint"] != fingerprint:
        raise RunError(
            f"{data} does not hold the images that {out} was trained on (other contents, or "
            "another order); give the same ones, or start a new run"
        )
    if not resume and (notice := licence_notice(config.encoder, config.encoder_weights)):
        say(notice)
    check_logger(config.logger)
    fabric = make_fabric(config.devices, config.precision, place, launch)
    if not resume:
        held.enter_context(new_folder(out))
        create_run(out, config, summary)
    elif is_longer:
        lengthen(out, config, samples)
    if not has_encoder:
        prepare(model, samples, config.size)
    for line in notes_on_images(config, classes, held_out, len(samples)):
        say(line)
    if not resume:
        for line in notes_on_length(config, classes, len(samples)):
            warn(line)

    if launch and link:
        link.tell(make_plan(launch, config, samples))
    page = TrainingPages(out, is_wanted=config.fold is None)
    if not fit(fabric, config, model, samples, out, page.after_each_epoch(callbacks), launch):
        return False
    with going_on_alone(launch, link) if launch and link else nullcontext():
        if not finish(out, config, samples, classes, fabric.device):
            return False
        page.write_last(classes, held_out, device)
    if link:
        link.tell(None)
    return True
