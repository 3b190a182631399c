"""A run folder: what training leaves behind, and all that evaluation and inspection need.

======================== ==========================================================
``config.json``          the settings (:class:`mambaad.config.TrainConfig`)
``data.json``            the classes, their counts, and which images (their contents' digests)
``version.json``         the versions of this package, PyTorch and timm
``weights.safetensors``  the whole model, encoder included
``log.jsonl``            a line for each epoch
``good_parts.*``         heatmap scale and product means (``models/prototypes.py``)
``calibration.*``        once calibrated: what verdicts are based on (``inspection/calibration.py``)
``checkpoint.*``         while training is not finished: all that resuming needs
======================== ==========================================================

Nothing in it refers to a place outside, so it can be moved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mambaad.config import TrainConfig, config_json
from mambaad.errors import ConfigError, DataError, MambaADError, RunError
from mambaad.files import TEMPORARY, file_digest, write_text, written_whole
from mambaad.models.prototypes import NO_GOOD_PARTS, GoodParts
from mambaad.models.system import System
from mambaad.systems import system_class
from mambaad.types import ProductClass

CONFIG, DATA, VERSION, LOG = "config.json", "data.json", "version.json", "log.jsonl"
WEIGHTS, GOOD_PARTS = "weights.safetensors", "good_parts.safetensors"
CHECKPOINT = "checkpoint.safetensors"
_SHORT = 16  # hexadecimal digits of a part's digest: enough to tell parts apart


def create_run(folder: Path, config: TrainConfig, data: Mapping[str, Any]) -> None:
    """Make a run folder with everything but weights.

    Raises:
        RunError: there is something at that path already.
    """
    begun = {VERSION, DATA}  # what a kill in this very function leaves behind
    if folder.exists() and (
        not folder.is_dir()
        or any(p.name not in begun and not p.name.endswith(TEMPORARY) for p in folder.iterdir())
    ):
        hint = "go on with it (--resume), or " if (folder / CONFIG).is_file() else ""
        raise RunError(f"{folder} exists and is not empty; {hint}choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        versions = {name: version(name) for name in ("mambaad", "torch", "timm")}
        write_text(folder / VERSION, json.dumps(versions, indent=2) + "\n")
        write_text(folder / DATA, json.dumps(data, indent=2) + "\n")
        write_text(folder / CONFIG, config_json(config))
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written ({error.strerror}); choose another --out"
        ) from error


def read_config(folder: Path) -> TrainConfig:
    """The settings of a run.

    Raises:
        RunError: not a run folder, or a damaged one.
    """
    try:
        return TrainConfig(**_read_json(folder, CONFIG))
    except (ValidationError, TypeError, MambaADError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"{folder / CONFIG} is not a configuration of this version of mambaad; see "
            f"{folder / VERSION} for the one that wrote it"
        ) from error


def read_data_summary(folder: Path) -> dict[str, Any]:
    """What a run was trained on; see :func:`summarise_data`.

    Raises:
        RunError: not a run folder, or a damaged one.
    """
    summary = _read_json(folder, DATA)
    classes = summary.get("classes")
    parts = summary.setdefault("parts", {})
    if "fingerprint" not in summary or not isinstance(classes, dict) or not _are_digests(parts):
        raise RunError(f"{folder / DATA} is damaged; restore the run from a copy")
    return summary


def _are_digests(parts: object) -> bool:
    return isinstance(parts, dict) and all(
        isinstance(some, list) and all(isinstance(digest, str) for digest in some)
        for some in parts.values()
    )


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The record of each epoch that has ended.

    Raises:
        RunError: the log is damaged.
    """
    path = folder / LOG
    if not path.is_file():
        return []
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{"loss": r["loss"], "seconds": r["seconds"], **r} for r in records]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged; restore the run from a copy") from error


def read_version(folder: Path) -> dict[str, Any]:
    """The versions of the software that made a run."""
    return _read_json(folder, VERSION)


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = Path(folder) / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{folder} is not a run folder (it has no {name}); give what 'mambaad train --out' made"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); restore the run from a copy") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged (not an object); restore the run from a copy")
    return content


def summarise_data(
    classes: Sequence[ProductClass], kept_out: Sequence[ProductClass]
) -> dict[str, Any]:
    """Counts by class; the digests of what was trained on; and a fingerprint.

    That is the same for the same good parts in any place: see :func:`fingerprint`.

    Args:
        classes: with all their good parts, ``kept_out`` among them.
        kept_out: those not trained on, class by class (see :func:`mambaad.data.splits.keep_out`).
    """
    digests = part_digests(classes)
    unseen = {sample for out in kept_out for sample in out.train}
    return {
        "classes": {
            c.name: {
                "train": len(c.train) - len(out.train),
                "holdout": len(out.train),
                "test": len(c.test),
                "masks": c.has_masks,
            }
            for c, out in zip(classes, kept_out, strict=True)
        },
        "fingerprint": fingerprint(digests),
        "parts": {
            c.name: [
                digest[:_SHORT]
                for sample, digest in zip(c.train, digests[c.name], strict=True)
                if sample not in unseen
            ]
            for c in classes
        },
    }


def part_digests(classes: Sequence[ProductClass]) -> dict[str, list[str]]:
    """The SHA-256 of each good part's file, by class.

    Raises:
        DataError: a file that cannot be read.
    """
    return {c.name: [_digest(sample.path) for sample in c.train] for c in classes}


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); restore it") from error


def fingerprint(digests: Mapping[str, Sequence[str]]) -> str:
    """The same for the same good parts in the same order: what is kept out depends on it too.

    Args:
        digests: of the parts' contents, by class (:func:`part_digests`).
    """
    whole = hashlib.sha256()
    for name, parts in sorted(digests.items()):
        whole.update("".join(f"{name}:{digest}\n" for digest in parts).encode())
    return whole.hexdigest()


def known_parts(summary: Mapping[str, Any], paths: Sequence[Path]) -> list[Path]:
    """Those of some files whose contents a run was trained on."""
    known = {digest for digests in summary["parts"].values() for digest in digests}
    return [path for path in paths if _digest(path)[:_SHORT] in known]


def save_weights(folder: Path, model: System) -> None:
    """Write ``weights.safetensors``, whole or not at all."""
    save_tensors(folder / WEIGHTS, model.state_dict())


def build_from(config: TrainConfig, encoder_weights: str | Path) -> System:
    """The untrained model that a configuration describes."""
    built: System = system_class(config.system).build(config, encoder_weights)
    return built


def load_model(folder: Path) -> System:
    """The trained model of a run, in eval mode, on the CPU.

    Raises:
        RunError: no run, no weights yet, or weights or product means of another model.
    """
    folder = Path(folder)
    config = read_config(folder)
    if not (folder / WEIGHTS).is_file():
        raise RunError(f"{folder} has no {WEIGHTS}: its first epoch has not ended; train it first")
    _check_shapes(folder, config)
    model = build_from(config, "random")
    state, _ = load_tensors(folder / WEIGHTS)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{folder / WEIGHTS} does not fit {folder / CONFIG}: {reason}") from error
    _check_means(folder, model)
    return model.eval()


def _check_shapes(folder: Path, config: TrainConfig) -> None:
    """Compare the weights' shapes with those of the configuration's model, which is not made.

    Settings that someone else wrote could ask for more memory than there is; a file of weights
    cannot be smaller than what it holds.
    """
    path = folder / WEIGHTS
    try:
        with torch.device("meta"):
            described = build_from(config, "random").state_dict()
    except ConfigError as error:
        raise RunError(f"{folder / CONFIG} describes no model that can be made: {error}") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in described.items()}
    try:
        with safe_open(path, framework="pt") as file:
            found = {n: tuple(file.get_slice(n).get_shape()) for n in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged or absent ({error}); restore it from a copy") from error
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise RunError(
                f"{path} does not fit {folder / CONFIG}: {name} is {_shape(found.get(name))}, "
                f"expected {_shape(wanted.get(name))}; restore the run from a copy"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"


def _check_means(folder: Path, model: System) -> None:
    """The products' means must be of the encoder's embeddings."""
    means = read_good_parts(folder).means
    channels: Any = getattr(model.encoder, "channels", None)
    if not means.numel() or channels is None:
        return
    width = channels if isinstance(channels, int) else sum(channels)
    if means.ndim != 2 or means.shape[1] != width or not means.is_floating_point():
        raise RunError(
            f"{folder / GOOD_PARTS} does not fit {folder / CONFIG}: its means are of shape "
            f"{tuple(means.shape)}, expected products x {width}; restore the run from a copy"
        )


def weights_digest(folder: Path) -> str:
    """The SHA-256 of a run's weights, in hexadecimal.

    Raises:
        RunError: they cannot be read.
    """
    try:
        return file_digest(folder / WEIGHTS)
    except OSError as error:
        raise RunError(f"{folder / WEIGHTS} cannot be read ({error.strerror})") from error


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any] | None = None
) -> None:
    """Write tensors by name, with something JSON can hold about them."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as temporary:
        try:
            save_file(contiguous, temporary, {"about": json.dumps(about or {})})
        except SafetensorError as error:  # its name for a full disk
            raise OSError(str(error)) from error


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        RunError: the file is absent, truncated or not of that kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            # Copies: the file's own tensors keep it mapped, and Windows refuses to replace it.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, about  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged or absent ({error}); restore it from a copy") from error


def save_good_parts(folder: Path, good_parts: GoodParts) -> None:
    """Write ``good_parts.safetensors``, whole or not at all."""
    about = {"scale": good_parts.scale, "products": good_parts.products}
    save_tensors(folder / GOOD_PARTS, {"means": good_parts.means}, about)


def read_good_parts(folder: Path) -> GoodParts:
    """What the good parts of a run look like; nothing is known of them before training has ended.

    Raises:
        RunError: the file is damaged.
    """
    path = Path(folder) / GOOD_PARTS
    if not path.is_file():
        return NO_GOOD_PARTS
    tensors, about = load_tensors(path)
    try:
        low, high = map(float, about["scale"])
        means, products = tensors["means"], tuple(map(str, about["products"]))
        if not low < high or means.shape[0] != len(products):
            raise ValueError
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunError(f"{path} is damaged; restore the run from a copy") from error
    return GoodParts((low, high), products, means)
