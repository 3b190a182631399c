"""Identity of the good parts that a run was trained on: digests of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mambaad.errors import DataError
from mambaad.file_errors import cannot_read
from mambaad.files import file_digest
from mambaad.types import ProductClass, Sample

_SHORT = 16  # hexadecimal digits of a part's digest: enough to distinguish parts


def summarise_data(
    classes: Sequence[ProductClass],
    held_out: Sequence[ProductClass],
    excluded: Collection[str] = (),
) -> dict[str, Any]:
    """Summarise the data of a run: counts by class, digests of the training parts, a fingerprint.

    The fingerprint does not depend on where the files are: see :func:`fingerprint`.

    Args:
        classes: with all their good parts, those held out included.
        held_out: the parts not trained on, class by class (:func:`mambaad.data.splits.hold_out`).
        excluded: names of further images, which ``classes`` lacks; their number is kept.
    """
    digests = part_digests(classes)
    unseen = {sample for out in held_out for sample in out.train}
    return {
        "classes": {
            c.name: {
                "train": len(c.train) - len(out.train),
                "holdout": len(out.train),
                "test": len(c.test),
                "masks": c.has_masks,
            }
            for c, out in zip(classes, held_out, strict=True)
        },
        **({"excluded": len(excluded)} if excluded else {}),
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
    """Compute the SHA-256 of each good part's file, or pixels, by class.

    Raises:
        DataError: a file that cannot be read.
    """
    return {c.name: [_digest(sample) for sample in c.train] for c in classes}


def _digest(sample: Sample) -> str:
    if sample.held is not None:
        return str(sample.held.digest)
    try:
        return file_digest(sample.path)
    except OSError as error:
        raise DataError(cannot_read(sample.path, error, "restore it")) from error


def fingerprint(digests: Mapping[str, Sequence[str]]) -> str:
    """Compute one digest of all good parts in their order, on which the hold-out depends too.

    Args:
        digests: of the parts' files, by class (:func:`part_digests`).
    """
    whole = hashlib.sha256()
    for name, parts in sorted(digests.items()):
        whole.update("".join(f"{name}:{digest}\n" for digest in parts).encode())
    return whole.hexdigest()


def known_parts(summary: Mapping[str, Any], samples: Sequence[Sample]) -> list[Path]:
    """Find the parts that a run was trained on, by their contents; returns their paths.

    Args:
        summary: of the run's data (:func:`summarise_data`).
        samples: the parts.

    Raises:
        DataError: a file that cannot be read.
    """
    known = {digest for digests in summary["parts"].values() for digest in digests}
    return [sample.path for sample in samples if _digest(sample)[:_SHORT] in known]
