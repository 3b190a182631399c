"""``mambaad benchmark`` and ``profile`` as they are typed."""


def test_profile_shows_the_published_count(mambaad_command, monkeypatch):
    monkeypatch.setattr("mambaad.workflows.profile._ROUNDS", 1)
    code, out, _ = mambaad_command("profile")
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert rows["encoder"][1:3] == ["8.170", "0.000"]
    assert rows["whole"][1] == "25.615"
    assert "25.65 M with them" in out


def test_benchmark_writes_its_tables(mambaad_command, parts, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "settings: {encoder: resnet18, encoder_weights: random, size: 32, epochs: 1}\n"
        "systems: {lite: {variant: lite}, broken: {system: rd4ad, encoder: tf_efficientnet_b4}}\n"
        f"data: {{parts: {{path: {parts}}}}}\n"
    )
    code, out, err = mambaad_command("benchmark", plan, "--out", tmp_path / "out")
    assert code == 1
    assert "mambaad: failed: broken on parts, seed 42" in err
    assert "| lite |" in out
    made = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert made == {"results.md", "results.html", "results.csv", "results.tex"}
