"""Train on a Ray cluster: each worker of Ray Train is one of the processes that train together.

    pip install 'mambaad[ray]'
    python examples/ray/train.py DATA --out /shared/run --workers 4 --recipe fast

The data set must be under the same path on every machine, and so must the run folder if a failed
worker may be replaced on another one. What Ray starts again goes on from the last epoch.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from mambaad import train


def train_together(given: dict[str, Any]) -> None:
    """What every worker does. Ray has told it its rank and has connected it with the others."""
    out = Path(given["out"])
    # Of a training that has begun: Ray starts the workers again after one of them has failed.
    resume = (out / "manifest.json").exists()
    settings = {} if resume else given["settings"]
    train(given["data"], out, resume=resume, **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpus", action="store_true", help="one GPU for each worker")
    parser.add_argument("--failures", type=int, default=1, help="how often to start again")
    parser.add_argument("--address", help="of a running cluster; by default one is started here")
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    parser.add_argument("--recipe", choices=["paper", "fast"], default="paper")
    given = parser.parse_args()

    from mambaad.config_file import read_config_file

    settings = {"recipe": given.recipe, **(read_config_file(given.config) if given.config else {})}
    work = {
        "data": str(given.data.resolve()),
        "out": str(given.out.resolve()),
        "settings": settings,
    }
    ray.init(given.address)
    trainer = TorchTrainer(
        train_together,
        train_loop_config=work,
        scaling_config=ScalingConfig(num_workers=given.workers, use_gpu=given.gpus),
        # Ray's own notes on the job; the weights are in the run folder.
        run_config=RunConfig(
            name=given.out.name,
            storage_path=str(given.out.resolve().parent / "ray"),
            failure_config=FailureConfig(max_failures=given.failures),
        ),
    )
    trainer.fit()
    print(f"trained: {given.out}")


if __name__ == "__main__":
    main()
