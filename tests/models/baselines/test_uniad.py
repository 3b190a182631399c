import numpy as np
import pytest
import timm
import torch
from torch import nn

from mambaad.errors import ConfigError
from mambaad.models.baselines.uniad import AlignedEncoder, UniAD, neighbours
from mambaad.models.encoder import Encoder
from mambaad.models.scoring import measure


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


def test_normalised_maps_have_cells_of_one_length(model):
    encoder = model.encoder.encoder
    images = torch.randn(2, 3, 64, 128)
    (plain,), (scaled,) = model.encoder(images), AlignedEncoder(encoder, normalise=True)(images)
    width = sum(encoder.channels)
    assert torch.isclose(scaled.square().mean(), torch.tensor(1.0))
    for before, after in zip(
        plain.split(encoder.channels, dim=1), scaled.split(encoder.channels, dim=1), strict=True
    ):
        for cell, unit in zip(
            before.permute(0, 2, 3, 1).reshape(-1, before.shape[1]).double().numpy(),
            after.permute(0, 2, 3, 1).reshape(-1, after.shape[1]).double().numpy(),
            strict=True,
        ):
            expected = cell / np.sqrt((cell**2).sum()) * np.sqrt(width / 3)
            np.testing.assert_allclose(unit, expected, rtol=1e-4, atol=1e-6)


def test_the_transformer_sees_channels_of_mean_0_and_deviation_1(model):
    generator = torch.Generator().manual_seed(4)
    batches = [[3 * torch.rand(n, 8, 4, 8, generator=generator) - 1] for n in (2, 3)]
    plain = UniAD(nn.Identity(), 8, (64, 128), 0.0).eval()
    scaled = UniAD(nn.Identity(), 8, (64, 128), 0.0, standardise=True).eval()
    missing, unexpected = scaled.load_state_dict(plain.state_dict(), strict=False)
    assert (set(missing), unexpected) == ({"mean", "std"}, [])
    scaled.prepare(batches)

    cells = np.concatenate(
        [x.double().numpy().transpose(0, 2, 3, 1).reshape(-1, 8) for (x,) in batches]
    )
    mean, std = cells.mean(axis=0), cells.std(axis=0)
    np.testing.assert_allclose(scaled.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(scaled.std, std, rtol=1e-5)
    (x,) = batches[0]
    shaped = [torch.from_numpy(v).float()[:, None, None] for v in (mean, std)]
    with torch.no_grad():
        (found,) = scaled.reconstruct([x])
        (of_scaled,) = plain.reconstruct([(x - shaped[0]) / shaped[1]])
    torch.testing.assert_close(found, shaped[0] + shaped[1] * of_scaled, atol=1e-4, rtol=1e-4)


def test_a_system_that_scales_nothing_reads_no_maps(model):
    def never():
        raise AssertionError
        yield

    model.prepare(never())


def test_layers_begin_as_copies_but_for_their_linear_maps(model):
    """As the released code makes them: copied, and then its linear maps are drawn anew."""
    fresh = UniAD(nn.Identity(), 8, (64, 128))
    for layers in (fresh.transformer.encoder_layers, fresh.transformer.decoder_layers):
        first, *others = (dict(layer.named_parameters()) for layer in layers)
        for other in others:
            assert other.keys() == first.keys()
            for name, values in other.items():
                drawn = name.endswith("weight") and ("feed_forward" in name or "out_proj" in name)
                assert torch.equal(values, first[name]) is not drawn, name
                assert values.data_ptr() != first[name].data_ptr()
    first, second = fresh.transformer.decoder_layers[:2]
    with torch.no_grad():
        second.queries.zero_()
    assert first.queries.abs().max() > 0


def test_maps_are_as_they_are_and_the_score_is_the_highest_mean_of_16_x_16_pixels(model):
    images = torch.randn(1, 3, 64, 128)
    with torch.no_grad():
        reconstruction = model(images)
        (found,), _, (score,), _ = measure(model, reconstruction, (64, 128))
    (ours,), (theirs,), _ = reconstruction
    error = (ours - theirs)[0].double().square().sum(dim=0).sqrt().numpy()
    rows, columns = np.linspace(0, 3, 64), np.linspace(0, 7, 128)  # corners are aligned
    down = np.stack([np.interp(rows, range(4), column) for column in error.T], axis=1)
    expected = np.stack([np.interp(columns, range(8), row) for row in down])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    means = [
        expected[y : y + 16, x : x + 16].mean() for y in range(64 - 15) for x in range(128 - 15)
    ]
    assert float(score) == pytest.approx(max(means), rel=1e-4)


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


def attend(attention, query, key, value, hidden):
    """Multi-head attention written out, in float64, a head at a time (Vaswani et al. 2017)."""
    weights = attention.in_proj_weight.detach().double().numpy().reshape(3, 256, 256)
    biases = attention.in_proj_bias.detach().double().numpy().reshape(3, 256)
    q, k, v = (
        given @ w.T + b for given, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    heads = []
    for first in range(0, 256, 32):
        some = slice(first, first + 32)
        scores = q[:, some] @ k[:, some].T / np.sqrt(32)
        scores[hidden] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        heads.append(shares / shares.sum(axis=1, keepdims=True) @ v[:, some])
    weight = attention.out_proj.weight.detach().double().numpy()
    return np.concatenate(heads, axis=1) @ weight.T + attention.out_proj.bias.detach().numpy()


def test_a_decoder_layer_asks_the_memory_and_then_the_layer_before(model):
    layer = model.transformer.decoder_layers[1]
    x, memory = torch.randn(1, 32, 256), torch.randn(1, 32, 256)
    where, hidden = model.transformer.positions(), model.transformer.hidden
    with torch.no_grad():
        found = layer(x, memory, where, hidden)[0]

    def normed(values, norm):
        return nn.functional.layer_norm(
            torch.from_numpy(values), (256,), norm.weight.double(), norm.bias.double()
        )

    at = where.detach().double().numpy()
    y = layer.queries.detach().double().numpy()
    with torch.no_grad():
        for attention, source, norm in zip(
            (layer.memory_attention, layer.attention), (memory, x), layer.norms, strict=False
        ):
            seen = source[0].double().numpy()
            y = y + attend(attention, y + at, seen + at, seen, hidden.numpy())
            y = normed(y, norm).numpy()
        first, _, _, second = layer.feed_forward
        inner = np.maximum(y @ first.weight.double().numpy().T + first.bias.numpy(), 0)
        y = y + inner @ second.weight.double().numpy().T + second.bias.numpy()
        expected = normed(y, layer.norms[2])
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


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
    with pytest.raises(ConfigError, match=r"is too small for UniAD.* give a side of 128"):
        UniAD(nn.Identity(), 8, (96, 112))


def test_images_too_large_for_all_pairs_of_cells_are_refused():
    with pytest.raises(ConfigError, match="has 262144 cells"):
        UniAD(nn.Identity(), 8, (8192, 8192))
