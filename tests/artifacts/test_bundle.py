"""A model as one file: what goes in, and what is refused."""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

import mambaad
from mambaad.artifacts.manifest import CONFIG, PROTOTYPES, WEIGHTS
from mambaad.artifacts.snapshot import opened, read_manifest
from mambaad.errors import RunError
from mambaad.models.build import build_system
from mambaad.workflows.bundle import bundle as make_bundle
from mambaad.workflows.bundle import check_bundle
from tests.runs import change, change_json, stored

DEEP = b"[" * 100_000


@pytest.fixture(scope="module")
def bundle(calibrated_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "line.mambaad"
    make_bundle(calibrated_run, path)
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, content, *, seal=True, compression=zipfile.ZIP_STORED):
    """A bundle of these members; with ``seal`` its manifest is made to fit them."""
    content = dict(content)
    if seal:
        manifest = json.loads(content["bundle.json"])
        manifest["files"] = {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in content.items()
            if name != "bundle.json"
        }
        content["bundle.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_it_inspects_as_the_run_does(bundle, calibrated_run, many_parts):
    ours, theirs = mambaad.Inspector(bundle), mambaad.Inspector(calibrated_run)
    assert ours.products == theirs.products
    for path in sorted(many_parts.glob("*/test/*/000.png")):
        a, b = ours.inspect(path), theirs.inspect(path)
        assert (a.score, a.verdict, a.reason) == (b.score, b.verdict, b.reason)
        assert a.regions == b.regions
        assert np.array_equal(a.anomaly_map, b.anomaly_map)


def test_what_is_in_it(bundle, calibrated_run, many_parts):
    content = members(bundle)
    assert set(content) == {
        "bundle.json",
        "calibration.safetensors",
        "config.json",
        "data.json",
        "good_parts.safetensors",
        "version.json",
        "weights.safetensors",
    }
    manifest = read_manifest(bundle)
    assert manifest.classes == ["bolt", "nut"]
    assert manifest.calibrated == "hold-out"
    assert manifest.versions["mambaad"] == manifest.versions["bundled by mambaad"]
    assert set(manifest.versions) == {"bundled by mambaad", "mambaad", "torch", "timm"}
    assert manifest.encoder == {
        "name": "resnet18",
        "weights": "random",
        "licence": "none: random weights",
    }
    weights = stored(calibrated_run).read_bytes()
    assert manifest.files[WEIGHTS].sha256 == hashlib.sha256(weights).hexdigest()
    everything = b"".join(content.values())
    assert str(many_parts).encode() not in everything
    assert b"PNG" not in b"".join(data for name, data in content.items() if "json" in name)


def test_the_same_run_gives_the_same_file(bundle, calibrated_run, tmp_path):
    make_bundle(calibrated_run, tmp_path / "again.mambaad")
    assert (tmp_path / "again.mambaad").read_bytes() == bundle.read_bytes()


def test_figures_go_with_it_and_places_do_not(calibrated_run, many_parts, tmp_path):
    run = shutil.copytree(calibrated_run, tmp_path / "run")
    secret = {"encoder_weights": "/home/someone/secret/weights.pth"}
    change_json(run, CONFIG, lambda config: {**config, **secret})
    (tmp_path / "figures.json").write_text(mambaad.evaluate(run, many_parts).to_json())
    made = make_bundle(run, tmp_path / "a.mambaad", metrics=tmp_path / "figures.json")
    assert made.metrics["mad"] == mambaad.evaluate(run, many_parts).mean["mad"]
    assert made.encoder["weights"] == "weights.pth"
    assert b"secret" not in (tmp_path / "a.mambaad").read_bytes()
    mambaad.Inspector(tmp_path / "a.mambaad")


def test_an_uncalibrated_run_makes_one_without_verdicts(trained_run, parts, tmp_path):
    assert make_bundle(trained_run, tmp_path / "a.mambaad").calibrated is None
    inspector = mambaad.Inspector(tmp_path / "a.mambaad")
    image = parts / "nut" / "test" / "good" / "000.png"
    assert inspector.inspect(image).score == mambaad.Inspector(trained_run).inspect(image).score


def with_nan(content):
    tensors = load(content["weights.safetensors"])
    name = next(n for n, t in tensors.items() if t.is_floating_point())
    tensors[name].view(-1)[0] = torch.nan
    return {**content, "weights.safetensors": save(tensors)}


def with_other_shape(content):
    tensors = load(content["weights.safetensors"])
    name = next(n for n, t in tensors.items() if t.ndim == 4)
    tensors[name] = tensors[name][:1].contiguous()
    return {**content, "weights.safetensors": save(tensors)}


def with_means(means):
    def change(content):
        tensors = load(content["good_parts.safetensors"])
        name = "good_parts.safetensors"
        about = {"scale": [0.0, 1.0], "products": ["bolt", "nut"]}
        return {**content, name: save({**tensors, "means": means}, {"about": json.dumps(about)})}

    return change


def with_deep_metadata(content):
    tensors = load(content["good_parts.safetensors"])
    return {**content, "good_parts.safetensors": save(tensors, {"about": DEEP.decode()})}


def newer(content):
    return manifest_with(format=2)({**content, "more.bin": b"of a later version"})


def with_huge_settings(content):
    config = json.loads(content["config.json"])
    return {**content, "config.json": json.dumps({**config, "depths": [10**9] * 4}).encode()}


def without(name):
    return lambda content: {key: data for key, data in content.items() if key != name}


def also(name, data=b"{}"):
    return lambda content: {**content, name: data}


def manifest_with(**changes):
    def change(content):
        manifest = {**json.loads(content["bundle.json"]), **changes}
        return {**content, "bundle.json": json.dumps(manifest).encode()}

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (with_nan, "is not finite"),
        (with_other_shape, "does not fit"),
        (with_huge_settings, "is not a configuration of this version"),
        (without("good_parts.safetensors"), "its files are not those of its manifest"),
        (without("bundle.json"), None),
        (also("../../evil.py"), r"holds '../../evil.py'"),
        (also("/etc/evil"), "holds '/etc/evil'"),
        (also("code.pkl"), "holds 'code.pkl'"),
        (also("good_parts.safetensors", b"nonsense"), "is damaged"),
        (also("calibration.safetensors", save({})), "is damaged"),
        (manifest_with(format=2), "has format 2, this version reads up to 1; update mambaad"),
        (newer, "has format 2, this version reads up to 1; update mambaad"),
        *((manifest_with(format=f), "its manifest is invalid") for f in (True, "1", 1.0, 0, None)),
        (manifest_with(classes=3), "its manifest is invalid"),
        (manifest_with(classes=["bolt", "washer"]), "other classes than its data.json"),
        (also("config.json", DEEP), "has more than 64 levels|recursion"),
        (also("data.json", DEEP), "has more than 64 levels|recursion"),
        (with_deep_metadata, "has more than 64 levels|recursion"),
        (with_means(torch.zeros(2, 3)), r"does not fit .*its means are of shape \(2, 3\)"),
        (with_means(torch.zeros(2, 448, 1)), "its means are not those of its products"),
    ],
)
def test_a_hostile_or_newer_one(bundle, tmp_path, change, complaint):
    content = change(members(bundle))
    if complaint is None:
        path = write(tmp_path / "b.mambaad", content, seal=False)
        complaint = "lacks a manifest"
    else:
        path = write(tmp_path / "b.mambaad", content)
    with pytest.raises(RunError, match=complaint) as caught:
        mambaad.Inspector(path)
    message = str(caught.value)
    assert "b.mambaad" in message
    assert "\n" not in message
    assert "/tmp/mambaad-" not in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.mambaad"]


def test_bytes_that_changed(bundle, tmp_path):
    data = bytearray(bundle.read_bytes())
    start = data.index(b"weights.safetensors") + 5000
    data[start] ^= 1
    (tmp_path / "b.mambaad").write_bytes(data)
    with pytest.raises(RunError, match="damaged"):
        mambaad.Inspector(tmp_path / "b.mambaad")
    # And bytes that were changed with the archive's own checksum, but not the manifest's.
    content = members(bundle)
    content["data.json"] = content["data.json"].replace(b"bolt", b"bold")
    write(tmp_path / "c.mambaad", content, seal=False)
    with pytest.raises(RunError, match=r"data.json has changed since it was made"):
        mambaad.Inspector(tmp_path / "c.mambaad")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_one(bundle, tmp_path, share):
    data = bundle.read_bytes()
    (tmp_path / "b.mambaad").write_bytes(data[: int(share * len(data))])
    with pytest.raises(RunError, match="is not a bundle, or a damaged one"):
        mambaad.Inspector(tmp_path / "b.mambaad")


def test_a_zip_bomb(bundle, tmp_path):
    content = {**members(bundle), "metrics.json": b" " * 17_000_000}
    path = write(tmp_path / "b.mambaad", content, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < sum(map(len, content.values())) / 1.3
    with pytest.raises(RunError, match="is compressed"):
        mambaad.Inspector(path)
    path = write(tmp_path / "c.mambaad", content)
    with pytest.raises(RunError, match=r"metrics.json has 17000000 bytes"):
        mambaad.Inspector(path)


def test_what_cannot_be_bundled(calibrated_run, trained_run, tmp_path):
    with pytest.raises(RunError, match=r"ends in \.mambaad, got .*; use .*line\.mambaad"):
        make_bundle(calibrated_run, tmp_path / "line.zip")
    with pytest.raises(RunError, match="is not a run folder"):
        make_bundle(tmp_path / "absent", tmp_path / "line.mambaad")
    unfinished = shutil.copytree(trained_run, tmp_path / "run")
    change(unfinished, {}, [PROTOTYPES])
    with pytest.raises(RunError, match="training has not ended"):
        make_bundle(unfinished, tmp_path / "line.mambaad")
    (tmp_path / "figures.json").write_text("[]")
    with pytest.raises(RunError, match="--metrics"):
        make_bundle(calibrated_run, tmp_path / "line.mambaad", metrics=tmp_path / "figures.json")
    assert not (tmp_path / "line.mambaad").exists()


@pytest.mark.parametrize("mean", [[], {"mad": {}}, {"mad": "much"}, "deep"])
def test_malformed_metrics_are_refused(calibrated_run, tmp_path, mean):
    figures = {"protocol": "exact", "size": 1, "classes": {}, "mean": mean, "pooled": {}}
    text = DEEP.decode() if mean == "deep" else json.dumps(figures)
    (tmp_path / "figures.json").write_text(text)
    with pytest.raises(RunError, match=r"--metrics: .*figures\.json") as caught:
        make_bundle(calibrated_run, tmp_path / "line.mambaad", metrics=tmp_path / "figures.json")
    assert "\n" not in str(caught.value)


def test_settings_of_a_larger_model_take_no_memory(bundle, tmp_path, monkeypatch):
    content = members(bundle)
    config = {**json.loads(content["config.json"]), "expand": 8, "states": 256}
    path = write(tmp_path / "b.mambaad", {**content, "config.json": json.dumps(config).encode()})
    devices = []

    def build(*args):
        devices.append(torch.empty(1).device.type)
        return build_system(*args)

    monkeypatch.setattr("mambaad.inference.weights.build_system", build)
    with pytest.raises(RunError, match=r"b\.mambaad: .* does not fit config\.json: decoder"):
        mambaad.Inspector(path)
    assert devices == ["meta"]


def test_settings_of_no_model_at_all(bundle, tmp_path):
    content = members(bundle)
    config = {**json.loads(content["config.json"]), "encoder": "absent"}
    path = write(tmp_path / "b.mambaad", {**content, "config.json": json.dumps(config).encode()})
    with pytest.raises(RunError, match=r"b\.mambaad: config.json .* no architecture 'absent'"):
        mambaad.Inspector(path)


def test_a_bundle_that_cannot_be_read(bundle, monkeypatch):
    def refused(*args, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(RunError, match=r"line\.mambaad cannot be read \(Permission denied\)"):
        read_manifest(bundle)


def test_all_that_loading_checks(bundle, tmp_path):
    assert check_bundle(bundle) == read_manifest(bundle)
    path = write(tmp_path / "b.mambaad", with_other_shape(members(bundle)))
    read_manifest(path)
    with pytest.raises(RunError, match=r"b\.mambaad: weights\.safetensors does not fit"):
        check_bundle(path)
    with pytest.raises(RunError, match="there is no bundle"):
        check_bundle(tmp_path / "absent.mambaad")


def test_one_that_is_replaced_meanwhile_stays_the_one_that_was_opened(bundle, tmp_path):
    path = shutil.copy(bundle, tmp_path / "b.mambaad")
    content = members(bundle)
    with opened(path) as run:
        write(tmp_path / "other.mambaad", with_other_shape(content)).replace(path)
        assert run.read(WEIGHTS) == content[WEIGHTS]
        assert run.digest(WEIGHTS) == hashlib.sha256(content[WEIGHTS]).hexdigest()


def test_nothing_is_unpacked(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert mambaad.Inspector(bundle).products == ("bolt", "nut")
