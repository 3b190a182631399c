"""Train the embedded encoder: a ResNet-18 trunk that learns an ImageNet ResNet-18's features.

    python tools/pretrain_encoder.py train  --teacher FILE|timm --out DIR --minutes M
    python tools/pretrain_encoder.py finish --teacher FILE|timm --out DIR --weights FILE --json FILE

No photograph is seen: the images are procedural (``procedural_images.py``), one in four a crop of
the synthetic factory's parts. Student and teacher see the same image; the loss is, for each of the
three stages, the squared error over the teacher's variance, and one minus the cosine of the two
feature vectors at each position. While training begins, a stage is given the teacher's maps mixed
with the student's, so that it need not wait for the stages before it.

``train`` resumes from an earlier call or a Ctrl-C, at a constant learning rate, and can be called
any number of times. ``finish`` lets the learning rate of a copy fall to zero, folds the batch
norms, and writes the weights in half precision and the measurements.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from procedural_images import ProceduralImages
from torch import Tensor, nn

from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import CHECKPOINT, MANIFEST
from mambaad.artifacts.snapshot import opened
from mambaad.artifacts.tensors import save_tensors
from mambaad.data.synthetic.catalogue import DEFECTS, PRODUCTS
from mambaad.data.synthetic.render import render_part
from mambaad.errors import ConfigError, MambaADError
from mambaad.files import check_writable, locked, write_text, written_whole
from mambaad.models.encoder import Encoder
from mambaad.process import keep_freed_memory
from mambaad.training.checkpoint import Position, checkpoint_content, load_checkpoint

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from machine import machine

SEED = 20240
LEARNING_RATE, WEIGHT_DECAY, BETAS = 2e-3, 0.02, (0.9, 0.99)
WARM_UP = 500  # steps
TEACHER_FORCING = 4000  # steps until a stage is given the student's maps alone
SIZES = ((128, 32), (128, 32), (128, 32), (256, 8))  # side and images of a step, in turn
EVERY = 100  # steps between two records and checkpoints
MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


class Trunk(nn.Module):
    """A ResNet-18 to stage 3, its stages one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone: Any = timm.create_model(
            "resnet18", features_only=True, out_indices=(1, 2, 3), pretrained=False
        )

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Compute the map of stage 1, 2 or 3 from the one before it, or from the image."""
        net = self.backbone
        if number == 1:
            x = net["maxpool"](net["act1"](net["bn1"](net["conv1"](x))))
        y: Tensor = net[f"layer{number}"](x)
        return y


def loss_of(student: Trunk, images: Tensor, target: list[Tensor], forcing: float) -> Tensor:
    """Compute the distillation loss; ``forcing`` is the teacher's share in a stage's input."""
    loss = torch.zeros(())
    x = images
    for number, features in enumerate(target, start=1):
        s, t = student.stage(number, x).float(), features.float()
        variance = t.var(dim=(0, 2, 3)).mean()
        loss = loss + (s - t).pow(2).mean() / variance
        loss = loss + (1 - torch.cosine_similarity(s, t, dim=1)).mean()
        x = torch.lerp(s, t, forcing)
    return loss


@torch.no_grad()
def feature_error(encoder: nn.Module, teacher: nn.Module, images: ProceduralImages) -> list[Any]:
    """Measure on held-out images, by stage, the unexplained variance and the mean cosine."""
    rows: list[list[tuple[float, float]]] = []
    for number, (side, count) in enumerate(SIZES * 2):
        x = normalised(images.batch(number, count, side))
        pairs = list(zip(encoder(x), teacher(x), strict=True))
        rows.append(
            [
                (
                    float((s - t).pow(2).mean() / t.var(dim=(0, 2, 3)).mean()),
                    float(torch.cosine_similarity(s, t, dim=1).mean()),
                )
                for s, t in pairs
            ]
        )
    means = np.mean(rows, axis=0)
    return [{"unexplained_variance": float(e), "cosine": float(c)} for e, c in means]


def normalised(images: Tensor) -> Tensor:
    return ((images - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def _render(index: int) -> np.ndarray:
    rng = np.random.default_rng([SEED, 2, index])
    product = str(rng.choice(sorted(PRODUCTS)))
    suitable = [None, *sorted(d for d in DEFECTS if d in PRODUCTS[product].defects)]
    defect = suitable[int(rng.integers(len(suitable)))]
    return render_part(product, int(rng.integers(2**31)), size=256, defect=defect).image


def factory_parts(path: Path, count: int) -> np.ndarray:
    """Render parts of the synthetic factory, good and defective, or read an earlier call's."""
    if path.exists():
        parts: np.ndarray = np.load(path)
        if len(parts) != count:
            raise ConfigError(
                f"--parts: expected {count} parts in {path}, got {len(parts)}; give that number "
                "or remove the file"
            )
        return parts
    print(f"rendering {count} parts of the synthetic factory", flush=True)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        parts = np.stack(list(pool.map(_render, range(count), chunksize=16)))
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, parts)
    return parts


def run(
    student: Trunk,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: ProceduralImages,
    step: int,
    learning_rate: float,
) -> float:
    """Train one step, and return its loss."""
    side, count = SIZES[step % len(SIZES)]
    x = normalised(images.batch(step, count, side))
    forcing = max(0.0, 1 - step / TEACHER_FORCING)
    with torch.autocast("cpu", torch.bfloat16):  # weights, sums and the loss stay in float32
        loss = loss_of(student.train(), x, teacher(x), forcing)
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    return float(loss.detach())


def save(out: Path, student: Trunk, optimizer: torch.optim.Optimizer, position: Position) -> None:
    """Write the state of the training, whole or not at all."""
    with locked(out):
        commit(out, {CHECKPOINT: checkpoint_content(student, optimizer, position)})


def load(out: Path, student: Trunk, optimizer: torch.optim.Optimizer) -> Position:
    """Restore what :func:`save` wrote."""
    with opened(out) as state:
        return load_checkpoint(state.read(CHECKPOINT), state.name(CHECKPOINT), student, optimizer)


def train(arguments: argparse.Namespace, student: Trunk, teacher: nn.Module) -> None:
    """Train for some minutes at a constant learning rate, resuming from the last call."""
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    parts = factory_parts(out / "parts.npy", arguments.parts)
    images, held_out = ProceduralImages(SEED, parts), ProceduralImages(SEED + 1)
    optimizer = make_optimizer(student)
    position = load(out, student, optimizer) if (out / MANIFEST).exists() else Position()
    end = time.monotonic() + 60 * arguments.minutes
    losses: list[float] = []
    began = time.monotonic()
    try:
        while time.monotonic() < end:
            rate = LEARNING_RATE * min(1.0, (position.step + 1) / WARM_UP)
            losses.append(run(student, teacher, optimizer, images, position.step, rate))
            position.step += 1
            if position.step % EVERY == 0:
                seconds = time.monotonic() - began
                position.seconds += seconds
                record: dict[str, Any] = {
                    "step": position.step,
                    "minutes": round(position.seconds / 60, 1),
                    "loss": round(float(np.mean(losses)), 4),
                    "ms_per_step": round(1000 * seconds / len(losses), 1),
                }
                if position.step % (20 * EVERY) == 0:
                    record["held_out"] = feature_error(evaluated(student), teacher, held_out)
                position.log.append(record)
                save(out, student, optimizer, position)
                print(json.dumps(record), flush=True)
                losses, began = [], time.monotonic()
    finally:  # after Ctrl-C too, which may interrupt a step: that step is then repeated
        position.seconds += time.monotonic() - began
        save(out, student, optimizer, position)


def finish(arguments: argparse.Namespace, student: Trunk, teacher: nn.Module) -> None:
    """Let the learning rate fall to zero, and write the weights and the measurements."""
    check_writable(arguments.weights)
    check_writable(arguments.json)
    parts = factory_parts(arguments.out / "parts.npy", arguments.parts)
    images, held_out = ProceduralImages(SEED, parts), ProceduralImages(SEED + 1)
    optimizer = make_optimizer(student)
    position = load(arguments.out, student, optimizer)
    first, steps = position.step, max(1, int(arguments.share * position.step))
    for step in range(first, first + steps):
        rate = LEARNING_RATE * (1 - (step - first) / steps)
        loss = run(student, teacher, optimizer, images, step, rate)
        if (step - first + 1) % EVERY == 0:
            print(f"step {step - first + 1} of {steps}: loss {loss:.4f}", flush=True)
    save_tensors(arguments.weights, folded(student), {})
    encoder = Encoder("resnet18", arguments.weights)
    record = {
        "steps": first + steps,
        "images": sum(SIZES[i % len(SIZES)][1] for i in range(first + steps)),
        "minutes_before_the_last_steps": round(position.seconds / 60, 1),
        "seed": SEED,
        "held_out": feature_error(encoder, teacher, held_out),
        "log": position.log,
        "machine": machine(),
    }
    write_text(arguments.json, json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["held_out"]))


def make_optimizer(student: Trunk) -> torch.optim.Optimizer:
    """Make AdamW, without decay of batch norms' weights."""
    matrices = [p for p in student.parameters() if p.dim() > 1]
    vectors = [p for p in student.parameters() if p.dim() == 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, LEARNING_RATE, BETAS, weight_decay=WEIGHT_DECAY)


def evaluated(student: Trunk) -> nn.Module:
    backbone: nn.Module = student.backbone.eval()
    return backbone


@torch.no_grad()
def folded(student: Trunk) -> dict[str, Tensor]:
    """Fold each batch norm into a bias; return the trunk in half precision under timm's names."""
    state = {name: t.double() for name, t in student.backbone.state_dict().items()}
    for name in [n for n in state if n.endswith("running_var")]:
        norm = name.removesuffix(".running_var")
        conv = norm.replace("bn", "conv")
        conv = conv if conv != norm else norm.removesuffix(".1") + ".0"  # downsample: conv, norm
        scale = state[f"{norm}.weight"] / torch.sqrt(state[name] + 1e-5)
        state[f"{norm}.bias"] -= state[f"{norm}.running_mean"] * scale
        state[f"{conv}.weight"] *= scale[:, None, None, None]
        state[f"{norm}.weight"] = torch.ones_like(scale)
        state[f"{norm}.running_mean"] = torch.zeros_like(scale)
        state[name] = torch.ones_like(scale)
    return {n: t.half() for n, t in state.items() if not n.endswith("num_batches_tracked")}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("action", choices=("train", "finish"))
    parser.add_argument("--teacher", required=True, help="weights of a ResNet-18, or timm")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training's state")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument(
        "--parts", type=int, default=3000, help="number of parts of the synthetic factory"
    )
    parser.add_argument(
        "--share", type=float, default=0.2, help="finish: steps to add, as a share of those trained"
    )
    parser.add_argument("--weights", type=Path, help="finish: file to write")
    parser.add_argument("--json", type=Path, help="finish: file for the measurements")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.action == "finish" and not (arguments.weights and arguments.json):
        parser.error("finish needs --weights FILE and --json FILE; give both")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    keep_freed_memory()
    student = Trunk().to(memory_format=torch.channels_last)
    teacher = Encoder("resnet18", arguments.teacher)
    (train if arguments.action == "train" else finish)(arguments, student, teacher)


if __name__ == "__main__":
    try:
        main()
    except (MambaADError, KeyboardInterrupt) as error:
        sys.exit(f"pretrain_encoder: {str(error) or 'interrupted'}")
