"""A small instance of everything that is read, made once; each case gets a copy to spoil."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from mambaad.files import locked
from tests.attack.oracle import contents
from tests.attack.sandbox import Sandbox

CLASSES = ("fabric", "tile")
SETTINGS = {
    "variant": "lite",
    "encoder": "test_efficientnet",
    "encoder_weights": "random",
    "size": 64,
    "directions": 1,
    "states": 1,
    "expand": 1,
    "batch_size": 4,
    "epochs": 2,
    "holdout": 0.5,
}
"""A model of a megabyte, which trains in seconds."""

HAS_ARROW = find_spec("pyarrow") is not None
HAS_ONNX = all(map(find_spec, ("onnx", "onnxscript", "onnxruntime")))
HAS_OPENVINO = HAS_ONNX and find_spec("openvino") is not None

JOB_SOURCES = tuple(f"{{shop}}/data/{name}/test" for name in CLASSES)
SHARD_SIZE = 4
"""What the jobs of mambaad inspect have here, in shards of so many images."""
_TILED = {**SETTINGS, "size": 96, "tiles": [96, 32], "tile_views": 2, "tile_positions": "grid"}

_DONE = "contents.json"


class Workshop:
    """The folder of all instances; see :func:`make`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, name: str) -> Path:
        return self.root / name

    def copy(self, name: str, folder: Path) -> Path:
        """A copy of an instance, whose files are links to the very same: replace, never change."""
        source, target = self.root / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, copy_function=os.link, symlinks=True)
        else:
            os.link(source, target)
        return target

    def changed(self) -> list[str]:
        """The files of the instances that something has changed, which nothing may."""
        before = json.loads((self.root / _DONE).read_text())
        after = {k: v for k, v in contents(self.root).items() if k != _DONE}
        return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


@contextmanager
def room(place: Path) -> Iterator[Path]:
    """An empty folder for a case, removed at its end."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def make(root: Path, sandbox: Sandbox, *, whole: bool = True) -> Workshop:
    """Make all instances below a folder, unless they are there; processes take turns.

    Args:
        root: the folder.
        sandbox: runs the commands that make them.
        whole: make those too that take long: exports for three runtimes, and a model with tiles.
    """
    root.mkdir(parents=True, exist_ok=True)
    root = root.resolve()  # jobs hold their images' paths
    with locked(root, wait=600):
        if not (root / _DONE).is_file():
            for path in root.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
            maker = _Maker(root, sandbox)
            maker.make()
            if whole:
                maker.make_more()
            (root / _DONE).write_text(json.dumps(contents(root)))
    return Workshop(root)


class _Maker:
    def __init__(self, root: Path, sandbox: Sandbox) -> None:
        self.root, self.sandbox = root, sandbox

    def make(self) -> None:
        data, run = self.root / "data", self.root / "run"
        classes = [part for name in CLASSES for part in ("--classes", name)]
        counts = ("--train", 20, "--test", 4, "--size", 64)
        self.run("make-data", data, *classes, *counts)
        leather = ("--classes", "leather", "--train", 8, "--test", 4, "--size", 64)
        self.run("make-data", self.root / "new", *leather)
        settings = self.root / "settings.yaml"
        settings.write_text(yaml.safe_dump(SETTINGS))
        for name, seed in (("run", 1), ("other", 2)):
            out = self.root / name
            self.run("train", data, "--out", out, "--config", settings, "--seed", seed)
            rates = ("--target-fpr", 0.1, "--review-fpr", 0.2)
            self.run("calibrate", out, data, *rates)
            self.run("bundle", out, "--out", self.root / f"{name}.mambaad")
        longer = ("--config", settings, "--seed", 1, "--epochs", 5)
        self.interrupted("unfinished", "log.jsonl", data, *longer)
        headed = self.root / "headed.yaml"
        short = {"epochs": 1, "head": "residual", "head_steps": 60}
        headed.write_text(yaml.safe_dump({**SETTINGS, **short}))
        head = ("--config", headed)
        self.interrupted("unfinished_head", "head_checkpoint.safetensors", data, *head)
        registry = self.root / "registry"
        for name in ("run", "other"):
            bundle = self.root / f"{name}.mambaad"
            self.run("registry", "add", "press", bundle, "--root", registry)
        for number in (1, 2):
            self.run("registry", "promote", "press", number, "--root", registry)
        records = self.root / "predicted"
        self.run("predict", run, data / CLASSES[0] / "test", "--out", records)
        figures = self.root / "metrics.json"
        self.run("evaluate", run, data, "--json", figures)
        self.documents()
        self.images()
        self.lists()
        if HAS_ARROW:
            self.jobs()
        released = self.root / "released.pth"
        self.run(released, call="tests.attack.workshop:write_released")
        encoder = ("--encoder", SETTINGS["encoder"])
        self.run("import-checkpoint", released, "--out", self.root / "imported", *encoder)

    def make_more(self) -> None:
        if HAS_ONNX:
            self.run("export", self.root / "run", "--out", self.root / "exported")
            self.run("export", self.root / "other", "--out", self.root / "exported_other")
            self.export("program", "torch-export")
        if HAS_OPENVINO:
            self.export("openvino", "openvino")
        data, tiled = self.root / "large", self.root / "tiled"
        counts = ("--train", 8, "--test", 2, "--size", 160)
        self.run("make-data", data, "--classes", CLASSES[0], *counts)
        config = ("--config", self.root / "tiled.yaml")
        self.run("train", data, "--out", tiled, *config)
        self.run("calibrate", tiled, data, "--target-fpr", 0.2, "--review-fpr", 0.3)

    def export(self, name: str, target: str) -> None:
        self.run(
            "export", self.root / "run", "--out", self.root / f"exported_{name}", "--to", target
        )

    def jobs(self) -> None:
        """A finished job, one that was killed at its last shard, and manifests as sources."""
        job, half = self.root / "inspected", self.root / "half_inspected"
        sources = [source.format(shop=self.root) for source in JOB_SOURCES]
        inspect_here = "tests.attack.calls:inspect_here"
        self.run(self.root / "run", job, *sources, call=inspect_here)
        shutil.copytree(job, half)
        max((half / "done").iterdir()).unlink()
        self.run(
            job / "manifest.parquet", self.root / "listed", call="tests.attack.calls:write_lists"
        )

    def run(self, *argv: object, call: str | None = None) -> None:
        ended = self.sandbox.run([str(a) for a in argv], call=call, limit=300)
        if ended.code != 0:
            raise RuntimeError(f"{' '.join(map(str, argv))}: {ended.code}\n{ended.err}")

    def interrupted(self, name: str, awaited: str, *argv: object) -> None:
        """A run whose training was told to stop, as Ctrl-C does, once a file was there."""
        out = self.root / name
        running = self.sandbox.start(["train", *map(str, argv), "--out", str(out)])
        stem, _, suffix = awaited.partition(".")  # digits of its digest may stand between them
        while not any(out.glob(f"{stem}[-.]*{suffix}")) and not running.ended.is_set():
            time.sleep(0.002)
        running.send(signal.SIGINT)
        ended = running.wait(300)
        if ended.code != 130:
            raise RuntimeError(f"{name}: was to be interrupted, but ended with {ended.code}")

    def documents(self) -> None:
        masks = self.root / "products"
        masks.mkdir()
        white = np.full((64, 64), 255, np.uint8)
        Image.fromarray(white).save(masks / "roi.png")
        first = {"mm_per_px": 0.1, "min_area_mm2": 0.5, "region_of_interest": "roi.png"}
        products = {CLASSES[0]: first, CLASSES[1]: {"min_area_px": 4}}
        (masks / "products.yaml").write_text(yaml.safe_dump(products))
        plans = self.root / "plans"
        plans.mkdir()
        plan = {
            "title": "small",
            "protocol": "exact",
            "seeds": [1],
            "settings": SETTINGS,
            "systems": {"ours": {"lr": 0.001}, "rd": {"system": "rd4ad"}},
            "data": {"parts": {"path": "../data", "classes": [CLASSES[0]], "layout": "mvtec"}},
        }
        (plans / "plan.yaml").write_text(yaml.safe_dump(plan))
        short = {**plan, "systems": {"ours": {"holdout": 0.0}}}
        (plans / "short.yaml").write_text(yaml.safe_dump(short))
        (self.root / "tiled.yaml").write_text(yaml.safe_dump(_TILED))
        layout = {
            "train": "{class}/train/good",
            "test": "{class}/test/{type}",
            "masks": "{class}/ground_truth/{type}",
            "mask_suffixes": ["_mask"],
            "good": ["good"],
        }
        (self.root / "layout.yaml").write_text(yaml.safe_dump(layout))

    def images(self) -> None:
        """One image of every format, and of every depth that a format has."""
        folder = self.root / "pictures"
        folder.mkdir()
        path = min((self.root / "data" / CLASSES[0] / "test" / "good").iterdir())
        with Image.open(path) as opened:
            image = opened.convert("RGB").resize((40, 32))
        grey = np.asarray(image.convert("L"))
        for suffix in ("png", "jpg", "bmp", "webp", "tif"):
            image.save(folder / f"a.{suffix}")
        image.convert("P").save(folder / "palette.png")
        image.save(folder / "deflated.tif", compression="tiff_deflate")
        image.save(folder / "lossless.webp", lossless=True)
        Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "deep.png")
        Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "deep.tif")
        image.save(folder / "progressive.jpg", progressive=True)

    def lists(self) -> None:
        """Data sets that a table or a JSON file lists: a declared one, VisA, Real-IAD, COCO."""
        table = self.root / "tabled"
        table.mkdir()
        (table / "layout.yaml").write_text("table: parts.csv\ncolumns: {class: product}\n")
        rows = ["image,product,split,label,mask"]
        rows += [f"{n}.png,bolt,train,good," for n in range(3)]
        rows += ["3.png,bolt,test,good,", "4.png,bolt,test,bent,mask.png"]
        _draw(table, *(f"{n}.png" for n in range(5)), "mask.png")
        (table / "parts.csv").write_text("\n".join(rows) + "\n")
        visa = self.root / "visa"
        folder = "pcb1/Data/Images"
        normal = [f"{folder}/Normal/{n}.JPG" for n in range(4)]
        bad, mask = f"{folder}/Anomaly/0.JPG", "pcb1/Data/Masks/Anomaly/0.png"
        _draw(visa, *normal, bad, mask)
        rows = ["object,split,label,image,mask"]
        rows += [f"pcb1,{'train' if n < 3 else 'test'},normal,{p}," for n, p in enumerate(normal)]
        rows.append(f"pcb1,test,anomaly,{bad},{mask}")
        (visa / "split_csv").mkdir()
        (visa / "split_csv" / "1cls.csv").write_text("\n".join(rows) + "\n")
        (visa / "pcb1" / "image_anno.csv").write_text("image,label,mask\n")
        real = self.root / "real_iad"
        _draw(real / "realiad_1024" / "toy", *(f"{n}.jpg" for n in range(4)), "m.png")
        entries = [
            {"category": "toy", "anomaly_class": k, "image_path": f"{n}.jpg", "mask_path": m}
            for n, (k, m) in enumerate((("OK", None), ("OK", None), ("OK", None), ("HS", "m.png")))
        ]
        meta = {"normal_class": "OK", "prefix": "toy/"}
        content = {"meta": meta, "train": entries[:2], "test": entries[2:]}
        (real / "realiad_jsons").mkdir()
        (real / "realiad_jsons" / "toy.json").write_text(json.dumps(content))
        self.coco()
        names = sorted(
            p.name for p in (self.root / "data" / CLASSES[0] / "train" / "good").iterdir()
        )
        excluded = [f"{CLASSES[0]}/train/good/{name}" for name in names[:3]]
        (self.root / "exclude.txt").write_text("# odd\n" + "\n".join(excluded) + "\n")

    def coco(self) -> None:
        """COCO as it is downloaded, with two images a part, and COCO-AD made of it."""
        root = self.root / "coco"
        gaps = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
        ids = [i for i in range(1, 91) if i not in gaps]
        square = [[2.0, 1.0, 6.9, 1.0, 6.9, 4.2, 2.0, 4.2]]
        for part in ("train", "val"):
            content: dict[str, list[dict[str, object]]] = {
                "images": [],
                "annotations": [],
                "categories": [{"id": i, "name": f"category {i}"} for i in ids],
            }
            for number, kind in enumerate((ids[0], ids[20], ids[79], ids[79])):
                name = f"{number:012}.jpg"
                _draw(root / f"{part}2017", name)
                size = {"height": 8, "width": 12}
                content["images"].append({"id": number, "file_name": name, **size})
                about = {"id": number, "image_id": number, "category_id": kind, "iscrowd": 0}
                content["annotations"].append({**about, "segmentation": square})
            path = root / "annotations" / f"instances_{part}2017.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content))
        shutil.copytree(root, self.root / "coco_ad")
        self.run("data", "build-coco-ad", self.root / "coco_ad", "--split", 0)


def _draw(root: Path, *names: str) -> None:
    """Images of 12 x 8 pixels; those called like masks are black and white."""
    random = np.random.default_rng(0)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (8, 12, 3), dtype=np.uint8)
        if path.suffix == ".png" and ("mask" in name.lower() or path.stem == "m"):
            pixels = np.where(pixels[..., 0] > 127, 255, 0).astype(np.uint8)
        Image.fromarray(pixels).save(path)


_RELEASED = {
    "encoder.backbone": "net_t",
    "decoder.stages": "net_s.layers_up",
    "lss_modules": "blocks",
    "ss2d.scan_proj": "self_attention.x_proj_weight",
    "hss_blocks": "smm_blocks",
}
"""The names of the authors' code by which a checkpoint is recognised; ours are read as well."""


def write_released(path: str) -> None:
    """Write a small checkpoint under the names of the authors' code."""
    import torch

    from mambaad.models.build import build_model

    encoder = str(SETTINGS["encoder"])
    model = build_model(encoder, "random", directions=1, depths=(1, 1, 1, 1))
    state = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("scan_proj"):  # theirs has a dimension of directions
            tensor = tensor.reshape(1, *tensor.shape)
        for ours, released in _RELEASED.items():
            name = name.replace(ours, released)
        state[name] = tensor
    torch.save({"net": state}, path)
