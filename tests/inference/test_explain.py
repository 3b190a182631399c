import shutil

import numpy as np
import pytest
import torch

import mambaad
from mambaad.config import make_config
from mambaad.data.images import read_image, resize_image
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.inference.explain import Explainer, ReferenceParts
from mambaad.inference.weights import load_model
from mambaad.inspection.stream import observe_one
from mambaad.models.build import build_system
from mambaad.models.embedding import embedding
from mambaad.models.mixers.ss2d import SS2D
from mambaad.models.mixers.ssd import SSD
from mambaad.models.normalise import normalise
from mambaad.models.scoring import anomaly_map, scale_shares
from tests.runs import read

SIZE = (64, 64)


@pytest.fixture(scope="module")
def model(trained_run):
    return read(load_model, trained_run)


@pytest.fixture
def image(parts):
    return read_image(parts / "nut" / "test" / "spot" / "000.png")


def test_the_scales_add_up_to_the_map(model, trained_run, image):
    found = Explainer(model, SIZE).explain(image)
    prediction = mambaad.Inspector(trained_run).inspect(image)
    assert np.allclose(found.scale_maps.sum(axis=0), prediction.anomaly_map, atol=1e-4)
    assert sum(found.scale_shares) == pytest.approx(1, abs=1e-5)
    assert found.strides == (4, 8, 16)
    row, column = found.at
    assert prediction.anomaly_map[row, column] == pytest.approx(prediction.score, rel=1e-3)


def test_the_engines_evidence_gives_the_same_shares(model, trained_run, image):
    inspector = mambaad.Inspector(trained_run, keep_evidence=True)
    found = observe_one(inspector.engine, inspector.item(image)).result[0]
    evidence, explained = found.evidence, Explainer(model, SIZE).explain(image)
    maps = torch.from_numpy(evidence.scale_maps)
    for at in (explained.at, (0, 63), (40, 2)):
        shares = scale_shares(maps, at, evidence.smoothing)
        parts = explained.scale_maps[:, at[0], at[1]]
        assert np.allclose(shares, parts / parts.sum(), atol=1e-4)
    rough = scale_shares(maps, (5, 7), 0)
    assert np.allclose(rough, maps[:, 5, 7] / maps[:, 5, 7].sum())
    assert evidence.strides == explained.strides
    with torch.inference_mode():
        batch = normalise(torch.from_numpy(resize_image(image, SIZE).copy())[None])
        assert np.allclose(evidence.embedding, embedding(model.encoder(batch))[0], atol=1e-5)
    plain = mambaad.Inspector(trained_run)
    without = observe_one(plain.engine, plain.item(image)).result[0]
    assert without.evidence is None
    assert np.array_equal(without.anomaly_map, found.anomaly_map)


def test_a_direction_is_left_out_of_every_block(model, image):
    explainer = Explainer(model, SIZE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = explainer.explain(image)
    assert list(found.directions) == ["as it is, forwards", "as it is, backwards"]
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())

    # The same from a model whose weights are changed for good.
    changed = load_model_again(model)
    for block in changed.decoder.modules():
        if isinstance(block, SS2D):
            rows, states = block.scan_proj.shape[0] // 2, block.A_log.shape[2]
            with torch.no_grad():
                block.scan_proj[rows - states : rows] = 0
                block.skip[0] = 0
    batch = normalise(torch.from_numpy(resize_image(image, SIZE).copy())[None])
    with torch.inference_mode():
        whole = anomaly_map(*model(batch)[:2], SIZE)[0]
        without = anomaly_map(*changed(batch)[:2], SIZE)[0]
    change = whole - without
    row, column = found.at
    expected = (change[row, column] - change.median()) / whole[row, column]
    assert found.directions["as it is, forwards"] == pytest.approx(float(expected), abs=1e-4)


def test_a_direction_of_ssd_is_left_out_and_vssd_has_none(image):
    settings = {"encoder": "resnet18", "size": SIZE, "variant": "lite"}
    vssd, ssd = (
        build_system(make_config({**settings, "mixer": mixer}), "random").eval()
        for mixer in ("vssd", "ssd")
    )
    assert Explainer(vssd, SIZE).explain(image).directions == {}
    names = ["as it is, forwards", "as it is, backwards"]
    before = Explainer(ssd, SIZE).explain(image).directions
    assert list(before) == names
    assert all(np.isfinite(value) and value != 0 for value in before.values())
    for block in ssd.decoder.modules():
        if isinstance(block, SSD):
            with torch.no_grad():
                block.dt_bias[0] = -1e4  # forwards nothing enters the states any more
    after = Explainer(ssd, SIZE).explain(image).directions
    assert after["as it is, forwards"] == 0
    assert after["as it is, backwards"] != 0


def load_model_again(model):
    import copy

    return copy.deepcopy(model)


def test_only_what_is_inspected_is_explained(model, image):
    explainer = Explainer(model, SIZE)
    everywhere = explainer.explain(image)
    counted = everywhere.scale_maps.sum(axis=0)
    row, column = everywhere.at
    counted[max(row - 8, 0) : row + 8, max(column - 8, 0) : column + 8] = -np.inf
    assert explainer.explain(image, counted).at != everywhere.at


def test_the_place_most_like_another_of_a_good_part(model, parts):
    good = {c.name: c.train for c in MVTEC.read(parts)}
    index = ReferenceParts(model, SIZE, good)
    sample = good["nut"][3]
    # A part is most like itself, and so is each of its places.
    match = index.nearest("nut", read_image(sample.path), (20, 36))
    assert match.sample == sample
    assert match.similarity == pytest.approx(1, abs=1e-5)
    assert match.at == (20, 36)  # the middle of the cell of 8 x 8 pixels
    assert index.nearest("washer", read_image(sample.path), (0, 0)) is None


def test_no_more_good_parts_than_asked(model, parts):
    good = {c.name: c.train for c in MVTEC.read(parts)}
    index = ReferenceParts(model, SIZE, good, most=2)
    match = index.nearest("nut", read_image(good["nut"][1].path), (20, 36))
    assert match.sample in (good["nut"][0], good["nut"][3])


def test_a_system_with_a_single_map(parts, image):
    size = (32, 128)
    settings = {"system": "uniad", "encoder": "resnet18", "size": size}
    single = build_system(make_config(settings), "random").eval()
    found = Explainer(single, size).explain(image)
    assert (found.strides, found.scale_shares) == ((16,), (1.0,))
    assert found.directions == {}
    good = {c.name: c.train for c in MVTEC.read(parts)}
    match = ReferenceParts(single, size, good).nearest("nut", image, found.at)
    assert match.sample in good["nut"]


def test_good_parts_that_cannot_be_read_are_left_out(model, parts, tmp_path, capsys):
    root = shutil.copytree(parts, tmp_path / "parts")
    good = {c.name: c.train for c in MVTEC.read(root)}
    image = read_image(good["nut"][1].path)
    good["nut"][1].path.write_bytes(b"no image")
    index = ReferenceParts(model, SIZE, good)
    match = index.nearest("nut", image, (20, 36))
    assert match.sample in good["nut"]
    assert match.sample != good["nut"][1]
    assert "001.png cannot be read as an image" in capsys.readouterr().err
    for sample in good["bolt"]:
        sample.path.write_bytes(b"no image")
    assert index.nearest("bolt", image, (20, 36)) is None
