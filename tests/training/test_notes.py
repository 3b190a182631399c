"""What is likely to be too little is said, and nothing where there is enough."""

from pathlib import Path

from mambaad.config import TrainConfig
from mambaad.training.notes import FEW_PARTS, notes_on_length
from mambaad.types import ProductClass, Sample


def made(name, count):
    return ProductClass(name, tuple(Sample(Path(f"{i}.png"), name) for i in range(count)))


def test_enough_is_not_mentioned():
    config = TrainConfig(epochs=100, batch_size=4)
    assert notes_on_length(config, [made("nut", FEW_PARTS), made("bolt", 99)], 119) == []


def test_few_parts_and_few_epochs_are_said_with_what_would_do():
    config = TrainConfig(epochs=3, batch_size=4)
    few_parts, few_epochs = notes_on_length(config, [made("nut", 6), made("bolt", 30)], 36)
    assert few_parts.startswith("few good parts to train on: nut 6; ")
    # 36 images in batches of 4 are 9 steps an epoch.
    assert few_epochs.startswith("few epochs: 3 of 9 steps each; ")
    assert few_epochs.endswith("--epochs 12 or more")
    assert notes_on_length(TrainConfig(epochs=12, batch_size=4), [made("nut", 36)], 36) == []


def test_an_epoch_has_as_many_steps_as_views():
    config = TrainConfig(epochs=1, batch_size=4, tiles=(256, 192))
    assert notes_on_length(config, [made("nut", 36)], 400) == []
    (few,) = notes_on_length(config, [made("nut", 36)], 399 - 3)
    assert few.startswith("few epochs: 1 of 99 steps each; ")
