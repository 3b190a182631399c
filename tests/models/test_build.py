"""One assembly for all systems: each is built, trains, is stored and inspects in one loop."""

import importlib

import numpy as np
import pytest
import torch

import mambaad
from mambaad.artifacts.manifest import CONFIG, WEIGHTS
from mambaad.artifacts.run_folder import create_run, new_folder, read_config, read_log
from mambaad.config import make_config
from mambaad.data.images import read_image
from mambaad.errors import ConfigError
from mambaad.inference.explain import Explainer
from mambaad.inference.weights import load_model, weights_content
from mambaad.models.build import BUILDERS, build_model, build_system
from mambaad.models.decoder import GridDecoder
from mambaad.models.encoder import Encoder
from mambaad.models.lss import HSSBlock
from mambaad.models.mixers.ss2d import SS2D
from mambaad.models.mixers.ssd import SSD
from mambaad.models.mixers.table import MIXERS
from mambaad.models.mixers.vssd import VSSD
from mambaad.recipes import SYSTEMS, UNUSED_BY_MIXER, SystemDefaults
from tests.runs import change_json, read

# UniAD is blind to 7 x 7 cells, and so needs images of 8 x 8.
SETTINGS = {"rd4ad": {"size": "32"}, "uniad": {"size": "32x128"}}
TINY = {"encoder": "resnet18", "encoder_weights": "random", "epochs": 1, "batch_size": 4}


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_every_system_has_defaults_and_a_builder_and_its_title_is_its_class():
    assert SYSTEMS.keys() == BUILDERS.keys()
    for name, defaults in SYSTEMS.items():
        with torch.device("meta"):
            model = build_system(make_config({"system": name, "encoder": "resnet18"}), "random")
        assert type(model).__name__ == defaults.title


def test_a_configuration_and_the_same_arguments_describe_one_model():
    settings = {
        "mixer": "s6",
        "scan": "zorder",
        "directions": 2,
        "states": 4,
        "expand": 1,
        "depths": (2, 1, 3, 1),
        "kernels": (3,),
    }
    with torch.device("meta"):
        described = build_system(make_config({"encoder": "resnet18", **settings}), "random")
        given = build_model("resnet18", "random", **settings)
    assert shapes(described) == shapes(given)


@pytest.mark.parametrize(("mixer", "block"), [("s6", SS2D), ("vssd", VSSD), ("ssd", SSD)])
def test_a_mixer_is_used_in_all_blocks_with_the_settings_that_it_takes(mixer, block):
    settings = {"encoder": "resnet18", "mixer": mixer, "variant": "lite", "states": 4}
    if mixer == "ssd":
        settings["scan"] = "sweep"
    with torch.device("meta"):
        model = build_system(make_config(settings), "random")
    blocks = [m.ss2d for m in model.decoder.modules() if isinstance(m, HSSBlock)]
    assert [type(m) for m in blocks] == [block] * 4
    for m, channels in zip(blocks, (512, 256, 128, 64), strict=True):
        assert m.out_proj.weight.shape == (channels, channels)  # expand 1
        assert mixer == "s6" or m.states == 4
        assert mixer != "ssd" or m.scan == "sweep"
    assert MIXERS.keys() == UNUSED_BY_MIXER.keys()


@pytest.mark.parametrize("mixer", ["vssd", "ssd"])
def test_a_mixer_trains_and_inspects(mixer, parts, tmp_path):
    settings = {**TINY, "variant": "lite", "size": "64x32", "mixer": mixer}
    run = mambaad.train(parts, tmp_path / "run", **settings)
    prediction = mambaad.Inspector(run).inspect(next((parts / "nut" / "test").rglob("*.png")))
    assert np.isfinite(prediction.anomaly_map).all()
    model = read(load_model, run)
    images = torch.randn(1, 3, 64, 32)
    with torch.inference_mode():
        for found, expected in zip(
            mambaad.Inspector(run).engine.model(images).reconstructed,
            model(images).reconstructed,
            strict=True,
        ):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_the_configuration_says_how_many_blocks_an_lss_module_has():
    settings = {"encoder": "resnet18", "depths": (2, 2, 2, 2)}
    with torch.device("meta"):
        paired = build_system(make_config(settings), "random")
        single = build_system(make_config({**settings, "blocks": 1}), "random")
    modules = [[len(stage.lss_modules) for stage in m.decoder.stages] for m in (paired, single)]
    assert modules == [[1, 1, 1, 1], [2, 2, 2, 2]]


def test_rd4ad_mirrors_the_embedded_encoder():
    config = make_config({"system": "rd4ad", "encoder": "embedded"})
    mirrored = make_config({"system": "rd4ad", "encoder": "resnet18"})
    with torch.device("meta"):
        assert shapes(build_system(config, "random")) == shapes(build_system(mirrored, "random"))


@pytest.mark.parametrize("name", SETTINGS)
def test_another_system_trains_and_inspects(name, parts, tmp_path):
    run = mambaad.train(parts, tmp_path / "run", system=name, **TINY, **SETTINGS[name])
    inspector = mambaad.Inspector(run)
    image = next((parts / "nut" / "test").rglob("*.png"))
    prediction = inspector.inspect(image)
    assert prediction.anomaly_map.shape == inspector.size
    assert np.isfinite(prediction.anomaly_map).all()
    assert prediction.product in inspector.products

    # What is inspected with is what was trained: the form for inference changes nothing.
    model = read(load_model, run)
    assert type(model).__name__ == SYSTEMS[name].title
    images = torch.randn(1, 3, *inspector.size)
    with torch.inference_mode():
        for found, expected in zip(
            inspector.engine.model(images).reconstructed, model(images).reconstructed, strict=True
        ):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_other_systems_have_no_bfloat16(parts, tmp_path):
    run = mambaad.train(parts, tmp_path / "run", system="rd4ad", **TINY, size="32")
    with pytest.raises(mambaad.MambaADError, match="RD4AD has float32 only"):
        mambaad.Inspector(run, "bfloat16")


GRID = {
    "encoder": "vit_tiny_patch16_224",
    "encoder_weights": "random",
    "encoder_groups": [[0], [1, 2]],
    "decoder_width": 32,
    "variant": "lite",
    "size": "48x80",  # no multiples of 32
    "batch_size": 4,
}


def test_a_vision_transformer_on_one_grid_trains_and_inspects(parts, tmp_path):
    fast = {"epochs": 2, "recipe": "fast", "head_steps": 4}
    run = mambaad.train(parts, tmp_path / "run", **GRID, **fast, recentre=True)
    first, last = (record["loss"] for record in read(read_log, run))
    assert last < first
    model = read(load_model, run)
    assert type(model.decoder) is GridDecoder
    inspector = mambaad.Inspector(run)
    assert inspector.size == (48, 80)
    assert mambaad.evaluate(run, parts).classes.keys() == {"bolt", "nut"}
    image = read_image(parts / "nut" / "test" / "spot" / "000.png")
    prediction = inspector.inspect(image)
    assert prediction.product in ("bolt", "nut")
    found = Explainer(model, inspector.size).explain(image)
    scored = found.scale_maps.sum(axis=0)
    assert scored.max() == pytest.approx(prediction.score, abs=1e-4)
    assert (scored <= prediction.anomaly_map + 1e-4).all()  # to which the head has added
    assert found.strides == (16, 16)
    assert sum(found.scale_shares) == pytest.approx(1, abs=1e-5)
    assert len(found.directions) == 4
    half = mambaad.Inspector(run, "bfloat16").inspect(image)
    assert half.score == pytest.approx(prediction.score, rel=0.1)


def test_features_that_are_kept_train_the_same_in_mixed_precision(parts, tmp_path):
    settings = {**GRID, "epochs": 2, "precision": "bf16-mixed"}
    kept, computed = (
        read(load_model, mambaad.train(parts, tmp_path / name, **settings, cache_features=name))
        for name in ("memory", "off")
    )
    for name, tensor in kept.state_dict().items():
        assert torch.equal(tensor, computed.state_dict()[name]), name


def test_images_of_a_transformer_are_multiples_of_its_patches():
    model = build_system(make_config(GRID), "random").eval()
    assert [tuple(f.shape[2:]) for f in model(torch.randn(1, 3, 16, 48)).features] == [(1, 3)] * 2
    with pytest.raises(ConfigError, match=r"images are 48 x 40, expected sides .* of 16;"):
        model(torch.randn(1, 3, 48, 40))


def test_a_transformers_run_from_before_there_were_groups_keeps_its_pyramid(tmp_path):
    new = ("encoder_groups", "recentre", "decoder_width")
    settings = {"encoder": "vit_tiny_patch16_224", "variant": "lite", "encoder_groups": None}
    config = make_config({**settings, "size": 64})
    weights = {WEIGHTS: weights_content(build_system(config, "random"))}
    with new_folder(tmp_path / "run"):
        create_run(tmp_path / "run", config, {"classes": {}, "fingerprint": ""}, weights)
    change_json(tmp_path / "run", CONFIG, lambda c: {k: v for k, v in c.items() if k not in new})
    assert read(read_config, tmp_path / "run") == config
    features = read(load_model, tmp_path / "run")(torch.randn(1, 3, 64, 64)).features
    assert [f.shape[2] for f in features] == [16, 8, 4]


@pytest.mark.parametrize("system", ["rd4ad", "uniad"])
def test_baselines_refuse_patches_of_14_pixels_in_one_line(system):
    config = make_config({"system": system, "encoder": "vit_small_patch14_reg4_dinov2"})
    with pytest.raises(ConfigError, match="expected feature maps at strides 4, 8 and 16") as error:
        build_system(config, "random")
    assert "\n" not in str(error.value)


FURTHER = '''
from torch import nn

from mambaad.models.system import System


class Blurred(System):
    """Rebuilds each map from its blurred self."""

    def __init__(self, encoder):
        super().__init__(encoder)
        self.mix = nn.ModuleList(nn.Conv2d(c, c, 1) for c in encoder.channels)

    def reconstruct(self, features):
        blurred = (nn.functional.avg_pool2d(f, 3, 1, 1) for f in features)
        return [mix(b) for mix, b in zip(self.mix, blurred, strict=True)]
'''


def test_a_further_system_is_one_file_and_a_line_in_each_table(parts, tmp_path, monkeypatch):
    (tmp_path / "blurred.py").write_text(FURTHER)
    monkeypatch.syspath_prepend(str(tmp_path))
    blurred = importlib.import_module("blurred")
    defaults = SystemDefaults("Blurred", {"encoder": "resnet18", "lr": 0.01}, "cosine")
    monkeypatch.setitem(SYSTEMS, "blurred", defaults)
    monkeypatch.setitem(
        BUILDERS,
        "blurred",
        lambda config, weights: blurred.Blurred(Encoder(config.encoder, weights)),
    )
    run = mambaad.train(
        parts, tmp_path / "run", system="blurred", encoder_weights="random", epochs=2, size="32"
    )
    assert mambaad.evaluate(run, parts).classes.keys() == {"bolt", "nut"}
    assert type(read(load_model, run)).__name__ == "Blurred"
