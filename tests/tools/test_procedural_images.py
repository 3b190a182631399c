import numpy as np
import torch


def make(seed=3, parts=None):
    from procedural_images import ProceduralImages

    return ProceduralImages(seed, parts, marks=8)


def test_a_batch_depends_on_seed_and_number_alone():
    batch = make().batch(5, 6, 32)
    assert batch.shape == (6, 3, 32, 32)
    assert batch.dtype == torch.float32
    assert 0 <= float(batch.min()) < float(batch.max()) <= 1
    images = make()
    images.batch(1, 4, 48)
    assert torch.equal(images.batch(5, 6, 32), batch)
    assert not torch.equal(images.batch(6, 6, 32), batch)
    assert not torch.equal(make(seed=4).batch(5, 6, 32), batch)


def test_images_of_a_batch_are_different_and_seldom_plain():
    batch = make().batch(0, 24, 32)
    assert torch.pdist(batch.flatten(1)).min() > 0.1
    assert (batch.std(dim=(2, 3)).amax(dim=1) > 0.01).float().mean() > 0.8


def test_what_is_drawn_is_seen_several_times_each_time_otherwise():
    from procedural_images import KEPT, VIEWS

    images, drawn = make(), []
    draw = images._draw
    images._draw = lambda *arguments: drawn.append(arguments[0]) or draw(*arguments)
    batches = [images.batch(number, 2, 16) for number in range(KEPT * VIEWS)]
    assert drawn == list(range(KEPT))
    assert len({batch.numpy().tobytes() for batch in batches}) == KEPT * VIEWS


def test_one_image_in_four_is_a_crop_of_the_parts():
    """Parts of a colour that no other image has: red channel full, the others empty."""
    part = np.zeros((2, 64, 64, 3), np.uint8)
    part[..., 0] = 255
    red = []
    images = make(parts=part)
    for number in range(4):
        batch = images.batch(number, 32, 32)
        channels = batch.mean(dim=(2, 3))
        spread = batch.std(dim=(2, 3)).amax(dim=1)  # a crop is plain, but for light and noise
        red += ((channels[:, 0] - channels[:, 1:].amax(dim=1) > 0.3) & (spread < 0.2)).tolist()
    # A quarter of those that the camera does not turn grey.
    assert 0.1 < np.mean(red) < 0.3
