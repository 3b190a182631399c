"""The assembled network."""

import numpy as np
import pytest
import torch

from mambaad.config import make_config
from mambaad.errors import ConfigError
from mambaad.models.build import build_model, build_system
from mambaad.models.mambaad import MambaAD
from mambaad.training.loss import squared_error_loss
from tests.models.conftest import reference_maps

SHALLOW = (1, 1, 1, 1)


@torch.inference_mode()
def test_released_values(released_model, golden):
    for i, rebuilt in enumerate(released_model.reconstruct(reference_maps()), start=1):
        expected = torch.tensor(golden[f"net/student{i}"])
        torch.testing.assert_close(rebuilt, expected, rtol=0, atol=1e-4)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_sizes(model):
    assert parameters(model.encoder) / 1e6 == pytest.approx(8.17, abs=0.005)
    assert parameters(model.fusion) / 1e6 == pytest.approx(1.46, abs=0.005)
    assert parameters(model.decoder) / 1e6 == pytest.approx(15.99, abs=0.005)
    assert parameters(model) / 1e6 == pytest.approx(25.615, abs=0.0005)


def test_published_total_counts_order_tables(model, released_shapes):
    counted = {
        key: int(np.prod(shape))
        for key, shape in released_shapes.items()
        if "running_" not in key and "num_batches" not in key
    }
    tables = sum(size for key, size in counted.items() if "index_flat" in key)
    weights = sum(counted.values()) - tables
    assert weights == parameters(model.fusion) + parameters(model.decoder)
    assert tables / 1e6 == pytest.approx(0.039, abs=0.0005)
    total = parameters(model.encoder) + weights + tables
    assert total / 1e6 == pytest.approx(25.65, abs=0.005)


@pytest.fixture(scope="module")
def shallow() -> MambaAD:
    torch.manual_seed(4)
    return build_model("resnet18", "random", depths=SHALLOW).eval()


@torch.inference_mode()
@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (32, 96), (256, 256), (224, 320), (512, 512)]
)
def test_any_size(height, width, shallow):
    features, rebuilt, _ = shallow(torch.randn(1, 3, height, width))
    expected = [
        (1, 64, height // 4, width // 4),
        (1, 128, height // 8, width // 8),
        (1, 256, height // 16, width // 16),
    ]
    assert [tuple(f.shape) for f in features] == expected
    assert [tuple(r.shape) for r in rebuilt] == expected
    assert all(r.isfinite().all() for r in rebuilt)


@pytest.mark.parametrize(("height", "width"), [(100, 128), (128, 240), (31, 31), (16, 64)])
def test_sides_that_are_no_multiples_of_32_are_refused_in_one_line(height, width, shallow):
    with pytest.raises(ConfigError, match=rf"{height} x {width}.*of 32.*--size") as error:
        shallow(torch.randn(1, 3, height, width))
    assert "\n" not in str(error.value)


@torch.inference_mode()
def test_images_of_a_batch_do_not_influence_each_other(shallow):
    images = torch.randn(3, 3, 64, 96)
    together = shallow(images).reconstructed
    alone = shallow(images[1:2]).reconstructed
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_reconstruct_is_the_trained_part(shallow):
    features, rebuilt, _ = shallow(torch.randn(2, 3, 64, 64))
    for a, b in zip(shallow.reconstruct(features), rebuilt, strict=True):
        torch.testing.assert_close(a, b)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("encoder", "depths"),
    [
        ("resnet18", (2, 1, 3, 1)),
        ("resnet50", SHALLOW),
        ("wide_resnet50_2", SHALLOW),
        ("tf_efficientnet_b4", (2, 1, 3, 1)),
    ],
)
def test_other_encoders(encoder, depths):
    network = build_model(encoder, "random", depths=depths).eval()
    features, rebuilt, _ = network(torch.randn(1, 3, 64, 64))
    assert [r.shape for r in rebuilt] == [f.shape for f in features]
    assert [f.shape[-2:] for f in features] == [(16, 16), (8, 8), (4, 4)]
    assert all(r.isfinite().all() for r in rebuilt)


def test_build_passes_its_settings_on(tmp_path):
    network = build_model("resnet18", "random", scan="zorder", directions=2, depths=SHALLOW)
    scans = [m for m in network.modules() if type(m).__name__ == "SS2D"]
    assert [(scan.scan, scan.directions) for scan in scans] == [("zorder", 2)] * 4
    with pytest.raises(ConfigError, match="there is no file"):
        build_model("resnet18", tmp_path / "nothing.safetensors")


def test_a_training_step():
    network = build_model("resnet18", "random").train()
    frozen = {key: t.clone() for key, t in network.encoder.state_dict().items()}
    trained = {key: p for key, p in network.named_parameters() if p.requires_grad}
    statistics = network.fusion.mix[1].running_mean
    assert {key.split(".")[0] for key in trained} == {"fusion", "decoder"}

    features, rebuilt, _ = network(torch.randn(2, 3, 64, 64))
    loss = squared_error_loss(features, rebuilt).mean()
    loss.backward()
    for key, parameter in trained.items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key

    assert not network.encoder.training
    assert all(p.grad is None for p in network.encoder.parameters())
    for key, tensor in network.encoder.state_dict().items():
        assert torch.equal(tensor, frozen[key]), key
    assert statistics.abs().max() > 0  # the fusion's batch normalisation, in contrast, learns


@pytest.mark.usefixtures("users_checks_only")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scan": "spiral"}, "^--scan: input should be 'sweep'"),
        ({"directions": 3}, "^--directions: input should be 1, 2, 4 or 8, got 3"),
        ({"depths": (1, 1, 1)}, "depths .in the file of settings.: expected four numbers"),
        (
            {"depths": (1, 1, 0, 1)},
            "depths .in the file of settings.: expected 1 block or more a stage",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_model("resnet18", "random", **settings)


def test_the_noisy_bottleneck_drops_cells_of_the_fused_map_in_training_alone(shallow):
    torch.manual_seed(0)
    noisy = build_system(
        make_config({"encoder": "resnet18", "depths": SHALLOW, "noisy_bottleneck": 0.25}), "random"
    )
    noisy.load_state_dict(shallow.state_dict())  # the noise has no weights
    seen = []
    noisy.decoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    features = shallow.encoder(torch.randn(2, 3, 64, 64))
    noisy.eval().reconstruct(features)
    noisy.training = True  # the noise alone: its parts stay as they are
    noisy.reconstruct(features)
    plain, dropped = seen
    torch.testing.assert_close(plain, shallow.fusion(features))
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], plain[kept] / 0.75)
    share = (~kept & (plain != 0)).sum() / (plain != 0).sum()
    assert float(share) == pytest.approx(0.25, abs=0.04)
