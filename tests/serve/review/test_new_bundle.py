from dataclasses import replace

import numpy as np
import pytest

import mambaad
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import opened, read_manifest
from mambaad.errors import ConfigError, DataError
from mambaad.inspection.calibration import read_calibration
from mambaad.inspection.thresholds import conformal_threshold
from mambaad.serve.review.new_bundle import recalibrate_bundle
from mambaad.workflows.bundle import bundle, check_bundle
from tests.serve.review.samples import SECRET, part

RATES = {"target_fpr": 0.1, "review_fpr": 0.2}


@pytest.fixture(scope="module")
def source(calibrated_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "line.mambaad"
    bundle(calibrated_run, out)
    return out


def calibration_of(path):
    with opened(path) as snapshot:
        return read_calibration(snapshot, read_config(snapshot).size)


@pytest.fixture(scope="module")
def reviewed(many_parts):
    """Good parts of the random share, and defective-looking ones that a person called good."""
    files = sorted((many_parts / "bolt" / "train" / "good").glob("*.png"))
    odd = sorted((many_parts / "bolt" / "test" / "spot").glob("*.png"))
    parts = [part(n, "PASS", "good", probability=0.02) for n in range(len(files))]
    chosen = [part(1000 + n, "REVIEW", "good", probability=0.0) for n in range(len(odd))]
    images = {p.id: f.read_bytes() for p, f in zip(parts + chosen, files + odd, strict=True)}
    return parts, chosen, images


@pytest.fixture(scope="module")
def new(source, reviewed, tmp_path_factory):
    """The bundle, recalibrated from both kinds of parts."""
    parts, chosen, images = reviewed
    out = tmp_path_factory.mktemp("new") / "new.mambaad"
    recalibrate_bundle(source, out, parts + chosen, lambda p: images[p.id], SECRET, **RATES)
    return out


def test_thresholds_are_those_of_the_random_share_observed_again(source, new, many_parts):
    before, after = calibration_of(source), calibration_of(new)
    inspector = mambaad.Inspector(source)
    files = sorted((many_parts / "bolt" / "train" / "good").glob("*.png"))
    scores = [inspector.inspect(file, "bolt").score for file in files]
    bolt = after.classes["bolt"]
    np.testing.assert_allclose(np.sort(bolt.scores), np.sort(scores), rtol=1e-4)
    assert bolt.review.value == pytest.approx(conformal_threshold(scores, 0.2).value, rel=1e-4)
    assert (after.method, read_manifest(new).calibrated) == ("new parts", "new parts")
    assert bolt.limits.sharpness[0] <= before.classes["bolt"].limits.sharpness[0]
    # The other product, of which there were no parts, is as it was.
    assert after.classes["nut"].fail == before.classes["nut"].fail
    check_bundle(new)


def test_parts_that_were_chosen_by_their_score_change_nothing(source, new, reviewed, tmp_path):
    parts, _, images = reviewed
    without = tmp_path / "without.mambaad"
    recalibrate_bundle(source, without, parts, lambda p: images[p.id], SECRET, **RATES)
    assert new.read_bytes() == without.read_bytes()


def test_without_usable_parts_nothing_is_written(source, reviewed, tmp_path):
    parts, chosen, images = reviewed
    out = tmp_path / "new.mambaad"
    with pytest.raises(DataError, match="confirmed good"):
        recalibrate_bundle(source, out, chosen, lambda p: images[p.id], SECRET)
    with pytest.raises(DataError, match="confirmed good"):
        recalibrate_bundle(source, out, parts, lambda _: None, SECRET)
    undecided = [replace(p, decision=None) for p in parts]
    with pytest.raises(DataError, match="confirmed good"):
        recalibrate_bundle(source, out, undecided, lambda p: images[p.id], SECRET)
    with pytest.raises(ConfigError, match=r"\.mambaad"):
        recalibrate_bundle(source, tmp_path / "x.zip", parts, lambda p: images[p.id], SECRET)
    assert not out.exists()
