"""``mambaad data`` and ``mambaad make-data``: data sets checked, and data sets made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambaad.cli.checks import check_file
from mambaad.cli.commands import App
from mambaad.cli.exit_codes import ExitCode
from mambaad.cli.interrupts import again, exit_on_interrupt
from mambaad.cli.options import (
    BitDepth,
    Classes,
    Device,
    FloatRange,
    Json,
    MaxPixels,
    SkipUnreadable,
    Threads,
    names,
    reading,
)
from mambaad.cli.output import STANDARD_OUTPUT, check_results, show, show_next, write_results
from mambaad.cli.tables import aligned

app = App("Check a data set; find suspects in it; make COCO-AD.")

_SHOWN = 20


@app.command()
def check(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Folder of the data set, in any known layout.")
    ],
    layout: Annotated[
        str | None,
        typer.Option(
            help="mvtec, visa, real-iad, mvtec-3d, uni-medical, coco-ad, btad, mpdd, mvtec-loco, "
            "mvtec-ad-2, kolektor-sdd, kolektor-sdd2, dagm, folder, or a .yaml file. [recognised]"
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Look at names only; open no image.")
    ] = False,
    bit_depth: BitDepth = None,
    float_range: FloatRange = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
) -> None:
    """Count images and report problems. Recognises the layout of the data set."""
    from mambaad.data.layouts import class_names, find_layout
    from mambaad.progress import ProgressBar

    check_results(json)
    if not root.is_dir():
        class_names(root, layout=layout)  # says so
    from mambaad.config import make_config
    from mambaad.data.inventory import check_data
    from mambaad.data.unread import name_some

    given = reading(bit_depth, float_range, max_pixels)
    with ProgressBar("opening images") as bar:
        inventory = check_data(
            root,
            layout=layout,
            quick=quick,
            reading=make_config(given).reading,
            progress=bar.update,
        )
    show(f"{root}: layout of {inventory.layout}\n")
    show(aligned(inventory.to_rows(), last_is_text=True))
    if inventory.unread:
        show(f"\nnot read as images: {name_some(inventory.unread)}")
    for title, lines in (("notes", inventory.notes), ("problems", inventory.problems)):
        if lines:
            show(f"\n{title} ({len(lines)}):")
            for line in lines[:_SHOWN]:
                show(f"  {line}")
            if len(lines) > _SHOWN:
                show(f"  and {len(lines) - _SHOWN} more: see them all with --json FILE")
    write_results(json, inventory.to_json())
    if inventory.problems:
        raise typer.Exit(ExitCode.FAILED)
    chosen = ["--layout", layout] if layout else []
    for name, value in given.items():
        chosen += [f"--{name.replace('_', '-')}", str(value)]
    if find_layout(root, layout).one_by_one:
        chosen += ["--classes", inventory.classes[0].name]
    show("")
    show_next("train", root, "--out", "RUN", *chosen, done="no problems")


@app.command()
def guess(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder of images.")],
    out: Annotated[Path | None, typer.Option(help="Write the proposal to this .yaml file.")] = None,
) -> None:
    """Propose a layout for a folder of images. To be confirmed, and given to --layout."""
    from mambaad.data.guess import guess as propose
    from mambaad.data.inventory import Inventory, count_images
    from mambaad.data.unread import count_unread, note_unread
    from mambaad.files import check_writable, write_text

    if out:
        check_writable(out)
    found = propose(root)
    show(found.to_yaml())
    rows = Inventory("", tuple(map(count_images, found.classes)), (), ()).to_rows()
    show(aligned(rows, last_is_text=True))
    show(f"\nreads {found.read} of {found.present} images")
    if found.unread:
        show(f"not read: {count_unread(found.unread)}")
    notes = note_unread(root, found.unread, found.classes, found.problems)
    for line in (*found.problems, *notes)[:_SHOWN]:
        show(f"  {line}")
    if out:
        write_text(out, found.to_yaml())
    where = "" if out else "save the lines above to FILE.yaml, and "
    show_next(
        *("data", "check", root, "--layout", out or "FILE.yaml"),
        first=f"if this is what you mean, {where}",
    )


@app.command()
def suspects(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder of the data set, in any known layout.")
    ],
    out: Annotated[
        Path, typer.Option(help="Page to write, *.html; the list of suspects is beside it, *.txt.")
    ],
    classes: Classes = None,
    layout: Annotated[
        str | None, typer.Option(help="Layout of DATA; see mambaad data check. [recognised]")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="timm architecture, or embedded (comes with mambaad).")
    ] = "embedded",
    encoder_weights: Annotated[
        str | None,
        typer.Option(help="Local .safetensors or .pth file. [downloaded by timm]"),
    ] = None,
    size: Annotated[str, typer.Option(help="Height and width of images: 256, or 224x320.")] = "256",
    share: Annotated[
        float | None,
        typer.Option(
            help="Share of each class's images to suspect. [those far above the class's median]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random comparisons.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
    skip_unreadable: SkipUnreadable = False,
    bit_depth: BitDepth = None,
    float_range: FloatRange = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
) -> None:
    """Find training images unlike the rest. Makes a page of them, and a list for train --exclude.

    They may be defective, or rare: look at the page before leaving them out.
    """
    from mambaad.config import make_config
    from mambaad.data.exclusion import check_share, list_beside
    from mambaad.data.layouts import class_names, read_data
    from mambaad.files import check_writable
    from mambaad.inference.compute import check_device
    from mambaad.size import check_size, parse_size

    check_device(device)
    check_share(share)
    check_size(parse_size(size))
    listed = list_beside(out)
    for path in (out, listed):
        check_writable(path)
    check_results(json)
    if encoder_weights not in (None, "timm", "random"):
        check_file(Path(encoder_weights), "--encoder-weights")
    read_as = reading(bit_depth, float_range, max_pixels)
    make_config(read_as)
    given = [name for name in classes or () if name]
    chosen = names(given or None, lambda: class_names(data, layout=layout))
    read_data(data, chosen, layout=layout)
    with exit_on_interrupt(f"interrupted; nothing was written; again with: {again()}"):
        from mambaad.workflows.suspects import find_suspects, suspect_rows, suspects_json

        scored = find_suspects(
            data,
            out,
            classes=chosen,
            layout=layout,
            encoder=encoder,
            encoder_weights=encoder_weights or "timm",
            size=size,
            share=share,
            seed=seed,
            device=device,
            skip_unreadable=skip_unreadable,
            json_file=None if json == STANDARD_OUTPUT else json,
            **read_as,
        )
    if json == STANDARD_OUTPUT:
        write_results(json, suspects_json(scored, data))
    show(aligned(suspect_rows(scored), last_is_text=True))
    given_again = [w for n, v in read_as.items() for w in (f"--{n.replace('_', '-')}", str(v))]
    show_next(
        *("train", data, "--out", "RUN", "--exclude", listed, *given_again),
        done=f"look at {out}, and edit {listed}",
    )


@app.command()
def build_coco_ad(
    root: Annotated[
        Path,
        typer.Argument(
            metavar="ROOT", help="Folder of COCO 2017: annotations, train2017, val2017."
        ),
    ],
    split: Annotated[
        list[int] | None, typer.Option(help="0, 1, 2 or 3; can be repeated. [all four]")
    ] = None,
) -> None:
    """Make COCO-AD from COCO. Draws the masks beside the images, and lists each split's images."""
    from mambaad.data.readers.coco_ad import SPLITS
    from mambaad.data.readers.coco_ad_build import build_coco_ad as run_building
    from mambaad.progress import ProgressBar

    with (
        exit_on_interrupt(f"interrupted; finished splits are kept; go on with: {again()}"),
        ProgressBar("drawing masks") as bar,
    ):
        made = run_building(root, split or SPLITS, progress=bar.update)
    built = ", ".join(f"coco_{k}" for k in made)
    show_next(
        *("train", root, "--classes", "coco_0", "--out", "RUN"),
        done=f"made: {built or 'nothing, all splits were there'}",
    )


def make_data(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to create; refused if it has files.")
    ],
    classes: Classes = None,
    train: Annotated[int, typer.Option(help="Good parts per class to train on.")] = 40,
    test: Annotated[
        int, typer.Option(help="Parts per class to test on, half of them defective.")
    ] = 40,
    size: Annotated[
        int,
        typer.Option(
            help="Side in pixels, a multiple of 32; over 1024 of 512: panels of many parts with "
            "defects of 8 to 24 pixels."
        ),
    ] = 256,
    seed: Annotated[int, typer.Option(help="Seed; another one draws other parts.")] = 0,
    difficulty: Annotated[
        float, typer.Option(help="From 0 (large, plain defects) to 1 (small, faint ones).")
    ] = 0.5,
) -> None:
    """Draw a synthetic data set. Parts with defects and exact masks, in the MVTec AD layout."""
    from mambaad.data.synthetic.settings import PRODUCT_NAMES, check_drawing

    chosen = names(classes, lambda: PRODUCT_NAMES)
    drawn = list(PRODUCT_NAMES if chosen is None else chosen)
    check_drawing(drawn, train, test, size, seed, difficulty)
    from mambaad.data.synthetic.factory import make_data as run_making

    with exit_on_interrupt(f"interrupted; nothing was written; again with: {again()}"):
        run_making(out, chosen, train=train, test=test, size=size, seed=seed, difficulty=difficulty)
    show_next(
        *("train", out, "--out", "RUN"),
        done=f"made: {out}, {len(set(drawn))} classes of {train} good parts to train on and {test} "
        "to test on",
    )
