import pytest

from mambaad.benchmark.published import PUBLISHED, published

RESULT = {
    "protocol": "ader-paper",
    "size": [256, 256],
    "classes": {str(i): {} for i in range(15)},
    "settings": {"system": "mambaad", "seed": 42},
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


def test_figures_are_compared_in_the_same_setting_alone():
    assert published("mvtec", RESULT) == PUBLISHED["mvtec"]["mambaad"]
    assert published(None, RESULT) is None
    assert published("nothing", RESULT) is None
    for change in (
        {"protocol": "exact"},
        {"size": [512, 512]},
        {"classes": {"bottle": {}}},
        {"settings": {"encoder": "resnet18"}},
        {"settings": {"recipe": "fast"}},
        {"settings": {"encoder_weights": "mine.safetensors"}},
        {"settings": {"scan": "sweep"}},
        {"settings": {"epochs": 5}},
    ):
        assert published("mvtec", {**RESULT, **change}) is None, change
