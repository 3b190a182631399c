"""Functions of the package by which a file is read, called in the place of a command.

Where the command would go on to something that takes long, or would read further files first.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from tests.attack.workshop import CLASSES, SHARD_SIZE


def read_plan(path: str) -> None:
    from mambaad.workflows.benchmark.plan import read_plan as read

    print(len(read(Path(path)).jobs()))


def read_products(path: str) -> None:
    from mambaad.inspection.product_settings import read_product_settings as read

    print(sorted(read(Path(path), CLASSES, (64, 64))))


def leave_out(path: str, data: str) -> None:
    from mambaad.data.exclusion import leave_out as leave
    from mambaad.data.exclusion import read_exclusions
    from mambaad.data.layouts import read_data

    root = Path(data)
    left = leave(read_data(root), root, read_exclusions(path, root))
    print([len(c.train) for c in left])


def read_image(path: str) -> None:
    """As training, evaluation and prediction read it; 16 bits, as their number must be said."""
    from mambaad.data.images import read_image as read
    from mambaad.types import Reading

    print(read(Path(path), Reading(bit_depth=16)).shape)


def inspect_repeatedly(source: str, image: str, times: str, out: str) -> None:
    """Load a model again and again, and write what it says of an image, or why it is refused."""
    from mambaad.errors import MambaADError
    from mambaad.inspection.inspector import Inspector

    with Path(out).open("w") as file:
        for _ in range(int(times)):
            try:
                inspector = Inspector(source)
                found = inspector.inspect(image, CLASSES[0])
            except MambaADError as error:
                print(json.dumps({"refused": str(error)}), file=file)
                continue
            answer = {
                "model": inspector.weights,
                "score": found.score,
                "verdict": str(found.verdict),
                "p_value": found.p_value,
                "range": found.heatmap_range,
            }
            print(json.dumps(answer), file=file)


class Here:
    """An executor of jobs in this process: another one takes seconds to start."""

    def run(self, plan: Any, shards: Sequence[int]) -> Generator[Any, None, None]:
        from mambaad.inspection.inspector import Inspector
        from mambaad.shards.inspecting import Task, inspect_shard

        inspector = Inspector(plan.source, device="cpu") if shards else None
        for shard in shards:
            yield inspect_shard(inspector, plan, Task(shard, {}), lambda row: None)


def inspect_here(source: str, out: str, *sources: str) -> None:
    """Begin a job or go on with it, and say what is in its records."""
    from mambaad.workflows.inspect import inspect

    summary = inspect(
        *(source, sources, out),
        executor=Here(),
        resume=True,
        shard_size=SHARD_SIZE,
        maps=True,
        digests=True,
    )
    print(summary.rows, summary.errors, summary.skipped, sorted(summary.verdicts.items()))
    for record in summary.records():
        if record.error:
            print(record.error)


def write_lists(manifest: str, out: str) -> None:
    """Write what a job's manifest lists as manifests of a user."""
    import pyarrow.csv
    import pyarrow.parquet as pq

    folder = Path(out)
    folder.mkdir()
    listed = pq.read_table(manifest, columns=["path", "size", "mtime_ns", "digest"]).slice(0, 3)
    pyarrow.csv.write_csv(listed, folder / "list.csv")
    pq.write_table(listed, folder / "list.parquet")


def plan_sample(source: str, image: str) -> None:
    """Measure what an image takes, without the seconds that a mean of times takes."""
    from mambaad.workflows import plan

    plan._ROUNDS_S = 0.0
    print(plan.measure(source, [Path(image)]).measured)
