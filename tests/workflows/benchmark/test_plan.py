from pathlib import Path

import pytest

from mambaad.errors import ConfigError
from mambaad.workflows.benchmark.plan import read_plan

PLAN = """
protocol: exact
seeds: [1, 2]
settings: {encoder: resnet18, encoder_weights: weights.safetensors, epochs: 1}
systems:
  MambaAD:
  RD 4/AD: {system: rd4ad, lr: 0.001}
  PatchCore: {peer: patchcore, share: 0.1}
data:
  ours: {path: parts, classes: [bolt]}
"""


def plan_file(tmp_path, text=PLAN):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return path


def test_jobs_are_all_systems_on_all_data_with_each_seed(tmp_path):
    jobs = read_plan(plan_file(tmp_path)).jobs()
    assert [(job.system, job.seed) for job in jobs] == [
        (system, seed) for seed in (1, 2) for system in ("MambaAD", "RD 4/AD", "PatchCore")
    ]
    assert len({job.folder for job in jobs}) == 6
    assert all(len(job.folder.parts) == 3 for job in jobs)  # no name leads out of its folder


def test_settings_of_all_are_those_of_each_unless_it_has_its_own(tmp_path):
    mamba, rd, patchcore, *_ = read_plan(plan_file(tmp_path)).jobs()
    weights = str((tmp_path / "weights.safetensors").resolve())
    common = {"encoder": "resnet18", "encoder_weights": weights, "seed": 1}
    assert mamba.settings == {**common, "epochs": 1, "classes": ("bolt",)}
    assert rd.settings == {**mamba.settings, "system": "rd4ad", "lr": 0.001}
    assert patchcore.settings == {**common, "peer": "patchcore", "share": 0.1}
    assert mamba.data.path == tmp_path / "parts"  # relative to the plan's folder


def test_results_know_what_they_depend_on(tmp_path):
    first = read_plan(plan_file(tmp_path)).jobs()[0]
    again = read_plan(plan_file(tmp_path)).jobs()[0]
    other = read_plan(plan_file(tmp_path, PLAN.replace("epochs: 1", "epochs: 2"))).jobs()[0]
    assert first.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("protocol: exact", "protocol: best", "protocol: input should be 'exact' or 'ader-paper'"),
        ("seeds: [1, 2]", "seeds: []", "seeds: tuple should have at least 1 item"),
        ("epochs: 1", "epochs: 0", "system 'MambaAD': --epochs: input should be greater"),
        ("system: rd4ad", "system: padim", "system 'RD 4/AD': --system: expected one of mambaad"),
        ("peer: patchcore", "peer: padim", "system 'PatchCore': peer: input should be 'patchcore'"),
        ("share: 0.1", "share: 2", "system 'PatchCore': share: input should be less than"),
        ("data:", "dates:", "dates: there is no such field; did you mean 'data'?"),
        (
            "{path: parts",
            "{known_as: mvtech, path: parts",
            "known_as: expected one of mvtec",
        ),
        ("seeds: [1, 2]", "seeds: [1, 1]", "seeds: expected distinct seeds, got (1, 1)"),
        ("weights.safetensors", "3", "--encoder-weights: "),
    ],
)
def test_a_plan_that_cannot_work_is_one_line(tmp_path, old, new, complaint):
    path = plan_file(tmp_path, PLAN.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        read_plan(path)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_that_would_share_a_folder_are_refused(tmp_path):
    path = plan_file(tmp_path, PLAN.replace("PatchCore:", "RD 4-AD:"))
    with pytest.raises(ConfigError, match="would share the folder"):
        read_plan(path)


def test_a_file_that_is_no_plan_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not a mapping"):
        read_plan(plan_file(tmp_path, "- a\n- b\n"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")


CONFIGS = Path(__file__).parents[3] / "configs"
PLANS = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "best")


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_the_plans_that_come_with_mambaad_work(path):
    assert read_plan(path).jobs()


def test_a_plan_is_the_same_from_any_folder(tmp_path, monkeypatch):
    path = plan_file(tmp_path)
    first = read_plan(path).jobs()[0]
    monkeypatch.chdir(tmp_path)
    assert read_plan(Path("plan.yaml")).jobs()[0].fingerprint == first.fingerprint


def test_a_declared_layout_is_read_beside_the_plan_or_in_it(tmp_path):
    (tmp_path / "mine.yaml").write_text('train: "{class}/OK"\n')
    (tmp_path / "plan.yaml").write_text(
        "systems: {a: }\n"
        "data:\n"
        "  file: {path: x, layout: mine.yaml}\n"
        '  fields: {path: x, layout: {train: "{class}/OK"}}\n'
        "  name: {path: x, layout: visa}\n"
    )
    layouts = {name: d.layout for name, d in read_plan(tmp_path / "plan.yaml").data.items()}
    assert layouts == {
        "file": '{"train": ["{class}/OK"]}',
        "fields": '{"train": ["{class}/OK"]}',
        "name": "visa",
    }
    (tmp_path / "mine.yaml").write_text("test: x\n")
    with pytest.raises(ConfigError, match=r"--layout .*mine\.yaml: "):
        read_plan(tmp_path / "plan.yaml")
