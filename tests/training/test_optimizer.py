"""The optimizer's groups."""

import torch

from mambaad.config import make_config
from mambaad.models.lss import LSSModule
from mambaad.training.optimizer import make_optimizer


def test_norms_biases_and_skips_are_not_decayed():
    config = make_config({"lr": 0.25, "weight_decay": 0.5})
    module = LSSModule(8, 1)
    module.merge.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = make_optimizer(module, config, fused=False)
    for p in module.parameters():
        p.grad = torch.zeros_like(p) if p.requires_grad else None
    optimizer.step()  # without a gradient only decay changes anything: by lr x decay
    kept = {n for n, p in module.named_parameters() if torch.equal(p, before[n]) and p.any()}
    assert {name.split(".", 2)[-1] for name in kept if name.startswith("hss_blocks")} == {
        *("norm.weight", "ss2d.skip", "ss2d.norm.weight")
    }
    for name in ("hss_blocks.0.ss2d.A_log", "hss_blocks.0.ss2d.dt_bias"):
        torch.testing.assert_close(dict(module.named_parameters())[name], before[name] * 0.875)
    assert torch.equal(module.merge.weight, before["merge.weight"])
    assert sum(len(g["params"]) for g in optimizer.param_groups) == sum(
        p.requires_grad for p in module.parameters()
    )
    # A bias that is not 0 stays, too.
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.5, 0.0]
    undecayed = {id(p) for p in optimizer.param_groups[1]["params"]}
    named = {n for n, p in module.named_parameters() if id(p) in undecayed}
    assert all(n.endswith((".bias", ".skip", "norm.weight")) for n in named)
    assert {n for n in before if n.endswith(".bias") and not n.startswith("merge")} <= named
