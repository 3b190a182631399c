"""The released model's names and shapes, and models that several files use."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import timm
import torch

from mambaad.models.build import build_model
from mambaad.models.mambaad import MambaAD
from mambaad.models.released import load_released
from tests.conftest import fill


def ss2d_shapes(channels: int, directions: int = 8, states: int = 16) -> dict[str, list[int]]:
    """The released names and shapes of one SS2D's weights."""
    inner, rank = 2 * channels, math.ceil(channels / 16)
    return {
        "x_proj_weight": [directions, rank + 2 * states, inner],
        "dt_projs_weight": [directions, inner, rank],
        "dt_projs_bias": [directions, inner],
        "A_logs": [directions * inner, states],
        "Ds": [directions * inner],
        "in_proj.weight": [2 * inner, channels],
        "conv2d.weight": [inner, 1, 3, 3],
        "conv2d.bias": [inner],
        "out_norm.weight": [inner],
        "out_norm.bias": [inner],
        "out_proj.weight": [channels, inner],
    }


def lss_shapes(channels: int, blocks: int) -> dict[str, list[int]]:
    """The released names and shapes of one LSS module's weights, K = 8."""
    shapes = {}
    for i in range(blocks):
        block = f"smm_blocks.{i}"
        shapes |= {f"{block}.ln_1.{part}": [channels] for part in ("weight", "bias")}
        shapes |= {f"{block}.self_attention.{k}": s for k, s in ss2d_shapes(channels).items()}
    for k in (5, 7):
        for conv in (f"conv1b{k}.0", f"conv1a{k}.0"):
            shapes |= {f"{conv}.weight": [channels, channels, 1, 1], f"{conv}.bias": [channels]}
        shapes[f"conv{k}{k}.0.weight"] = [channels, 1, k, k]
    shapes |= {"finalconv11.weight": [channels, 3 * channels, 1, 1]}
    shapes |= {"finalconv11.bias": [channels]}
    return shapes


def reference_maps() -> list[torch.Tensor]:
    """The encoder maps of the reference values."""
    random = np.random.RandomState(9)
    shapes = ((1, 64, 64, 64), (1, 128, 32, 32), (1, 256, 16, 16))
    maps = [abs(random.standard_normal(shape)).astype(np.float32) for shape in shapes]
    return [torch.from_numpy(m) for m in maps]


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    # These networks are small: on busy cores, threads that wait for each other take ten times
    # as long.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def classifier() -> dict[str, torch.Tensor]:
    """Weights of a whole ResNet-18 classifier, as people have them on disk."""
    torch.manual_seed(1)
    return timm.create_model("resnet18").state_dict()


@pytest.fixture(scope="session")
def model() -> MambaAD:
    """The published model, untrained. Shared: tests look at it and do not change it."""
    torch.manual_seed(2)
    return build_model("resnet34", "random").eval()


@pytest.fixture(scope="session")
def released_state(released_shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """All that a released checkpoint holds: the whole classifier, weights and order tables."""
    torch.manual_seed(3)
    encoder = timm.create_model("resnet34").state_dict()
    tables = {key: shape for key, shape in released_shapes.items() if "index_flat" in key}
    return {
        **{f"net_t.{key}": tensor for key, tensor in encoder.items()},
        **fill(released_shapes),
        **{key: torch.zeros(shape, dtype=torch.int64) for key, shape in tables.items()},
    }


@pytest.fixture(scope="session")
def released_model(released_state: dict[str, torch.Tensor]) -> MambaAD:
    """The published model with the reference weights. Shared: tests do not change it."""
    model = build_model("resnet34", "random").eval()
    load_released(model, released_state)
    return model
