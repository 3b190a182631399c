"""Several processes compute what one does with the whole batch."""

import warnings
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from mambaad.models.parallel import BatchNorm2d, DropPath

PROCESSES = 2


def images() -> torch.Tensor:
    # Far from zero mean, and each image another scale: a share's statistics are not the batch's.
    generator = torch.Generator().manual_seed(5)
    scales = torch.arange(1.0, 7).view(6, 1, 1, 1)
    return 3 + scales * torch.randn(6, 4, 3, 5, generator=generator)


def normalised(x: torch.Tensor, weights: torch.Tensor, norm: nn.Module) -> dict[str, torch.Tensor]:
    """Two training steps' outputs and gradients, the statistics, and what eval makes of them."""
    x = x.clone().requires_grad_()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, -1.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    first = norm(x)
    second = norm(first * x)
    (second * weights).sum().backward()
    return {
        "output": second.detach(),
        "input gradient": x.grad,
        "evaluated": norm.eval()(x).detach(),
        "weight gradient": norm.weight.grad,
        "bias gradient": norm.bias.grad,
        "running mean": norm.running_mean,
        "running variance": norm.running_var,
        "steps": norm.num_batches_tracked,
    }


def dropped(x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(6)
    layers = [DropPath(rate).train() for rate in (0.5, 0.2, 0.7)]
    return torch.stack([layer(x) for layer in layers], dim=1)


def work(rank: int, folder: str) -> None:
    """What each process does: both layers, on its share of the images."""
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=120),
    )
    try:
        share = slice(rank * 3, rank * 3 + 3)
        result = normalised(images()[share], images().flip(0)[share], BatchNorm2d(4))
        result["dropped"] = dropped(images()[share])
        torch.save(result, Path(folder) / f"{rank}.pth")
    finally:
        distributed.destroy_process_group()


def work_as_second(_: int, folder: str) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    work(1, folder)


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    """Each process's results."""
    folder = str(tmp_path_factory.mktemp("processes"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        # This process is the first of the two: starting one takes seconds.
        second = torch.multiprocessing.spawn(work_as_second, (folder,), join=False)
        work(0, folder)
        while not second.join():
            pass
    return [torch.load(Path(folder) / f"{rank}.pth") for rank in range(PROCESSES)]


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_over_two_processes(shares):
    whole = normalised(images(), images().flip(0), nn.BatchNorm2d(4))
    for name in ("output", "input gradient", "evaluated"):
        close(torch.cat([share[name] for share in shares]), whole[name])
    for name in ("weight gradient", "bias gradient"):  # summed by who trains
        close(sum(share[name] for share in shares), whole[name])
    for name in ("running mean", "running variance", "steps"):
        for share in shares:
            close(share[name], whole[name])


def test_drop_path_over_two_processes(shares):
    whole = dropped(images())
    close(torch.cat([share["dropped"] for share in shares]), whole)
    assert not torch.equal(whole[:3] == 0, whole[3:] == 0)  # each process has draws of its own


def test_batch_norm_in_one_process():
    ours = normalised(images(), images().flip(0), BatchNorm2d(4))
    theirs = normalised(images(), images().flip(0), nn.BatchNorm2d(4))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=0)


def test_drop_path_drops_whole_images_and_keeps_the_expectation():
    x = torch.rand(4000, 2, 3) + 1
    y = DropPath(0.3).train()(x)
    kept = (y != 0).flatten(1)
    assert (kept.all(1) | ~kept.any(1)).all()
    assert kept.all(1).float().mean().item() == pytest.approx(0.7, abs=0.03)
    kept_images = kept.all(1)
    torch.testing.assert_close(y[kept_images], x[kept_images] / 0.7)
    assert y.mean().item() == pytest.approx(x.mean().item(), rel=0.05)


def test_drop_path_is_the_identity_outside_training():
    x = torch.randn(4, 2, 3)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_drop_path_stops_the_gradient_of_dropped_images():
    x = torch.ones(64, 3, requires_grad=True)
    y = DropPath(0.25).train()(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())
    assert x.grad.unique().tolist() == pytest.approx([0, 4 / 3])
