"""The settings of ``mambaad.train``: the same names and rules as on the command line."""

import inspect
import re
import typing

import typer

import mambaad
from mambaad.cli.app import app
from mambaad.config import SETTINGS, TrainConfig
from mambaad.recipes import SYSTEMS


def test_every_setting_is_a_documented_parameter():
    parameters = inspect.signature(mambaad.train).parameters
    own = {"data", "out", "resume", "skip_unreadable", "device"}
    assert set(parameters) - own == set(SETTINGS) == set(TrainConfig.model_fields) - {"fold"}
    described = re.findall(
        r"^ {8}(\w+): ", mambaad.train.__doc__.split("Returns:")[0], re.MULTILINE
    )
    assert described == list(parameters)
    hints = typing.get_type_hints(mambaad.train)
    assert choices(hints["system"]) == set(SYSTEMS)
    for name in SETTINGS:
        assert parameters[name].default is None
        allowed = TrainConfig.model_fields[name].annotation
        if typing.get_origin(allowed) is typing.Literal:
            assert set(typing.get_args(allowed)) == choices(hints[name]), name


def choices(hint):
    """List what a parameter of literals, or None, may be."""
    literal = next(part for part in typing.get_args(hint) if part is not type(None))
    return set(typing.get_args(literal))


def test_the_command_line_gives_the_same_settings_under_the_same_names():
    command = typer.main.get_command(app).commands["train"]
    flags = {parameter.name for parameter in command.params} - {"config", "help"}
    assert len(flags) > 20
    assert flags <= set(inspect.signature(mambaad.train).parameters)


def test_what_is_given_reaches_the_run_and_the_rest_takes_its_defaults(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("mambaad.workflows.train.train_run", lambda *args, **_: seen.append(args))
    mambaad.train("data", tmp_path / "run", recipe="fast", size="64x96", kernels=[3], states=4)
    ((data, out, config),) = seen
    assert (data, out) == ("data", tmp_path / "run")
    expected = TrainConfig(recipe="fast", size=(64, 96), kernels=(3,), states=4)
    assert config == expected
    assert config.lr == 0.002  # of the recipe
