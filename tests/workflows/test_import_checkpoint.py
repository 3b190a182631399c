import json

import pytest
import torch

import mambaad
from mambaad.artifacts.run_folder import read_config
from mambaad.errors import MambaADError, RunError
from mambaad.inference.weights import load_model
from mambaad.workflows.import_checkpoint import import_checkpoint
from tests.conftest import fill
from tests.runs import read


@pytest.fixture(scope="module")
def encoder_state():
    return mambaad.build_model("resnet34", "random").encoder.backbone.state_dict()


@pytest.fixture
def released(released_shapes, encoder_state):
    state = fill(released_shapes)
    return state | {f"net_t.{key}": tensor for key, tensor in encoder_state.items()}


def save(state, path):
    torch.save(state, path)
    return path


def test_a_released_checkpoint_becomes_a_run(released, tmp_path):
    file = save({"net": released}, tmp_path / "net.pth")
    run = import_checkpoint(file, tmp_path / "run")
    model = read(load_model, run)
    assert torch.equal(model.fusion.lateral2[0].weight, released["mff_oce.conv21.weight"])
    assert read(read_config, run).depths == (3, 4, 6, 3)
    assert read(read_config, run).directions == 8
    data = json.loads((run / "data.json").read_text())
    assert data == {"classes": {}, "fingerprint": None, "imported": "net.pth"}


def test_without_the_encoder_its_weights_come_from_a_file(released, encoder_state, tmp_path):
    decoder = {key: t for key, t in released.items() if not key.startswith("net_t.")}
    file = save(decoder, tmp_path / "decoder.pth")
    weights = save(encoder_state, tmp_path / "encoder.pth")
    run = import_checkpoint(file, tmp_path / "run", encoder_weights=weights)
    assert torch.equal(
        read(load_model, run).encoder.backbone.conv1.weight, encoder_state["conv1.weight"]
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s.pop("mff_oce.conv1.weight"), "missing fusion.down1.0.weight"),
        (lambda s: s.update({"net_s.extra": torch.zeros(1)}), "unexpected net_s.extra"),
        (
            lambda s: s.update({"mff_oce.conv1.weight": torch.zeros(2)}),
            "mff_oce.conv1.weight of shape (2,)",
        ),
        (
            lambda s: s.update({"mff_oce.bn1.bias": s["mff_oce.bn1.bias"] / 0}),
            "mff_oce.bn1.bias has values that are not finite",
        ),
        (
            lambda s: s.update({k: torch.tensor(1.0) for k in s if k.endswith("x_proj_weight")}),
            "blocks of [] scan directions",
        ),
        (lambda s: s.clear(), "no decoder of four stages under the released names"),
    ],
)
def test_another_checkpoint_is_one_line_and_writes_nothing(released, tmp_path, change, complaint):
    change(released)
    file = save(released, tmp_path / "net.pth")
    with pytest.raises(RunError) as caught:
        import_checkpoint(file, tmp_path / "run")
    assert complaint in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "state",
    [
        {1: torch.zeros(1)},
        {"a": 1.0},
        {"a": torch.zeros(1, dtype=torch.complex64)},
        {"a": torch.zeros(2, 2).to_sparse()},
        [torch.zeros(1)],
        torch.zeros(1),
        {"net": {"model": {("a",): torch.zeros(1)}}},
    ],
)
def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path, state):
    file = save(state, tmp_path / "net.pth")
    with pytest.raises(MambaADError, match="does not hold tensors of real numbers by name"):
        import_checkpoint(file, tmp_path / "run")


def test_a_checkpoint_that_holds_itself_is_refused(tmp_path):
    state = {"a": torch.zeros(1)}
    state["net"] = state
    with pytest.raises(MambaADError, match="does not hold tensors of real numbers by name"):
        import_checkpoint(save(state, tmp_path / "net.pth"), tmp_path / "run")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"not one")
    for name in ("net.pth", "absent.pth"):
        with pytest.raises(MambaADError, match=name):
            import_checkpoint(tmp_path / name, tmp_path / "run")
