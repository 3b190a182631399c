"""Programs of PyTorch: what is in their files is read as data, and nothing of it is run."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import torch

from mambaad.inference.exported.program_session import OUTPUTS, ProgramSession, check_program


class Mean(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((3,), 2.0))

    def forward(self, images):
        return ((images * self.weight).mean((1, 2, 3)),)


@pytest.fixture(scope="module")
def content() -> bytes:
    """A program with a batch of any size, as exports have it."""
    images = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(Mean(), (images,), dynamic_shapes=({0: batch},))
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={OUTPUTS: "score"})
    return file.getvalue()


def changed(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def named(members: dict[str, bytes], end: str) -> str:
    return next(name for name in members if name.endswith(end))


def test_a_program_runs(content):
    session = ProgramSession(changed(content, lambda members: None))  # written as below
    images = np.full((3, 4, 4, 3), 5, np.uint8)
    assert session.run(images)["score"].tolist() == [10.0] * 3


class Code:
    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickled_code_is_not_run(content, tmp_path):
    def change(members):
        config = named(members, "model_weights_config.json")
        about = json.loads(members[config])
        file = io.BytesIO()
        torch.save(Code(tmp_path / "executed"), file)
        for payload in about["config"].values():
            payload["use_pickle"] = True
            members[f"{config.rpartition('/')[0]}/{payload['path_name']}"] = file.getvalue()
        members[config] = json.dumps(about).encode()

    before = dict(os.environ)
    with pytest.raises(Exception, match=r"."):
        ProgramSession(changed(content, change))
    assert not (tmp_path / "executed").exists()
    assert dict(os.environ) == before


def test_expressions_are_not_run(content, tmp_path):
    target = str(tmp_path / "executed")

    def change(members):
        name = named(members, "models/model.json")
        program = json.loads(members[name])
        left, count = [program], 0
        while left:
            one = left.pop()
            if isinstance(one, dict):
                if "expr_str" in one:
                    one["expr_str"], count = f"__import__('os').mkdir('{target}')", count + 1
                left += one.values()
            elif isinstance(one, list):
                left += one
        assert count
        members[name] = json.dumps(program).encode()

    with pytest.raises(RuntimeError, match="is no expression of a size"):
        ProgramSession(changed(content, change))
    assert not os.path.exists(target)  # noqa: PTH110


@pytest.mark.parametrize(
    "name", ["x/data/aotinductor/model/a.so", "x/data/weights/../a", "x/version", "a.py"]
)
def test_other_members_are_refused(content, name):
    with pytest.raises(RuntimeError, match="which is no program's"):
        check_program(changed(content, lambda members: members.update({name: b"x"})))


@pytest.mark.parametrize("end", [1, 1000, -1])
def test_a_damaged_file_is_an_error_without_a_log(content, end, capfd):
    with pytest.raises(Exception, match=r"."):
        ProgramSession(content[:end])
    assert capfd.readouterr().err == ""


def test_a_long_expression_takes_no_time(content):
    def change(members):
        name = named(members, "models/model.json")
        members[name] = json.dumps({"expr_str": "Mul(Integer(" * 10_000 + "!"}).encode()

    since = time.process_time()
    with pytest.raises(RuntimeError, match="is no expression"):
        check_program(changed(content, change))
    assert time.process_time() - since < 5
