"""Models with weights as training leaves them."""

import torch
from torch import nn

from mambaad.models.build import build_model

LITE = {"depths": (1, 1, 1, 1), "directions": 4, "states": 8, "expand": 1, "kernels": (5,)}


def trained_model(encoder="resnet18", **settings):
    torch.manual_seed(0)
    return as_if_trained(build_model(encoder, "random", **settings))


def as_if_trained(model):
    """Change its batch norms, which are identities at first; in eval mode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model.eval()
