import json
import math
from pathlib import Path

import pytest

from mambaad.config import TrainConfig, config_json, make_config
from mambaad.errors import ConfigError
from mambaad.recipes import VARIANTS


def test_a_system_trains_as_its_paper_does_by_default():
    config = make_config({"system": "uniad", "epochs": 3})
    assert (config.encoder, config.size, config.batch_size) == ("tf_efficientnet_b4", (224, 224), 8)
    assert (config.lr, config.epochs) == (1e-4, 3)
    assert (
        make_config({"system": "rd4ad", "recipe": "fast"}).lr == make_config({"recipe": "fast"}).lr
    )


def test_the_defaults_are_the_released_recipe():
    config = make_config({})
    assert (config.encoder, config.size, config.scan) == ("resnet34", (256, 256), "hilbert")
    assert (config.directions, config.depths) == (8, (3, 4, 6, 3))
    assert (config.batch_size, config.lr, config.weight_decay) == (16, 0.005, 1e-4)
    assert (config.lr_drop_after, config.clip_grad) == (0.8, 5.0)
    assert (config.loss, config.schedule, config.epochs) == ("squared-error", "step", 100)
    assert (config.seed, config.precision) == (42, "32-true")


def test_a_recipe_sets_what_is_not_given():
    config = make_config({"recipe": "fast", "lr": 0.001})
    assert (config.loss, config.schedule, config.lr) == ("cosine", "cosine", 0.001)
    assert TrainConfig(**json.loads(config_json(config))) == config


def test_a_recipe_may_change_more_for_one_system():
    paper, fast = (make_config({"system": "uniad", "recipe": r}) for r in ("paper", "fast"))
    assert (paper.dropout, paper.normalise_features) == (0.1, False)
    assert (fast.dropout, fast.normalise_features) == (0.0, True)
    assert fast.loss == "squared-error"
    assert fast.epochs > make_config({"recipe": "fast"}).epochs
    assert make_config({"system": "uniad", "recipe": "fast", "dropout": 0.2}).dropout == 0.2
    rd4ad = make_config({"system": "rd4ad", "recipe": "fast"})
    assert (rd4ad.dropout, rd4ad.epochs) == (0.1, make_config({"recipe": "fast"}).epochs)


def test_lite_has_more_epochs_of_the_fast_recipe():
    assert make_config({"recipe": "fast"}).epochs == 6
    assert make_config({"recipe": "fast", "variant": "lite"}).epochs == 10
    assert make_config({"recipe": "fast", "variant": "lite", "epochs": 3}).epochs == 3
    assert make_config({"variant": "lite"}).epochs == TrainConfig().epochs


def test_a_variant_sets_what_is_not_given():
    config = make_config({"variant": "lite", "states": 4})
    assert (config.directions, config.states, config.expand) == (4, 4, 1)
    assert (config.depths, config.kernels) == ((1, 1, 1, 1), (5,))
    assert TrainConfig(**json.loads(config_json(config))) == config


DINO2, DINO3 = "vit_small_patch14_reg4_dinov2.lvd142m", "vit_base_patch16_dinov3.lvd1689m"


@pytest.mark.parametrize(
    ("encoder", "size", "groups"),
    [
        (DINO2, (392, 392), "auto"),
        (DINO3, (448, 448), "auto"),
        ("vit_tiny_patch16_224", (256, 256), "auto"),
        ("vit_large_patch14_clip_224.openai", (392, 392), "auto"),
        ("convnext_base.dinov3_lvd1689m", (256, 256), None),
        ("resnet18", (256, 256), None),
    ],
)
def test_a_vision_transformer_sets_groups_and_size_that_are_not_given(encoder, size, groups):
    config = make_config({"encoder": encoder, "recipe": "fast"})
    assert (config.size, config.encoder_groups) == (size, groups)
    assert TrainConfig(**json.loads(config_json(config))) == config
    other = make_config({"encoder": DINO2, "size": "28x392", "encoder_groups": [[0], [3, 1]]})
    assert (other.size, other.encoder_groups) == ((28, 392), ((0,), (3, 1)))
    assert TrainConfig(**json.loads(config_json(other))) == other


def test_baselines_keep_their_own_size_whatever_the_encoder():
    config = make_config({"system": "uniad", "encoder": "vit_tiny_patch16_224"})
    assert (config.size, config.encoder_groups) == ((224, 224), None)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"encoder": DINO2, "size": 256}, "--size: 256 is not a multiple of 14 between 14 and"),
        ({"encoder": DINO3, "size": 392}, "--size: 392 is not a multiple of 16 between 16 and"),
        (
            {"encoder": DINO2, "encoder_groups": [[1, 1]]},
            "encoder_groups (in the file of settings): expected auto, or 1 to 4 lists of blocks",
        ),
        ({"encoder": DINO2, "encoder_groups": [[1], []]}, "expected auto, or 1 to 4 lists of"),
        ({"encoder": DINO2, "encoder_groups": [[0, True]]}, "expected auto, or 1 to 4 lists of"),
        ({"encoder": DINO2, "encoder_groups": [1, 2]}, "got [1, 2]"),
        ({"encoder": DINO2, "encoder_groups": [[0], [1], [2], [3], [4]]}, "1 to 4 lists of blocks"),
        ({"encoder": DINO2, "encoder_groups": "thirds"}, "got 'thirds'"),
        (
            {"encoder_groups": "auto"},
            "encoder_groups (in the file of settings): expected a vision transformer whose name "
            "has its patch size, such as vit_small_patch16_dinov3, got 'resnet34'",
        ),
        (
            {"recentre": True},
            "recentre (in the file of settings) applies to a vision transformer's groups",
        ),
        ({"decoder_width": 64}, "decoder_width (in the file of settings) applies to a vision"),
        (
            {"encoder": DINO2, "decoder_width": 0},
            "decoder_width (in the file of settings): input should be greater than or equal to 1",
        ),
        (
            {"system": "uniad", "encoder_groups": "auto"},
            "encoder_groups (in the file of settings) applies to MambaAD only; omit it",
        ),
        ({"trim": -0.1}, "--trim: input should be greater than or equal to 0, got -0.1"),
        ({"exclude": "list.txt"}, "--exclude: input should be a valid tuple, got 'list.txt'"),
        ({"epochs": 0}, "--epochs: input should be greater than or equal to 1, got 0"),
        ({"lr": "fast"}, "--lr: input should be a valid number"),
        ({"lr": float("nan")}, "--lr: "),
        ({"size": "250"}, "--size: 250 is not a multiple of 32"),
        ({"size": (64, 100)}, "--size: 100 is not a multiple of 32"),
        ({"size": (0, 64)}, "--size: 0 is not a multiple of 32"),
        ({"scan": "spiral"}, "--scan: input should be 'sweep', 'scan'"),
        ({"mixer": "ssm"}, "--mixer: input should be 's6', 'vssd' or 'ssd', got 'ssm'"),
        (
            {"mixer": "vssd", "scan": "sweep"},
            "--scan: the mixer vssd has no use for it, got sweep; omit it, or --mixer vssd",
        ),
        (
            {"mixer": "ssd", "variant": "lite", "directions": 2},
            "--directions: the mixer ssd has no use for it, got 2; omit it, or --mixer ssd",
        ),
        ({"directions": 3}, "--directions: input should be 1, 2, 4 or 8, got 3"),
        (
            {"depths": (3, 0, 6, 3)},
            "depths (in the file of settings): expected 1 block or more a stage, got (3, 0, 6, 3)",
        ),
        ({"batch_size": 3, "devices": 2}, "--batch-size 3 is not a multiple of --devices 2"),
        ({"seed": -1}, "--seed: "),
        ({"recipe": "best"}, "--recipe: input should be 'paper' or 'fast', got 'best'"),
        ({"variant": "tiny"}, "--variant: input should be 'base' or 'lite', got 'tiny'"),
        (
            {"kernels": (4,)},
            "kernels (in the file of settings): expected odd sizes such as 3, 5 or 7, got (4,)",
        ),
        (
            {"depths": (1, 1, 1, 1, 1)},
            "depths (in the file of settings): expected four numbers, got (1, 1, 1, 1, 1)",
        ),
        (
            {"blocks": 2},
            "blocks (in the file of settings): 2 does not divide every one of depths (3, 4, 6, 3)",
        ),
        ({"system": "padim"}, "--system: expected one of mambaad, rd4ad, uniad, got 'padim'"),
        ({"system": "rd4ad", "mixer": "ssd"}, "--mixer applies to MambaAD only; omit it with"),
        ({"system": "rd4ad", "scan": "scan"}, "--scan applies to MambaAD only; omit it with"),
        (
            {"system": "uniad", "drop_path": 0.1},
            "drop_path (in the file of settings) applies to MambaAD only; omit it",
        ),
        (
            {"system": "rd4ad", "dropout": 0.2},
            "dropout (in the file of settings) applies to UniAD only; omit it",
        ),
        (
            {"normalise_features": True},
            "normalise_features (in the file of settings) applies to UniAD only; omit it",
        ),
        (
            {"system": "uniad", "loss": "cosine"},
            "loss (in the file of settings): uniad can be trained with squared-error only, got",
        ),
        (
            {"encoder": "embedded", "encoder_weights": "w.pth"},
            "--encoder-weights: the embedded encoder has its own weights, got 'w.pth'; omit it",
        ),
        (
            {"fold": (3, 2)},
            "fold (in the file of settings): expected k, K with K >= 2 and 1 <= k <= K, got (3, 2)",
        ),
        (
            {"fold": (1, 2), "holdout": 0.1},
            "--holdout and fold (in the file of settings) cannot be used together",
        ),
        (
            {"depths": (1, 65, 1, 1)},
            "depths, kernels (in the file of settings): expected at most 64 blocks a stage",
        ),
        (
            {"kernels": (65,)},
            "kernels (in the file of settings): expected sizes of at most 63, got 65",
        ),
        ({"batch_size": 1, "size": 32}, "--batch-size 1 with --size 32 gives batch normalisation"),
        (
            {"states": 0},
            "states (in the file of settings): input should be greater than or equal to 1, got 0",
        ),
        (
            {"loss": "l1"},
            "loss (in the file of settings): input should be 'squared-error' or 'cosine'",
        ),
        ({"precision": "8"}, "--precision: input should be '32-true' or 'bf16-mixed'"),
        (
            {"learning_rate": 1},
            "there is no setting 'learning_rate'; known: tiles, tile_views, tile_positions, ",
        ),
    ],
)
def test_a_bad_setting_is_one_line_that_names_its_flag(settings, complaint):
    with pytest.raises(ConfigError) as caught:
        make_config(settings)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_small_image_is_enough_where_nothing_is_normalised_over_the_batch():
    assert make_config({"encoder": DINO2, "size": 28, "batch_size": 1}).size == (28, 28)


def test_json_gives_the_same_configuration_back():
    config = make_config({"size": "224x320", "classes": ("a", "b"), "epochs": 3})
    assert TrainConfig(**json.loads(config_json(config))) == config


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mixer", ["s6", "vssd", "ssd"])
def test_a_mixer_takes_the_defaults_of_what_it_does_not_use(mixer, variant):
    config = make_config({"mixer": mixer, "variant": variant})
    assert TrainConfig(**json.loads(config_json(config))) == config
    assert make_config({"mixer": "ssd", "scan": "zigzag"}).scan == "zigzag"


def test_a_run_from_before_there_were_mixers_is_one_of_s6():
    stored = json.loads(config_json(make_config({"scan": "sweep", "directions": 2})))
    del stored["mixer"]
    assert TrainConfig(**stored).mixer == "s6"


def test_a_path_is_a_name_of_weights_as_good_as_any():
    assert make_config({"encoder_weights": Path("a.pth")}).encoder_weights == "a.pth"


def test_the_same_excluded_images_are_the_same_setting():
    names = ("b/2.png", "./a/1.png", "b/2.png")
    assert make_config({"exclude": names}).exclude == ("a/1.png", "b/2.png")
    assert make_config({"exclude": ()}) == TrainConfig()


@pytest.mark.parametrize("size", [(256, 256, 256), (256,)])
def test_too_many_or_too_few_numbers(size):
    with pytest.raises(ConfigError, match="--size: "):
        make_config({"size": size})


ODD_VALUES = (
    *(True, None, -1, 10**30, float("nan"), float("inf"), 1e-320, 1e308, "", "x" * 5000, "a\nb"),
    *([], [1], [1, 2, 3], [256, 256, 3], [True] * 4, [[1]], [None], ["x"] * 3000, {"a": 1}),
)


@pytest.mark.parametrize("name", TrainConfig.model_fields)
def test_odd_values_are_taken_as_they_are_or_refused_in_a_short_line(name):
    for value in ODD_VALUES:
        config, refusal = tried({name: value})
        assert refusal.isprintable()
        assert len(refusal) < 400
        if config:  # what its file can hold, and no number was made of true
            assert make_config(json.loads(config_json(config))) == config
            assert value is not True or getattr(config, name) is True
            assert not (isinstance(value, float) and not math.isfinite(value))


def tried(settings):
    """The configuration, or else the refusal."""
    try:
        return make_config(settings), ""
    except ConfigError as error:
        return None, str(error)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"size": [256, 256, 3]}, "--size: expected two numbers, got [256, 256, 3]"),
        ({"fold": [1, 2, 3]}, "fold (in the file of settings): expected two numbers, got"),
        ({"depths": [1, 2]}, "depths (in the file of settings): expected four numbers, got"),
        ({"epochs": True}, "--epochs: input should be a number, got True"),
        ({"kernels": [5, True]}, "kernels (in the file of settings): input should be a number"),
        ({"lr": float("inf")}, "--lr: input should be a finite number, got inf"),
        ({"resume": True}, "resume is no setting, but an argument of the command"),
        ({"x" * 5000: 1}, "there is no setting 'xxxx"),
    ],
)
def test_wrong_shapes_and_names(settings, complaint):
    with pytest.raises(ConfigError) as caught:
        make_config(settings)
    assert str(caught.value).startswith(complaint)
