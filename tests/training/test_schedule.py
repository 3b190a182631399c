import itertools

import pytest

from mambaad.config import make_config
from mambaad.training.schedule import (
    device_share,
    epoch_batches,
    learning_rate,
    loose_share,
)


def test_the_cosine_schedule_warms_up_and_ends_near_zero():
    config = make_config({"recipe": "fast", "epochs": 50})
    rates = [learning_rate(config, step // 10, step % 10 / 10) for step in range(500)]
    assert rates[10] == max(rates) == pytest.approx(0.002)  # 2 % of 50 epochs is one
    assert 0 < rates[0] < rates[5] < rates[10]
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert rates[255] == pytest.approx(0.001)  # half way down
    assert rates[499] < 1e-7


def test_epochs_visit_every_image_once_but_for_an_unfilled_batch():
    batches = epoch_batches(37, batch_size=8, devices=2, seed=1, epoch=0)
    flat = [i for batch in batches for i in batch]
    assert [len(batch) for batch in batches] == [8] * 4
    assert len(set(flat)) == 32
    assert max(flat) < 37
    assert batches == epoch_batches(37, batch_size=8, devices=2, seed=1, epoch=0)
    assert batches != epoch_batches(37, batch_size=8, devices=2, seed=1, epoch=1)
    assert [len(b) for b in epoch_batches(5, batch_size=8, devices=2, seed=1, epoch=0)] == [4]


def test_devices_share_each_batch_equally_and_completely():
    batches = epoch_batches(37, batch_size=8, devices=2, seed=1, epoch=0)
    shares = [device_share(batches, device, 2) for device in range(2)]
    assert all(len(batch) == 4 for share in shares for batch in share)
    assert [[*one, *other] for one, other in zip(*shares, strict=True)] == batches
    assert device_share([], 0, 2) == []  # resumed after the last step of an epoch


def test_the_share_of_easy_cells_grows_over_the_first_tenth():
    config = make_config({"recipe": "fast", "epochs": 20})
    shares = [loose_share(config, step // 10, step % 10 / 10) for step in range(200)]
    assert shares[:21:5] == pytest.approx([0, 0.225, 0.45, 0.675, 0.9])
    assert set(shares[20:]) == {0.9}
