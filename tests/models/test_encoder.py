"""The frozen encoder: which maps it gives, and which weights it takes."""

import os
import pickle
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from mambaad.errors import ConfigError
from mambaad.models.encoder import Encoder


def is_loaded(encoder: Encoder, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(t, state[key]) for key, t in encoder.backbone.state_dict().items())


@torch.no_grad()
def test_without_groups_the_first_maps_of_a_vision_transformer_are_resized_to_a_pyramid():
    torch.manual_seed(0)
    encoder = Encoder("vit_tiny_patch16_224", "random")
    images = torch.randn(1, 3, 64, 96)
    fine, middle, coarse = encoder(images)
    assert [tuple(m.shape) for m in (fine, middle, coarse)] == [
        (1, 192, 16, 24),
        (1, 192, 8, 12),
        (1, 192, 4, 6),
    ]
    assert (len(encoder.backbone.model.blocks), encoder.multiple) == (3, 32)
    own = encoder.backbone(images)
    assert torch.equal(coarse, own[2])
    assert torch.equal(middle, torch.nn.functional.interpolate(own[1], (8, 12), mode="bilinear"))


@torch.no_grad()
def test_groups_of_a_vision_transformer_are_on_the_grid_of_its_patches():
    encoder = Encoder("vit_small_patch14_reg4_dinov2", "random", groups="auto")
    assert (encoder.channels, encoder.strides, encoder.multiple) == ((384, 384), (14, 14), 14)
    assert len(encoder.backbone.model.blocks) == 10  # the last two are not needed
    maps = encoder(torch.randn(2, 3, 56, 28))
    assert [tuple(m.shape) for m in maps] == [(2, 384, 4, 2)] * 2
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not any(module.training for module in encoder.train().modules())


@pytest.mark.parametrize(
    ("name", "groups", "recentre", "message"),
    [
        (
            "vit_tiny_patch16_224",
            [[2], [12]],
            False,
            "encoder_groups (in the file of settings): 'vit_tiny_patch16_224' has the blocks 0 to "
            "11, got 12; give others",
        ),
        (
            "swin_tiny_patch4_window7_224",
            "auto",
            False,
            "--encoder: encoder_groups needs a vision transformer with maps on one grid, but those",
        ),
        (
            "vit_wee_patch16_reg1_gap_256",
            [[0]],
            True,
            "recentre (in the file of settings): 'vit_wee_patch16_reg1_gap_256' has no class token",
        ),
    ],
)
def test_groups_that_cannot_be_are_refused_in_one_line(name, groups, recentre, message):
    with pytest.raises(ConfigError) as error:
        Encoder(name, "random", groups=groups, recentre=recentre)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_maps_at_strides_4_8_and_16():
    encoder = Encoder("resnet18", "random")
    maps = encoder(torch.randn(2, 3, 96, 64))
    assert encoder.channels == (64, 128, 256)
    assert [tuple(m.shape) for m in maps] == [(2, 64, 24, 16), (2, 128, 12, 8), (2, 256, 6, 4)]
    # The decoder works on channels-last maps: another layout would be copied for every loss.
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


def test_it_never_trains():
    encoder = Encoder("resnet18", "random")
    before = {key: t.clone() for key, t in encoder.state_dict().items()}
    torch.nn.Sequential(encoder).train()
    maps = encoder(torch.randn(2, 3, 64, 64, requires_grad=True))
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not any(m.requires_grad for m in maps)
    assert all(torch.equal(t, before[key]) for key, t in encoder.state_dict().items())


# Each writes the classifier's weights in one of the ways in which people keep them.


def as_safetensors(state, folder):
    save_file(state, folder / "w.safetensors")
    return folder / "w.safetensors"


def as_pth(state, folder):
    torch.save(state, folder / "w.pth")
    return folder / "w.pth"


def as_old_pth(state, folder):
    torch.save(state, folder / "w.pth", _use_new_zipfile_serialization=False)
    return folder / "w.pth"


def as_training_checkpoint(state, folder):
    torch.save({"epoch": 3, "arch": "resnet18", "state_dict": state}, folder / "w.pth")
    return folder / "w.pth"


@pytest.mark.parametrize("save", [as_safetensors, as_pth, as_old_pth, as_training_checkpoint])
def test_weights_from_a_classifiers_file(save, classifier, tmp_path):
    # It has layer4 and fc too, which are not used.
    assert is_loaded(Encoder("resnet18", save(classifier, tmp_path)), classifier)


def used(classifier: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: t for key, t in classifier.items() if not key.startswith(("layer4.", "fc."))}


def test_weights_of_the_used_stages_without_counters(classifier, tmp_path):
    state = {key: t for key, t in used(classifier).items() if "num_batches" not in key}
    encoder = Encoder("resnet18", str(as_safetensors(state, tmp_path)))
    assert is_loaded(encoder, {**state, **counters(encoder)})


def counters(encoder: Encoder) -> dict[str, torch.Tensor]:
    state = encoder.backbone.state_dict()
    return {key: t for key, t in state.items() if key.endswith("num_batches_tracked")}


def test_imagenet_weights(resnet18_weights):
    encoder = Encoder("resnet18", resnet18_weights)
    state = load_file(resnet18_weights)
    assert is_loaded(encoder, {**counters(encoder), **state})


# Each returns a path that cannot be used.


def absent(_, folder):
    return folder / "nothing.pth"


def a_folder(_, folder):
    return folder


def truncated(save):
    def write(state, folder):
        path = save(state, folder)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    return write


def empty(name):
    def write(_, folder):
        (folder / name).touch()
        return folder / name

    return write


def a_list(state, folder):
    return as_pth(list(state.values()), folder)


def numbers_by_name(state, folder):
    return as_pth(dict.fromkeys(state, 1.0), folder)


def a_whole_module(_, folder):
    torch.save(torch.nn.Linear(2, 2), folder / "w.pth")
    return folder / "w.pth"


def without_two_tensors(state, folder):
    kept = {k: t for k, t in state.items() if k not in ("layer1.0.bn1.bias", "conv1.weight")}
    return as_safetensors(kept, folder)


def wider_stem(state, folder):
    return as_safetensors({**state, "conv1.weight": torch.zeros(64, 3, 3, 3)}, folder)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (absent, "there is no file .*nothing.pth"),
        (a_folder, "it is no regular file"),
        (truncated(as_safetensors), "w.safetensors is neither a safetensors file nor a .pth"),
        (truncated(as_pth), "w.pth is neither a safetensors file nor a .pth"),
        (truncated(as_old_pth), "w.pth is neither a safetensors file nor a .pth"),
        (empty("e.safetensors"), "e.safetensors is neither a safetensors file nor a .pth"),
        (empty("e.pth"), "e.pth is neither a safetensors file nor a .pth"),
        (a_list, "does not hold tensors of real numbers by name"),
        (numbers_by_name, "does not hold tensors of real numbers by name"),
        (a_whole_module, "plain tensors"),
        (without_two_tensors, r"lacks 2 of the \d+ tensors of resnet18 \(first: conv1.weight\)"),
        (wider_stem, r"conv1.weight of shape \(64, 3, 3, 3\), resnet18 expects \(64, 3, 7, 7\)"),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_weights_that_cannot_be_used_are_refused_in_one_line(write, message, classifier, tmp_path):
    path = write(used(classifier), tmp_path)
    with pytest.raises(ConfigError, match=message) as error:
        Encoder("resnet18", path)
    assert str(error.value).startswith("--encoder-weights: ")
    assert "\n" not in str(error.value)


class MakesAFolder:
    """What an attacker would put into a weights file: loading it runs a command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("pickled", [True, False])
def test_code_in_a_file_is_never_run(pickled, classifier, tmp_path):
    made, path = tmp_path / "made", tmp_path / "w.pth"
    attack = {"conv1.weight": classifier["conv1.weight"], "fc.weight": MakesAFolder(made)}
    if pickled:
        path.write_bytes(pickle.dumps(attack, protocol=2))
    else:
        torch.save(attack, path)
    with pytest.raises(ConfigError, match=r"^--encoder-weights: .*plain tensors") as error:
        Encoder("resnet18", path)
    assert "\n" not in str(error.value)
    assert not made.exists()
    # Not because the attack is harmless: read without care it does what it wants.
    if pickled:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert made.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "timm has no architecture 'resnet19'; try resnet34"),
        ("", "timm has no architecture ''"),
        ("swin_tiny_patch4_window7_224", "does not turn images of any size"),
        ("resnet18.nonsense", "Invalid pretrained tag"),
        (
            "vit_tiny_r_s16_p8_224",
            "timm cannot give feature maps|expected feature maps at strides 4, 8 and 16",
        ),
        (
            "levit_128s",
            "timm cannot give feature maps|expected feature maps at strides 4, 8 and 16",
        ),
        (
            "pit_ti_224",
            "timm cannot give feature maps|expected feature maps at strides 4, 8 and 16",
        ),
    ],
)
def test_architectures_that_do_not_fit_are_refused_in_one_line(name, message):
    with pytest.raises(ConfigError, match=message) as error:
        Encoder(name, "random")
    assert str(error.value).startswith("--encoder: ")
    assert "\n" not in str(error.value)


def test_no_network_for_timms_weights(tmp_path, monkeypatch):
    # As with HF_HUB_OFFLINE=1, which is read once, when the client is imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"'resnet18'.* with --encoder-weights FILE") as error:
        Encoder("resnet18", "timm")
    assert "\n" not in str(error.value)


def test_without_network_the_error_names_both_remedies(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"--encoder-weights FILE.* --encoder embedded$"):
        Encoder("resnet34", "timm")


def test_embedded_encoder_comes_with_the_package():
    encoder = Encoder("embedded")
    assert encoder.channels == (64, 128, 256)
    state = encoder.backbone.state_dict()
    assert all(torch.isfinite(t).all() for t in state.values())
    other = Encoder("embedded").backbone.state_dict()
    assert all(torch.equal(t, other[key]) for key, t in state.items())
    random = Encoder("embedded", "random").backbone.state_dict()
    assert not torch.equal(random["conv1.weight"], state["conv1.weight"])


def test_embedded_encoder_takes_no_other_weights(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^--encoder-weights: the embedded encoder has its own weights"
    ):
        Encoder("embedded", tmp_path / "weights.safetensors")
