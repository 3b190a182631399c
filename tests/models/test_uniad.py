import numpy as np
import pytest
import timm
import torch
from torch import nn

from mambaad.errors import ConfigError
from mambaad.models.encoder import Encoder
from mambaad.models.uniad import AlignedEncoder, UniAD, neighbours


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    encoder = AlignedEncoder(Encoder("resnet18", "random"))
    return UniAD(encoder, encoder.channels, (64, 128)).eval()


def test_encoder_gives_all_maps_on_one_grid(model):
    encoder = model.encoder.encoder
    images = torch.randn(2, 3, 64, 128)
    (together,) = model.encoder(images)
    maps = encoder(images)
    assert together.shape == (2, sum(encoder.channels), 4, 8)
    assert torch.equal(together[:, -encoder.channels[2] :], maps[2])  # at stride 16 already
    corner = together[:, : encoder.channels[0], 0, 0]
    torch.testing.assert_close(corner, maps[0][:, :, 0, 0])  # corners are aligned


def test_neighbours_are_a_square_around_each_cell():
    height, width, side = 5, 9, 3
    found = neighbours(height, width, side).numpy()
    for a in range(height * width):
        for b in range(height * width):
            dy, dx = a // width - b // width, a % width - b % width
            assert found[a, b] == (abs(dy) <= 1 and abs(dx) <= 1)


def test_an_attention_does_not_see_the_neighbourhood(model):
    """One layer alone: a cell's change reaches no cell within 3 of it, and those beyond."""
    layer = model.transformer.encoder_layers[0]
    x, where = torch.randn(1, 32, 256), model.transformer.positions()
    changed = x.clone()
    changed[0, 0] += 1
    with torch.no_grad():
        before, after = (layer(v, where, model.transformer.hidden) for v in (x, changed))
    moved = (before - after).abs().amax(dim=2)[0].reshape(4, 8) > 1e-6
    expected = np.zeros((4, 8), bool)
    expected[:, 4:] = True  # rows are four: all within reach
    expected[0, 0] = True  # itself, by the residual sum
    np.testing.assert_array_equal(moved.numpy(), expected)


def test_layers_are_what_pytorchs_own_are(model):
    """Without positions: an encoder layer is PyTorch's, post-norm, with the same mask."""
    ours = model.transformer.encoder_layers[0]
    theirs = nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True).eval()
    theirs.self_attn.load_state_dict(ours.attention.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward[3].state_dict())
    theirs.norm1.load_state_dict(ours.norms[0].state_dict())
    theirs.norm2.load_state_dict(ours.norms[1].state_dict())
    x = torch.randn(2, 32, 256)
    nowhere = torch.zeros(32, 256)
    with torch.no_grad():
        found = ours(x, nowhere, model.transformer.hidden)
        torch.testing.assert_close(
            found, theirs(x, src_mask=model.transformer.hidden), atol=1e-5, rtol=1e-5
        )


def test_jitter_is_there_while_training_alone(model):
    features = [torch.randn(1, 448, 4, 8)]
    with torch.no_grad():
        assert torch.equal(*(model.reconstruct(features)[0] for _ in range(2)))
        for module in model.modules():
            if isinstance(module, (nn.Dropout, nn.MultiheadAttention)):
                module.eval()
        model.training = True
        noisy = [model.reconstruct(features)[0] for _ in range(2)]
        model.eval()
    assert not torch.allclose(*noisy)


def test_parameters_are_as_many_as_published():
    with torch.device("meta"):
        trunk = timm.create_model(
            "tf_efficientnet_b4", features_only=True, out_indices=(0, 1, 2, 3)
        )
        model = UniAD(trunk, sum(trunk.feature_info.channels()), (224, 224))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(24.5e6, abs=0.05e6)


def test_images_too_small_to_see_anything_are_refused():
    with pytest.raises(ConfigError, match="nothing to see; give a side of 128"):
        UniAD(nn.Identity(), 8, (96, 112))
