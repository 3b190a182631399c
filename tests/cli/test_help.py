"""The help of every command, and its place in the documents."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mambaad.cli.app import COMMANDS as PANELS
from mambaad.cli.app import app
from mambaad.config import _WITH_FLAG, TrainConfig, make_config

FIRST = ("demo", "train", "evaluate", "calibrate", "predict")
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
def test_placeholders_are_in_upper_case_and_flags_have_none(words):
    text = help_of(words, 120)
    assert not re.search(r"<|BOOL", text)
    assert not re.search(r"[{}]", text.partition("\n\n")[0])  # the usage
    for names, given in re.findall(r"^  ((?:-\w, )?--[\w-]+) (\S+)", text, re.MULTILINE):
        assert re.fullmatch(r"[A-Z]+", given), (names, given)
    for flag in ("--quiet", "--skip-unreadable", "--resume", "--verdicts"):
        assert not re.search(rf"{flag} \S", text)


def test_the_commands_stand_in_the_order_of_the_work():
    text = help_of("", 80)
    positions = [text.index(f"\n  {name} ") for name in FIRST]
    assert positions == sorted(positions)
    for name in COMMANDS.keys() - {""}:
        if " " not in name and name not in FIRST:
            assert text.index(f"\n  {name} ") > positions[-1]
    panels = re.findall(r"^([A-Z].*):$", text, re.MULTILINE)
    assert panels == ["Options", *PANELS]


def test_every_command_can_be_quiet_and_verbose_and_those_that_compute_take_threads():
    for words, command in COMMANDS.items():
        if not hasattr(command, "commands"):
            assert {"quiet", "verbose"} <= {parameter.name for parameter in command.params}, words
    computing = ("demo", "train", "evaluate", "calibrate", "predict", "extend", "recalibrate")
    for words in (*computing, "benchmark", "profile", "data suspects"):
        assert "threads" in {parameter.name for parameter in COMMANDS[words].params}, words


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
            listed = re.split(r"^[A-Z].*:$", help_of(words, 80), flags=re.MULTILINE)[2:]
            assert listed
            assert "..." not in "".join(listed)
