"""The help of every command, and its place in the documents."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mambaad.cli.app import app
from mambaad.config import _WITH_FLAG, TrainConfig, make_config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def tree(command, words=()):
    """Every command and group below one, with the words that are typed for it."""
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from tree(child, (*words, name))


COMMANDS = {" ".join(words): command for words, command in tree(typer.main.get_command(app))}
BRACKETS = {
    (words, bracket)
    for words, command in COMMANDS.items()
    for parameter in command.params
    for bracket in re.findall(r"\[.+?\]", getattr(parameter, "help", None) or "")
}


def help_of(words, columns):
    result = CliRunner().invoke(app, [*words.split(), "--help"], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    return result.output


def test_the_tree_is_walked_to_its_leaves():
    assert {"", "train", "registry", "registry promote", "data build-coco-ad"} <= COMMANDS.keys()


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_and_option_explains_itself(words):
    assert "Usage: " in help_of(words, 80)
    command = COMMANDS[words]
    assert command.help
    assert [p.name for p in command.params if not getattr(p, "help", None)] == []


@pytest.mark.parametrize("words", sorted(COMMANDS.keys() - {""}))
def test_every_command_and_group_is_documented(words):
    assert re.search(rf"\bmambaad +{words.replace(' ', ' +')}(?![\w-])", DOCUMENTS), (
        f"mambaad {words}: neither in README.md nor in docs/"
    )


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("words", sorted({words for words, _ in BRACKETS}))
def test_defaults_in_brackets_show(words, columns):
    shown = re.sub(r"\s", "", help_of(words, columns))  # lines are broken at any place
    for bracket in [bracket for owner, bracket in BRACKETS if owner == words]:
        assert bracket.replace(" ", "") in shown


def test_defaults_in_brackets_are_those_of_the_settings():
    assert {("train", "[mambaad]"), ("train", "[paper]")} <= BRACKETS
    compared = set()
    for parameter in COMMANDS["train"].params:
        stated = re.search(r"\[([\w.-]+)(?:; fast: ([\w.-]+))?[;\]]", parameter.help or "")
        for recipe, text in zip(("paper", "fast"), stated.groups() if stated else (), strict=False):
            default = getattr(make_config({"recipe": recipe}), parameter.name)
            if text is not None and isinstance(default, (str, int, float)):
                shown = f"{default:g}" if isinstance(default, float) else str(default)
                assert text == shown, parameter.name
                compared.add((parameter.name, recipe))
    assert {("system", "paper"), ("lr", "fast"), ("epochs", "fast")} <= compared


def test_the_settings_with_a_flag_are_those_of_mambaad_train():
    flags = {parameter.name for parameter in COMMANDS["train"].params}
    assert set(_WITH_FLAG) == flags & TrainConfig.model_fields.keys()


def test_no_line_of_the_list_of_commands_is_cut_off():
    for words, command in COMMANDS.items():
        if hasattr(command, "commands"):
            assert "..." not in help_of(words, 80).partition("Commands:")[2]
