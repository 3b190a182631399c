"""``mambaad-inspect``: a record for each image, as ``mambaad predict`` writes it."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mambaad_runtime.errors import MambaADError
from mambaad_runtime.process import sigterm_as_interrupt
from mambaad_runtime.progress import show_progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Inspect images; the exit code is 0 if all were inspected, 1 if not, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="mambaad-inspect",
        description="Inspect images with an exported model, without PyTorch: scores and verdicts "
        "in predictions.csv and predictions.jsonl.",
    )
    parser.add_argument("source", type=Path, metavar="EXPORT", help="what mambaad export wrote")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help="files or folders")
    parser.add_argument(
        "--out", type=Path, default=Path("predictions"), help="folder (default: predictions)"
    )
    parser.add_argument("--class", dest="product", help="the product of all images, if known")
    parser.add_argument("--max-pixels", type=int, help="refuse images with more")
    given = parser.parse_args(arguments)
    show_progress()
    try:
        with sigterm_as_interrupt():
            return _inspect(given)
    except MambaADError as error:
        print(f"mambaad-inspect: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"mambaad-inspect: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return 130


def _inspect(given: argparse.Namespace) -> int:
    from mambaad_runtime.files import printable
    from mambaad_runtime.workflows.predict import predict
    from mambaad_runtime.workflows.predict_inputs import RECORDS, TABLE

    records = predict(
        given.source,
        given.images,
        given.out,
        product=given.product,
        max_pixels=given.max_pixels,
        pictures=False,
    )
    inspected = [record for record in records if not record.skipped]
    failed = [record for record in inspected if record.error]
    print(f"{len(inspected) - len(failed)} images: {printable(str(given.out / TABLE))}")
    counts = Counter(record.verdict.value for record in inspected if record.verdict)
    for verdict, count in counts.most_common():
        print(f"{verdict:16}{count}")
    for record in failed:
        print(f"mambaad-inspect: {printable(record.error or '')}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} not inspected: {given.out / RECORDS}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
