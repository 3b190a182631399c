"""What a launcher says of a process, in the variables of torch.distributed."""

import pytest

from mambaad.errors import ConfigError
from mambaad.launch import Launch, launched

ADDRESS = {"MASTER_ADDR": "somewhere", "MASTER_PORT": "29500"}


def said(**variables: int | str) -> dict[str, str]:
    return ADDRESS | {name: str(value) for name, value in variables.items()}


def test_the_place_is_what_torchrun_says():
    found = launched(said(RANK=3, WORLD_SIZE=4, LOCAL_RANK=1, LOCAL_WORLD_SIZE=2))
    assert found == Launch(3, 4, 1, 2)
    assert not found.is_first


def test_without_local_numbers_there_is_one_process_a_machine():
    assert launched(said(RANK=0, WORLD_SIZE=2)) == Launch(0, 2, 0, 1)


@pytest.mark.parametrize(
    "variables",
    [{}, said(RANK=0, WORLD_SIZE=1), {"RANK": "0", "WORLD_SIZE": "2"}, said(WORLD_SIZE=2)],
)
def test_one_process_and_stray_variables_are_no_launch(variables):
    assert launched(variables) is None


@pytest.mark.parametrize(
    "variables",
    [
        said(RANK=2, WORLD_SIZE=2),
        said(RANK=-1, WORLD_SIZE=2),
        said(RANK="first", WORLD_SIZE=2),
        said(RANK=0, WORLD_SIZE=2, LOCAL_RANK=1, LOCAL_WORLD_SIZE=1),
        said(RANK=0, WORLD_SIZE=2, LOCAL_RANK=0, LOCAL_WORLD_SIZE=4),
    ],
)
def test_numbers_that_cannot_be_are_refused_in_one_line(variables):
    with pytest.raises(ConfigError, match="no launcher sets") as caught:
        launched(variables)
    assert "\n" not in str(caught.value)


def test_machines_with_other_numbers_of_processes_are_refused():
    with pytest.raises(ConfigError, match="equally many on every machine"):
        launched(said(RANK=0, WORLD_SIZE=3, LOCAL_RANK=0, LOCAL_WORLD_SIZE=2))


def test_the_command_to_resume_is_torchruns():
    arguments = ["mambaad", "train", "my data", "--resume"]
    one = Launch(0, 2, 0, 2).command(arguments)
    assert one == "torchrun --standalone --nproc-per-node 2 -m mambaad train 'my data' --resume"
    several = Launch(0, 4, 0, 2).command(arguments)
    assert "on every machine" in several
    assert several.endswith("-m mambaad train 'my data' --resume")
