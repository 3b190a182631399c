"""A training for torchrun to start, which says what it did, and can be killed at a step.

Arguments: the data, the run, a folder for what each process says, and JSON of settings; of
``kill``, [rank, step], and of ``interrupt``, a step at which rank 0 has torchrun interrupted.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import mambaad
from mambaad.models.encoder import Encoder
from mambaad.progress import show_progress
from mambaad.training import batches, follow, loop, loss
from mambaad.workflows import train as module


def main(data: str, run: str, said: str, given: str) -> None:
    settings = json.loads(given)
    killed, interrupted = settings.pop("kill", [-1, -1]), settings.pop("interrupt", -1)
    rank = int(os.environ["RANK"])
    found: dict[str, Any] = {"decoded": 0, "encoded": 0, "steps": 0}
    fit, read, encode = loop.fit, batches.read_sample_image, Encoder.forward

    def observed_fit(fabric: Any, config: Any, model: Any, *args: Any, **named: Any) -> bool:
        Encoder.forward = observed_encode  # type: ignore[method-assign]
        finished = fit(fabric, config, model, *args, **named)
        Encoder.forward = encode  # type: ignore[method-assign]
        state = sorted(model.state_dict().items())
        content = b"".join(tensor.cpu().numpy().tobytes() for _, tensor in state)
        found["weights"] = hashlib.sha256(content).hexdigest()
        return finished

    def observed_read(sample: Any) -> Any:
        found["decoded"] += 1
        return read(sample)

    def observed_encode(self: Any, images: Any) -> Any:
        found["encoded"] += len(images)
        return encode(self, images)

    def observed_loss(*args: Any) -> Any:
        found["steps"] += 1
        found["cached"] = shared_bytes()
        if [rank, found["steps"]] == killed:
            Path(said, "killed").write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
        if rank == 0 and found["steps"] == interrupted:
            os.kill(os.getppid(), signal.SIGINT)
        return loss.training_loss(*args)

    loop.training_loss = observed_loss  # type: ignore[assignment]
    batches.read_sample_image = observed_read
    module.fit = follow.fit = observed_fit  # type: ignore[assignment]
    show_progress()
    mambaad.train(data, run, **settings)
    Path(said, f"{rank}.json").write_text(json.dumps(found))


def shared_bytes() -> dict[str, int]:
    """The nameless files in memory that are mapped, by inode, and their sizes."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line.split(maxsplit=5) for line in lines if "memfd:mambaad" in line]
    return {
        inode: int(area.split("-")[1], 16) - int(area.split("-")[0], 16)
        for area, _, _, _, inode, _ in mapped
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
