"""Every file that is read: which command reads it, how it is changed, and what must not change.

A target's instance is copied from the workshop, one file of it is changed, and the command runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.attack.binaries import (
    change_archive,
    change_graph,
    change_image,
    change_maps,
    change_pickled,
    change_sealed,
    change_tensors,
)
from tests.attack.mutations import (
    BYTES,
    Mutation,
    change_json,
    change_lines,
    change_parquet,
    change_table,
    change_yaml,
)
from tests.attack.oracle import contents, digest, stored, untimed
from tests.attack.sandbox import Ended
from tests.attack.workshop import CLASSES, JOB_SOURCES, SETTINGS, SHARD_SIZE

Result = Callable[[Path, Ended], object]


@dataclass(frozen=True)
class Target:
    """A file that is read.

    ``instance``: what is copied, of the workshop. ``file``: what is changed, below it; empty if
    the instance is the file. ``argv``: the command, in which ``{it}`` is the instance, ``{shop}``
    the workshop, and ``{case}`` a folder to write to. ``changed_by``: its structure, beside any
    bytes. ``result``: what the command makes of the file; if given, a change that is accepted must
    leave it as it was. ``call``: a function in the place of the command line. ``cost``: of a case,
    in units of the cheapest. ``accepted``: its exit codes of success. ``may_write``: whether an
    accepted case may change the instance. ``sealed``: the share of cases in which what lists the
    file's digest is made to fit. ``needs``: of what the instance is made, if it is not always.
    """

    name: str
    instance: str
    file: str
    argv: tuple[str, ...]
    changed_by: tuple[Mutation, ...]
    result: Result | None = None
    call: str | None = None
    cost: float = 1.0
    accepted: tuple[int, ...] = (0,)
    may_write: bool = False
    sealed: float = 0.25
    needs: str = ""


def _out(case: Path, ended: Ended) -> object:
    return ended.out.replace(str(case.parent), "")


def _predicted(case: Path, ended: Ended) -> object:
    """Scores, verdicts and maps; and what the records say."""
    maps = {str(path.relative_to(case)): digest(path) for path in case.rglob("*.map.npy")}
    records = [json.loads(line) for line in _lines(case / "predictions.jsonl")]
    for record in records:
        del record["time"]
    notes = ended.err.replace(str(case.parent), "")
    return untimed((case / "predictions.csv").read_text()), records, maps, notes


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _weights_of(folder: str) -> Result:
    return lambda case, ended: digest(stored(case.parent / folder, "weights.safetensors"))


def _bundled(case: Path, ended: Ended) -> object:
    return digest(case / "x.mambaad")


def _promised(case: Path, ended: Ended) -> object:
    """The bundle whose path the registry gave."""
    return digest(Path(ended.out.strip()))


_IMAGE = f"{{shop}}/data/{CLASSES[0]}/test/good"
_PREDICT = ("predict", "{it}", _IMAGE, "--out", "{case}")
_RESUME = ("train", "{shop}/data", "--out", "{it}", "--resume")
_REGISTRY = ("--root", "{it}")
_JSON, _LINES, _TENSORS = (change_json,), (change_lines,), (change_tensors,)
_IMPORT = (
    *("import-checkpoint", "{it}", "--out", "{case}/run"),
    *("--encoder", str(SETTINGS["encoder"])),
)


def _of_run() -> list[Target]:
    info = ("info", "{it}")
    found = []
    for name, change in (
        *(("config.json", _JSON), ("data.json", _JSON), ("version.json", _JSON)),
        *(("manifest.json", _JSON), ("log.jsonl", _LINES)),
    ):
        found.append(Target(f"info:{name}", "run", name, info, change, _out))
        if name != "log.jsonl":
            costs = {"result": _predicted, "cost": 4.0}
            found.append(Target(f"predict:{name}", "run", name, _PREDICT, change, **costs))
    for name in ("weights", "good_parts", "calibration"):
        file = f"{name}.safetensors"
        found.append(Target(f"predict:{name}", "run", file, _PREDICT, _TENSORS, _predicted, cost=4))
    bundling = ("bundle", "{it}", "--out", "{case}/x.mambaad")
    for name, change in (("weights.safetensors", _TENSORS), ("version.json", _JSON)):
        found.append(Target(f"bundle:{name}", "run", name, bundling, change, _bundled, cost=2))
    found.append(Target("info:head.jsonl", "unfinished_head", "head.jsonl", info, _LINES, _out))
    return found


def _of_unfinished() -> list[Target]:
    found = []
    for folder, name, change in (
        ("unfinished", "checkpoint.safetensors", _TENSORS),
        ("unfinished", "config.json", _JSON),
        ("unfinished", "data.json", _JSON),
        ("unfinished", "log.jsonl", _LINES),
        ("unfinished", "manifest.json", _JSON),
        ("unfinished_head", "head_checkpoint.safetensors", _TENSORS),
        ("unfinished_head", "checkpoint.safetensors", _TENSORS),
    ):
        found.append(
            Target(
                f"resume{folder.removeprefix('unfinished')}:{name.partition('.')[0]}",
                *(folder, name, _RESUME, change),
                result=_weights_of(folder),
                cost=8 if folder == "unfinished" else 20,
                may_write=True,
            )
        )
    return found


def _of_bundles() -> list[Target]:
    return [
        Target("info:bundle", "run.mambaad", "", ("info", "{it}"), (change_archive,), _out),
        Target(
            *("predict:bundle", "run.mambaad", "", _PREDICT, (change_archive,), _predicted), cost=4
        ),
        Target("predict:sealed", "run.mambaad", "", _PREDICT, (change_sealed,) * 9, cost=4),
        Target(
            *("add:sealed", "run.mambaad", ""),
            ("registry", "add", "press", "{it}", "--root", "{case}/registry"),
            (change_sealed,) * 9,
            cost=2,
        ),
        Target(
            *("list:line.json", "registry", "press/line.json"),
            ("registry", "list", *_REGISTRY),
            _JSON,
        ),
        Target(
            *("path:line.json", "registry", "press/line.json"),
            ("registry", "path", "press", *_REGISTRY),
            _JSON,
        ),
        Target(
            *("promote:line.json", "registry", "press/line.json"),
            ("registry", "promote", "press", "1", *_REGISTRY),
            _JSON,
            may_write=True,
        ),
        Target(
            *("path:bundle", "registry", "press/2.mambaad"),
            ("registry", "path", "press", *_REGISTRY),
            (change_archive,),
            _promised,
        ),
        Target(
            *("metrics.json", "metrics.json", ""),
            ("bundle", "{shop}/run", "--out", "{case}/x.mambaad", "--metrics", "{it}"),
            _JSON,
            cost=2,
        ),
    ]


def _of_documents() -> list[Target]:
    return [
        # The folder of data is empty: what follows the reading of the settings is not run.
        Target(
            *("settings.yaml", "settings.yaml", ""),
            ("train", "{case}", "--out", "{case}/run", "--config", "{it}"),
            (change_yaml,) * 9,
        ),
        Target(
            *("tiles.yaml", "tiled.yaml", ""),
            ("train", "{case}", "--out", "{case}/run", "--config", "{it}"),
            (change_yaml,) * 9,
        ),
        Target(
            *("plan.yaml", "plans", "plan.yaml", ("{it}/plan.yaml",), (change_yaml,) * 9),
            call="tests.attack.calls:read_plan",
        ),
        Target(
            *("products.yaml", "products", "products.yaml", ("{it}/products.yaml",)),
            (change_yaml,) * 9,
            call="tests.attack.calls:read_products",
        ),
        Target(
            *("layout.yaml", "layout.yaml", ""),
            ("data", "check", "{shop}/data", "--quick", "--layout", "{it}"),
            (change_yaml,) * 9,
            accepted=(0, 1),
        ),
        Target(
            *("exclude.txt", "exclude.txt", "", ("{it}", "{shop}/data"), (change_table,) * 4),
            call="tests.attack.calls:leave_out",
        ),
        Target(
            *("monitor:predictions", "predicted", "predictions.jsonl"),
            ("monitor", "{it}/predictions.jsonl", "--bundle", "{shop}/run"),
            _LINES,
            accepted=(0, 3),
        ),
    ]


def _of_exports() -> list[Target]:
    found = []
    for name, change in (
        *((name, _JSON) for name in ("export.json", "config.json", "data.json", "version.json")),
        *((f"{name}.safetensors", _TENSORS) for name in ("good_parts", "calibration")),
    ):
        found.append(
            Target(f"export:{name}", "exported", name, _PREDICT, change, _predicted, cost=4)
        )
    for instance, graph in (
        *(("exported", "model.onnx"), ("exported_program", "model.pt2")),
        *(("exported_openvino", "model.xml"), ("exported_openvino", "model.bin")),
    ):
        change = (change_graph,) * 9 if graph == "model.onnx" else ()
        told = {"cost": 4.0, "sealed": 0.7}  # else its digest refuses it at once
        found.append(
            Target(f"export:{graph}", instance, graph, _PREDICT, change, _predicted, **told)
        )
    return [replace(target, needs="by hand, since exporting takes long") for target in found]


_JOB = (*("--out", "{it}", "--resume", "--maps", "--digest"), "--shard-size", str(SHARD_SIZE))
_INSPECT = ("inspect", "{shop}/run", *JOB_SOURCES, *_JOB)


def _of_jobs() -> list[Target]:
    """Jobs that are finished, of which nothing is inspected again, or whose last shard is left."""
    found = []
    first = "part-00000000"
    for file, change in (
        *(("job.json", _JSON), (f"done/{first}.json", _JSON), (f"jsonl/{first}.jsonl", _LINES)),
        ("manifest.parquet", (change_parquet,)),
    ):
        argv = (*_INSPECT, "--junit", "{case}/j.xml")
        found.append(
            Target(
                *(f"job:{Path(file).name}", "inspected", file, argv, change, _told),
                cost=2,
                accepted=(0, 1),
                may_write=file.startswith("done"),  # without its marker a shard is done again
            )
        )
    paged = (*_INSPECT, "--report", "{case}/page", "--sample", "2")
    resumed = ("{shop}/run", "{it}", *JOB_SOURCES)
    figures = ("evaluate", "{shop}/run", "{shop}/data", "--records", "{it}")
    for file, change in (
        *(("job.json", _JSON), (f"done/{first}.json", _JSON)),
        *((f"parquet/{first}.parquet", (change_parquet,)), (f"maps/{first}.npy", (change_maps,))),
    ):
        argv = (*figures, "--json", "{case}/figures.json")
        given = {"cost": 6.0, "result": _figures}
        found.append(Target(f"records:{Path(file).name}", "inspected", file, argv, change, **given))
    for file, change in (
        *(("job.json", _JSON), (f"done/{first}.json", _JSON)),
        ("manifest.parquet", (change_parquet,)),
    ):
        given = {"cost": 6.0, "result": _job, "call": "tests.attack.calls:inspect_here"}
        name = f"resume-job:{Path(file).name}"
        found.append(Target(name, "half_inspected", file, resumed, change, may_write=True, **given))
    found.append(
        Target(
            *("job-page:parquet", "inspected", f"parquet/{first}.parquet", paged),
            *((change_parquet,), _out),
            cost=6,
            accepted=(0, 1),
        )
    )
    for name, change in (("list.csv", change_table), ("list.parquet", change_parquet)):
        listed = ("{shop}/run", "{case}/out", f"{{it}}/{name}")
        inspect_here = "tests.attack.calls:inspect_here"
        found.append(Target(name, "listed", name, listed, (change,) * 9, call=inspect_here, cost=6))
    return [replace(target, needs="pyarrow") for target in found]


def _told(case: Path, ended: Ended) -> object:
    return _out(case, ended), (case / "j.xml").read_text()


def _figures(case: Path, ended: Ended) -> object:
    return json.loads((case / "figures.json").read_text())


def _job(case: Path, ended: Ended) -> object:
    return contents(case.parent / "half_inspected")


def _of_tiles() -> list[Target]:
    image = f"{{shop}}/large/{CLASSES[0]}/test/good"
    predict = ("predict", "{it}", image, "--out", "{case}")
    return [
        Target(f"tiled:{name}", "tiled", name, predict, change, _predicted, cost=8, needs="by hand")
        for name, change in (("config.json", _JSON), ("calibration.safetensors", _TENSORS))
    ]


def _checked(name: str, folder: str, file: str, change: Mutation, *more: str) -> Target:
    """A data set that is looked at; problems found are a success of the command, with code 1."""
    argv = ("data", "check", "{it}", *more)
    return Target(name, folder, file, argv, (change,) * 4, accepted=(0, 1))


def _of_data() -> list[Target]:
    layout = ("--layout", "{it}/layout.yaml")
    found = [
        _checked("table.csv", "tabled", "parts.csv", change_table, *layout),
        _checked("table-layout.yaml", "tabled", "layout.yaml", change_yaml, *layout),
        _checked("mask.png", "tabled", "mask.png", change_image, *layout),
        _checked("visa.csv", "visa", "split_csv/1cls.csv", change_table),
        _checked("real-iad.json", "real_iad", "realiad_jsons/toy.json", change_json),
        _checked("coco-ad.json", "coco_ad", "meta_20_0.json", change_json),
        Target(
            *("coco.json", "coco", "annotations/instances_val2017.json"),
            ("data", "build-coco-ad", "{it}", "--split", "0"),
            (change_json,) * 4,
            may_write=True,
        ),
        Target("released.pth", "released.pth", "", _IMPORT, (change_pickled,) * 9, cost=2),
    ]
    for name in (
        *("a.png", "palette.png", "deep.png", "a.jpg", "progressive.jpg", "a.bmp", "a.webp"),
        *("lossless.webp", "a.tif", "deflated.tif", "deep.tif"),
    ):
        found.append(
            Target(
                f"read:{name}",
                *("pictures", name, (f"{{it}}/{name}",), (change_image,) * 9),
                call="tests.attack.calls:read_image",
            )
        )
    found.append(
        Target(
            *("plan:image", "pictures", "a.png", ("{shop}/run", "{it}/a.png")),
            (change_image,) * 9,
            call="tests.attack.calls:plan_sample",
            cost=6,
        )
    )
    predicting = ("predict", "{shop}/run", "{it}", "--out", "{case}")
    found.append(
        Target(
            *("predict:image", "pictures", "a.png", predicting, (change_image,) * 9),
            cost=5,
            accepted=(0, 1),
        )
    )
    return found


TARGETS: dict[str, Target] = {
    target.name: target
    for targets in (
        *(_of_run(), _of_unfinished(), _of_bundles(), _of_documents(), _of_data()),
        *(_of_exports(), _of_jobs(), _of_tiles()),
    )
    for target in targets
}


def mutations_of(target: Target) -> Sequence[Mutation]:
    """What changes a target's file: any bytes, and by its structure as often at least."""
    times = -(-len(BYTES) // max(len(target.changed_by), 1))
    return (*BYTES, *(target.changed_by * times))
