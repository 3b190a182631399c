"""The settings of ``mambaad.train``: the same names and rules as on the command line."""

import inspect
import re
import typing

import timm
import torch
import typer
from safetensors.torch import save_file

import mambaad
from mambaad.cli.app import app
from mambaad.config import SETTINGS, TrainConfig
from mambaad.recipes import SYSTEMS
from mambaad.workflows.bundle import bundle


def test_every_setting_is_a_documented_parameter():
    parameters = inspect.signature(mambaad.train).parameters
    own = {"data", "out", "resume", "skip_unreadable", "device"}
    own |= {"after_step", "after_epoch", "validate_every", "validate_on"}
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
    of_every_command = {"help", "quiet", "verbose", "threads"}
    flags = {p.name for p in command.params} - {"config"} - of_every_command
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


def test_a_licence_of_the_encoders_own_is_told_and_kept(parts, tmp_path, capsys):
    name = "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m"
    torch.manual_seed(0)
    weights = tmp_path / "vit.safetensors"
    save_file(timm.create_model(name).state_dict(), weights)
    run = mambaad.train(
        parts,
        tmp_path / "run",
        encoder=name,
        encoder_weights=weights,
        encoder_groups=[[0]],
        variant="lite",
        size=32,
        epochs=1,
    )
    licence = "fair-noncommercial-research-license"
    lines = [line for line in capsys.readouterr().err.splitlines() if licence in line]
    assert len(lines) == 1
    assert f"--encoder {name}: weights of that name are under a licence of their own" in lines[0]
    stated = bundle(run, tmp_path / "b.mambaad").encoder["licence"]
    assert stated == f"unknown: a local file; weights of that name are under {licence}"
