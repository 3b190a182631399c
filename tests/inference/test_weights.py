import pytest
import torch

from mambaad.artifacts.manifest import WEIGHTS
from mambaad.artifacts.run_folder import create_run
from mambaad.config import make_config
from mambaad.inference import weights as module
from mambaad.inference.weights import load_model, weights_content
from mambaad.models.build import build_system
from tests.runs import read

SMALL = {"encoder": "resnet18", "size": (128, 128)}
SYSTEMS = {
    "base": SMALL,
    "lite": {**SMALL, "variant": "lite"},
    "with a head": {**SMALL, "variant": "lite", "head": "residual"},
    "vssd": {**SMALL, "variant": "lite", "mixer": "vssd"},
    "ssd": {**SMALL, "variant": "lite", "mixer": "ssd"},
    "on a grid": {"variant": "lite", "encoder": "vit_tiny_patch16_224", "size": (128, 128)},
    "rd4ad": {**SMALL, "system": "rd4ad"},
    "uniad": {"system": "uniad", "size": (128, 128)},
}


@pytest.fixture(params=SYSTEMS.values(), ids=SYSTEMS)
def system(request):
    """A system whose every value is another than that which it is made with."""
    torch.manual_seed(1)
    config = make_config(request.param)
    model = build_system(config, "random")
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.01 * torch.rand_like(tensor))
    return config, model.eval()


@pytest.mark.usefixtures("users_checks_only")
def test_what_is_loaded_is_the_model_that_was_kept(system, tmp_path):
    config, model = system
    create_run(tmp_path, config, {}, {WEIGHTS: weights_content(model)})
    loaded = read(load_model, tmp_path)
    for kind in ("named_parameters", "named_buffers"):
        ours, theirs = dict(getattr(loaded, kind)()), dict(getattr(model, kind)())
        assert list(ours) == list(theirs)
        for name, tensor in theirs.items():
            assert torch.equal(ours[name], tensor), name
            assert ours[name].stride() == tensor.stride(), name
            assert ours[name].requires_grad == tensor.requires_grad, name
    image = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        ours, theirs = loaded(image), model(image)
    for map_, expected in zip(ours.reconstructed, theirs.reconstructed, strict=True):
        assert torch.equal(map_, expected)
    assert (ours.logits is None) == (model.head is None)
    assert ours.logits is None or torch.equal(ours.logits, theirs.logits)


def test_without_values_only_a_model_is_made_all_of_which_is_loaded(system):
    config, model = system
    tensors = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    is_all = tensors <= model.state_dict().keys()
    assert module._is_all_state(model) == is_all == (config.system != "uniad")


def test_tensors_outside_the_state_are_seen():
    model = torch.nn.Linear(2, 2)
    assert module._is_all_state(model)
    model.table = torch.ones(3)
    assert not module._is_all_state(model)
    del model.table
    model.register_buffer("table", torch.ones(3), persistent=False)
    assert not module._is_all_state(model)
