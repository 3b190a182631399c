import pytest
import timm
import torch
from torch import nn

from mambaad.errors import ConfigError
from mambaad.models.baselines.rd4ad import RD4AD


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def encoder(architecture):
    return timm.create_model(architecture, features_only=True, out_indices=(1, 2, 3))


@pytest.mark.parametrize(
    ("architecture", "published"), [("wide_resnet50_2", 80.61), ("resnet18", None)]
)
def test_parameters_are_as_many_as_published(architecture, published):
    with torch.device("meta"):
        model = RD4AD(encoder(architecture), architecture)
    if published:
        assert millions(model) == pytest.approx(published, abs=0.005)
    else:
        # The bottleneck's stage and the mirrored stages are much larger than the encoder's three.
        assert millions(model) > 5 * millions(model.encoder)


@pytest.mark.parametrize(
    ("architecture", "official"),
    [("resnet18", True), ("resnet34", False), ("resnet50", True), ("wide_resnet50_2", False)],
)
def test_the_bottleneck_is_the_official_one_or_aders(architecture, official):
    """Weights counted from each form's definition; see the class for which is whose."""

    def conv(c_in, c_out, side):  # with its batch norm
        return c_in * c_out * side**2 + 2 * c_out

    def basic(c_in, shortcut):
        return conv(c_in, 512, 3) + conv(512, 512, 3) + shortcut * conv(c_in, 512, 1)

    def bottleneck(c_in, inner, shortcut):
        branch = conv(c_in, inner, 1) + conv(inner, inner, 3) + conv(inner, 2048, 1)
        return branch + shortcut * conv(c_in, 2048, 1)

    def wide(inner):
        return bottleneck(3072, inner, True) + 2 * bottleneck(2048, inner, False)

    def down(expansion):
        c1, c2, c3 = (expansion * c for c in (64, 128, 256))
        return conv(c1, c2, 3) + 2 * conv(c2, c3, 3)

    two, three = (down(1) + basic(768, True) + n * basic(512, False) for n in (1, 2))
    theirs = {
        "resnet18": two,
        "resnet34": three,
        "resnet50": down(4) + wide(512),
        "wide_resnet50_2": down(4) + wide(1024),
    }
    assert (round(three / 1e6, 1), round(theirs["wide_resnet50_2"] / 1e6, 1)) == (16.4, 58.9)
    ours = {**theirs, "resnet34": two, "wide_resnet50_2": down(4) + wide(512)}
    with torch.device("meta"):
        model = RD4AD(nn.Identity(), architecture)
    count = sum(p.numel() for p in model.bottleneck.parameters())
    assert count == ours[architecture]
    assert (count == theirs[architecture]) is official


@pytest.mark.parametrize("architecture", ["resnet18", "resnet34", "resnet50"])
def test_rebuilt_maps_have_the_shapes_of_the_encoders(architecture):
    torch.manual_seed(0)
    model = RD4AD(encoder(architecture), architecture).eval()
    features, reconstructed, _ = model(torch.randn(1, 3, 64, 96))
    assert [m.shape for m in reconstructed] == [m.shape for m in features]


def test_other_encoders_are_refused():
    with pytest.raises(ConfigError, match="must be one of resnet18"):
        RD4AD(nn.Identity(), "tf_efficientnet_b4")


@pytest.mark.parametrize("architecture", ["resnet18", "wide_resnet50_2"])
def test_anomalibs_model_of_equal_weights_gives_the_same_features(architecture):
    torch_model = pytest.importorskip("anomalib.models.image.reverse_distillation.torch_model")
    torch.manual_seed(0)
    layers = ["layer1", "layer2", "layer3"]
    mode = torch_model.AnomalyMapGenerationMode.ADD
    theirs = torch_model.ReverseDistillationModel(architecture, (64, 64), layers, mode, False)
    ours = RD4AD(theirs.encoder.feature_extractor, architecture)
    copy_weights(theirs.bottleneck, ours.bottleneck, BOTTLENECK)
    copy_weights(theirs.decoder, ours.decoder, DECODER)
    images = torch.randn(2, 3, 64, 64)
    theirs.train()(images)  # batch norms that are no identities
    copy_weights(theirs.bottleneck, ours.bottleneck, BOTTLENECK)
    copy_weights(theirs.decoder, ours.decoder, DECODER)
    with torch.inference_mode():
        features = list(theirs.eval().encoder(images).values())
        expected = theirs.decoder(theirs.bottleneck(features))
        found = ours.eval().reconstruct(features)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, atol=1e-4, rtol=1e-4)


# Anomalib's names and ours, in the order in which they are tried.
BLOCK = [
    (".upsample.", ".shortcut."),
    (".conv1.", ".branch.0."),
    (".bn1.", ".branch.1."),
    (".conv2.", ".branch.3."),
    (".bn2.", ".branch.4."),
    (".conv3.", ".branch.6."),
    (".bn3.", ".branch.7."),
]
DECODER = [("layer1", "stages.0"), ("layer2", "stages.1"), ("layer3", "stages.2"), *BLOCK]
BOTTLENECK = [
    ("bn_layer.", "stage."),
    ("conv4.", None),  # of the released code, never used
    ("bn4.", None),
    ("conv1.", "down1.0."),
    ("bn1.", "down1.1."),
    ("conv2.", "down1.3."),
    ("bn2.", "down1.4."),
    ("conv3.", "down2.0."),
    ("bn3.", "down2.1."),
]


def copy_weights(source, target, names):
    state = {}
    for name, tensor in source.state_dict().items():
        new = name
        for theirs, ours in names:
            if names is BOTTLENECK:
                if name.startswith(theirs):
                    new = None if ours is None else ours + name.removeprefix(theirs)
                    break
            else:
                new = new.replace(theirs, ours)
        if new is not None:
            state[new] = tensor
    target.load_state_dict(state)
