import torch
from safetensors.torch import save_file

from mambaad.models.encoder import Encoder


def trunk():
    from pretrain_encoder import Trunk

    torch.manual_seed(0)
    student = Trunk().eval()
    for module in student.modules():  # batch norms that are no identities
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    return student


@torch.no_grad()
def test_folded_weights_compute_what_the_student_does(tmp_path):
    from pretrain_encoder import folded

    student = trunk()
    before = {name: t.clone() for name, t in student.state_dict().items()}
    path = tmp_path / "weights.safetensors"
    save_file(folded(student), path)
    assert path.stat().st_size < 6 * 2**20
    assert all(torch.equal(t, before[name]) for name, t in student.state_dict().items())
    images = torch.randn(2, 3, 96, 64)
    found = Encoder("resnet18", path)(images)
    for ours, theirs in zip(found, student.backbone(images), strict=True):
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 5e-3  # half precision


def test_stages_one_by_one_are_the_trunk():
    student = trunk()
    x = images = torch.randn(2, 3, 64, 64)
    for number, expected in enumerate(student.backbone(images), start=1):
        x = student.stage(number, x)
        torch.testing.assert_close(x, expected)


def test_loss_is_zero_for_the_teacher_itself_and_falls_towards_it():
    from pretrain_encoder import loss_of, make_optimizer

    teacher, student = trunk(), trunk()
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        target = teacher.backbone(images)
        assert float(loss_of(student, images, target, 0.0)) < 1e-5
        for parameter in student.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    optimizer = make_optimizer(student)
    losses = []
    for _ in range(5):
        loss = loss_of(student, images, target, 0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_the_state_is_restored(tmp_path):
    from pretrain_encoder import load, make_optimizer, save

    from mambaad.training.checkpoint import Position

    student = trunk()
    optimizer = make_optimizer(student)
    for parameter in student.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    expected = {name: t.clone() for name, t in student.state_dict().items()}
    save(tmp_path, student, optimizer, Position(step=1))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert load(tmp_path, student, make_optimizer(student)) == Position(step=1)
    assert all(torch.equal(t, expected[name]) for name, t in student.state_dict().items())
