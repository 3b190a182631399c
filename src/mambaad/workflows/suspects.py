"""``mambaad data suspects``: training images that look unlike the rest of their class."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mambaad.config import make_config
from mambaad.data.checks import check_with_progress
from mambaad.data.depth import with_reading
from mambaad.data.exclusion import check_share, exclusion_list, list_beside, relative_name
from mambaad.data.unread import list_data
from mambaad.errors import RunError
from mambaad.files import check_writable, locked, printable, write_text
from mambaad.inference.device import find_device, memory_of
from mambaad.process import is_out_of_memory, limit_threads
from mambaad.progress import ProgressBar
from mambaad.report.suspects_page import suspects_page
from mambaad.size import check_size, parse_size
from mambaad.training.suspects import ScoredClass, make_encoder, score_class
from mambaad.types import MAX_PIXELS

_WAIT = 30.0  # seconds that a call waits for another, which writes two files


def find_suspects(
    data: str | Path,
    out: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    layout: str | None = None,
    encoder: str = "embedded",
    encoder_weights: str = "timm",
    size: int | str | tuple[int, int] = 256,
    share: float | None = None,
    seed: int = 0,
    device: str = "auto",
    skip_unreadable: bool = False,
    bit_depth: int | str = "auto",
    float_range: str | tuple[float, float] | None = None,
    max_pixels: int = MAX_PIXELS,
    json_file: str | Path | None = None,
) -> list[ScoredClass]:
    """Score each training image by how unlike the others of its class it looks.

    Nothing is trained, and no label is looked at. See :mod:`mambaad.training.suspects` for the
    score and for the rule that names the suspects.

    Args:
        data: a folder in any known layout.
        out: the page to write, ``*.html``; beside it, ``*.txt`` lists the suspects for the
            ``exclude`` of :func:`mambaad.train`. None writes neither.
        classes, layout: see :func:`mambaad.train`.
        encoder, encoder_weights, size: as of a training.
        share: of each class's images, above 0 and below 1, that are suspects, those of the highest
            scores. Without it a rule decides, which names few or none where all are alike.
        seed: of the random fifths; the same seed gives the same scores, on a CPU.
        device: see :class:`mambaad.Inspector`.
        skip_unreadable: leave unreadable images out instead of stopping.
        bit_depth, float_range, max_pixels: see :func:`mambaad.train`.
        json_file: a file to write all scores to.

    Returns:
        The classes, each with its images from the most suspect to the least.

    Raises:
        ConfigError, DataError, RunError: wrong arguments or images; nothing is written.
    """
    data = Path(data)
    page = None if out is None else Path(out)
    if page is not None:
        check_writable(page)
        check_writable(list_beside(page))
    if json_file is not None:
        check_writable(Path(json_file))
    check_share(share)
    shape = parse_size(str(size)) if isinstance(size, (str, int)) else size
    check_size(shape)
    given = {"bit_depth": bit_depth, "float_range": float_range, "max_pixels": max_pixels}
    reading = make_config(given).reading
    place = find_device(device)
    limit_threads()
    found = make_encoder(encoder, encoder_weights, place)
    read = list_data(data, classes, layout=layout, skip_unreadable=skip_unreadable)
    products = check_with_progress(
        with_reading([replace(c, test=()) for c in read], reading),
        skip_unreadable=skip_unreadable,
    )
    total, done = 2 * sum(len(c.train) for c in products), 0
    scored = []
    with ProgressBar("comparing images") as bar:
        for product in products:

            def progress(name: str = product.name) -> None:
                nonlocal done
                done += 1
                bar.update(done, total, name)

            try:
                scored.append(
                    score_class(product, found, shape, share=share, seed=seed, progress=progress)
                )
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise RunError(
                    f"{memory_of(place)} is too small for images of {shape[0]} x {shape[1]}; end "
                    "other programs, give a smaller --size, or another --device"
                ) from error
    rule = f"the highest {share:g} of each class" if share else "far above the class's median"
    facts = {
        "Data": printable(data),
        "Images": str(sum(len(c.samples) for c in scored)),
        "Suspects": f"{sum(int(c.suspects.sum()) for c in scored)} ({rule})",
        "Encoder": f"{encoder}, {shape[0]} x {shape[1]} pixels",
    }
    if page is not None:
        listed = list_beside(page)
        command = ["mambaad", "train", str(data), "--out", "RUN", "--exclude", str(listed)]
        facts |= {
            "List": printable(listed),
            "To train without them": printable(shlex.join(command)),
        }
        html = suspects_page("Suspected training images", facts, scored, data)
        with locked(page.parent, wait=_WAIT):  # so that both are of one call
            write_text(listed, _list_text(scored, data, page, command))
            write_text(page, html)
    if json_file is not None:
        write_text(Path(json_file), suspects_json(scored, data))
    return scored


def suspect_rows(scored: Sequence[ScoredClass]) -> list[list[str]]:
    """Make a heading and a row per class: images, suspects, and the most suspect image."""
    rows = [["class", "images", "suspects", "threshold", "highest score", ""]]
    for c in scored:
        counts = [str(len(c.samples)), str(int(c.suspects.sum()))]
        figures = [f"{c.threshold:.3f}", f"{c.scores[0]:.3f}"]
        rows.append([c.name, *counts, *figures, printable(c.samples[0].path.name)])
    return rows


def _list_text(
    scored: Sequence[ScoredClass], data: Path, page: Path, command: Sequence[str]
) -> str:
    names = [
        relative_name(sample.path, data)
        for c in scored
        for sample, is_suspect in zip(c.samples, c.suspects, strict=True)
        if is_suspect
    ]
    comments = [
        "Training images that look unlike the rest of their class, the most suspect of each first.",
        f"Look at them in {printable(page.name)}, delete the lines of good parts, and train with",
        printable(shlex.join(command)),
    ]
    return exclusion_list(names, comments)


def suspects_json(scored: Sequence[ScoredClass], data: Path) -> str:
    """Write all scores as JSON: of each class the threshold, and its images."""

    def images(c: ScoredClass) -> list[dict[str, Any]]:
        rows = zip(c.samples, c.scores.tolist(), c.suspects.tolist(), strict=True)
        return [
            {"path": relative_name(sample.path, data), "score": score, "suspect": is_suspect}
            for sample, score, is_suspect in rows
        ]

    found = {c.name: {"threshold": c.threshold, "images": images(c)} for c in scored}
    return json.dumps({"classes": found}, indent=2) + "\n"
