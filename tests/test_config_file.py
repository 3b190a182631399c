"""Reading files of settings."""

import pytest

from mambaad.config import make_config
from mambaad.config_file import read_config_file
from mambaad.errors import ConfigError


def test_a_file_of_settings(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("epochs: 50\nsize: 224x320\nclasses: [a, b]\n")
    config = make_config(read_config_file(path))
    assert (config.epochs, config.size, config.classes) == (50, (224, 320), ("a", "b"))


def test_names_are_text_however_they_are_written(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("epochs: 5\nclasses: [01, no, 1e3, ~, 2024-05-01, 'a: b', \"a,b\", ü]\n")
    settings = read_config_file(path)
    assert settings["classes"] == ["01", "no", "1e3", "~", "2024-05-01", "a: b", "a,b", "ü"]
    assert settings["epochs"] == 5
    path.write_text("data:\n  btad: {path: x, classes: [01, 02]}\n")
    assert read_config_file(path)["data"]["btad"]["classes"] == ["01", "02"]
    path.write_text("data: {a: {layout: {train: 01, good: [no, 1e3], columns: {image: 2}}}}\n")
    layout = read_config_file(path)["data"]["a"]["layout"]
    assert layout == {"train": "01", "good": ["no", "1e3"], "columns": {"image": "2"}}


@pytest.mark.parametrize("text", ["epochs: 5\nepochs: 6\n", "data: {a: {path: x, path: y}}\n"])
def test_a_setting_that_is_given_twice_is_refused(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"'(epochs|path)' is given twice; keep one") as caught:
        read_config_file(path)
    assert "\n" not in str(caught.value)
    path.write_text("a: &a {epochs: 5}\nb: {<<: *a, epochs: 6}\n")  # what is merged is replaced
    assert read_config_file(path)["b"] == {"epochs": 6}


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "just text", "", "a: [", "\x00"])
def test_not_a_file_of_settings(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"^--config: ") as caught:
        read_config_file(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config_file(tmp_path / "absent.yaml")
