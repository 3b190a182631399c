import pytest

from mambaad.workflows.benchmark.published import PUBLISHED, published

SETTINGS = {"system": "mambaad", "seed": 42, "encoder": "resnet34.bt_in1k", "epochs": 500}
RESULT = {
    "protocol": "ader-paper",
    "size": [256, 256],
    "classes": {str(i): {} for i in range(15)},
    "settings": SETTINGS,
}


def test_the_published_means_are_those_of_the_papers_tables():
    """mAD as printed there, to the digit."""
    for data, system, mad in [
        ("mvtec", "rd4ad", 82.3),
        ("mvtec", "uniad", 81.7),
        ("mvtec", "mambaad", 86.0),
        ("visa", "mambaad", 78.7),
        ("visa", "rd4ad", 77.8),
        ("visa", "uniad", 74.6),
        ("real-iad", "mambaad", 72.7),
        ("real-iad", "rd4ad", 68.6),
        ("real-iad", "uniad", 67.5),
    ]:
        assert PUBLISHED[data][system]["mad"] == pytest.approx(mad, abs=0.0501)


def test_figures_are_put_beside_those_of_the_same_protocol_alone():
    theirs = PUBLISHED["mvtec"]["mambaad"]
    assert published("mvtec", RESULT) == (theirs, True)
    assert published(None, RESULT) == (None, False)
    for change in (
        {"protocol": "exact"},
        {"size": [512, 512]},
        {"classes": {"bottle": {}}},
        {"settings": {**SETTINGS, "encoder": "resnet18"}},
        {"settings": {"peer": "patchcore"}},
    ):
        assert published("mvtec", {**RESULT, **change}) == (None, False), change


def test_a_difference_is_given_where_the_training_is_the_published_one_alone():
    for change in (
        {"encoder": "resnet34"},  # timm's own default has other weights
        {"recipe": "fast"},
        {"encoder_weights": "mine.safetensors"},
        {"scan": "sweep"},
        {"epochs": 100},
        {"precision": "bf16-mixed"},
    ):
        result = {**RESULT, "settings": {**SETTINGS, **change}}
        assert published("mvtec", result) == (PUBLISHED["mvtec"]["mambaad"], False), change
    rd4ad = {**RESULT, "settings": {"system": "rd4ad", "seed": 42}}
    assert published("mvtec", rd4ad) == (PUBLISHED["mvtec"]["rd4ad"], False)
