"""Checkpoints of the released model become ours."""

import pytest
import torch

from mambaad.errors import RunError
from mambaad.models.released import load_released, renamed


def test_values_arrive_where_they_belong(released_model, released_state):
    ours, theirs = released_model.state_dict(), released_state
    for key, place in (
        ("net_t.conv1.weight", "encoder.backbone.conv1.weight"),
        ("net_t.layer3.5.bn2.running_var", "encoder.backbone.layer3.5.bn2.running_var"),
        ("mff_oce.conv1.weight", "fusion.down1.0.weight"),
        ("mff_oce.bn21.running_mean", "fusion.lateral2.1.running_mean"),
        ("mff_oce.bn_layer.0.downsample.1.bias", "fusion.bottleneck.0.downsample.1.bias"),
        ("net_s.layers_up.3.upsample.expand.weight", "decoder.stages.3.upsample.expand.weight"),
        (
            "net_s.layers_up.2.blocks.1.conv1a7.0.bias",
            "decoder.stages.2.lss_modules.1.local_branches.1.after.bias",
        ),
        (
            "net_s.layers_up.1.blocks.0.smm_blocks.1.self_attention.A_logs",
            "decoder.stages.1.lss_modules.0.hss_blocks.1.ss2d.A_log",
        ),
    ):
        assert renamed(key) == place
        torch.testing.assert_close(ours[place], theirs[key].view_as(ours[place]))


def test_every_tensor_is_replaced_and_none_is_shared(released_model, released_state):
    weights = {key for key in released_state if "index_flat" not in key}
    used = {key for key in weights if not key.startswith(("net_t.layer4.", "net_t.fc."))}
    assert {renamed(key) for key in used} == set(released_model.state_dict())
    assert len(used) == len(released_model.state_dict())


def without(state, key):
    return {k: t for k, t in state.items() if k != key}


BIAS = "net_s.layers_up.0.blocks.0.finalconv11.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, BIAS), f"1 differences: missing {renamed(BIAS)}$"),
        (
            lambda state: without(state, "net_t.bn1.weight"),
            "1 differences: missing encoder.backbone.bn1.weight$",
        ),
        (
            lambda state: {**state, "net_s.layers_up.4.norm.bias": torch.zeros(1)},
            "1 differences: unexpected net_s.layers_up.4.norm.bias$",
        ),
        (
            lambda state: {**state, BIAS: torch.zeros(511)},
            rf"1 differences: {BIAS} of shape \(511,\) where {renamed(BIAS)} has \(512,\)$",
        ),
        (
            lambda state: {f"module.{key}": t for key, t in state.items()},
            r"differences: missing encoder.backbone.conv1.weight; .*; \.\.\.$",
        ),
    ],
    ids=["missing", "missing of the encoder", "unexpected", "shape", "nothing fits"],
)
def test_what_does_not_fit_is_named_in_one_line(change, message, released_model, released_state):
    before = {key: tensor.clone() for key, tensor in released_model.state_dict().items()}
    with pytest.raises(RunError, match=message) as error:
        load_released(released_model, change(released_state))
    assert "\n" not in str(error.value)
    for key, tensor in released_model.state_dict().items():
        assert torch.equal(tensor, before[key]), key  # nothing was loaded by half
