"""Wrong uses, as people make them: one line, an exit code, nothing written, and no traceback.

By kind: paths, types, sizes, YAML, images, interrupts. Those of the first kinds need no PyTorch and
run in a process without it (see also AT_ONCE in test_refusals.py).
"""

import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_refusals import AT_ONCE, LATER, run_without_torch
from tests.runs import content

# Each: kind, command, exit code, and what the line says. {empty}: a folder that stays so.
USES = [
    # Paths.
    ("path", "train {none} --out {empty}/run", 1, "is not a folder"),
    ("path", "train {text} --out {empty}/run", 1, "is not a folder"),
    ("path", "train {parts} --out {text}", 1, "exists and is not empty; choose another --out"),
    ("path", "train {parts} --out {run}", 1, "resume it (--resume), or choose another --out"),
    ("path", "train {parts} --out {empty}/run --exclude {empty}", 1, "--exclude: "),
    ("path", "train {empty} --out {empty}/run", 1, "has no classes"),
    ("path", "train {parts} --out {empty}/run --config {parts}", 1, "--config: "),
    ("path", "info {none}", 1, "is not a run folder"),
    ("path", "info {text}", 1, "is not a bundle"),
    ("path", "info {parts}", 1, "is not a run folder"),
    ("path", "evaluate {parts} {run}", 1, "is not a run folder"),
    ("path", "evaluate {run} {empty}", 1, "has no classes"),
    ("path", "evaluate {run} {parts} --json {empty}/a/b.json", 1, "is not a folder"),
    ("path", "evaluate {run} {parts} --csv {empty}", 1, "is no regular file"),
    ("path", "evaluate {run} {parts} --json /dev/stdout", 1, "/dev/stdout"),
    ("path", "evaluate {run} {parts} --csv - --json -", 1, "give two places"),
    ("path", "predict {run} {none} --out {empty}/out", 1, "give an image or a folder"),
    ("path", "predict {run} {parts} --out {empty}/out --good {parts}", 1, "give --report too"),
    ("path", "bundle {parts} --out {empty}/a.mambaad", 1, "is not a run folder"),
    ("path", "bundle {run} --out {none}/a.mambaad", 1, "is not a folder"),
    ("path", "benchmark {none} --out {empty}/out", 1, "PLAN: "),
    ("path", "monitor {none} --bundle {none}", 1, "is not a run folder"),
    ("path", "data check {text}", 1, "is not a folder"),
    ("path", "data guess {none}", 1, "is not a folder"),
    ("path", "make-data {text}", 1, "is not an empty folder"),
    ("path", "registry path press --root {none}", 1, "no version in use"),
    ("path", "export {run} --out {empty} --check {parts} --data {parts}", 1, "--data: --check"),
    # Types, and words that there are not.
    ("type", "", 2, "Usage: "),
    ("type", "frobnicate", 2, "no such command 'frobnicate'; see mambaad --help"),
    ("type", "evalute {run} {parts}", 2, "did you mean 'evaluate'?"),
    ("type", "train", 2, "missing argument 'DATA'"),
    ("type", "train {parts}", 2, "missing option '--out'"),
    ("type", "train {parts} --out {empty}/run --epochs many", 2, "'--epochs'"),
    ("type", "train {parts} --out {empty}/run --lr fast", 2, "'--lr'"),
    ("type", "train {parts} --out {empty}/run --classes spoon", 1, "has no class spoon"),
    ("type", "train {parts} --out {empty}/run --resum", 2, "did you mean --resume"),
    ("type", "train {parts} --out {empty}/run --scan spiral", 1, "--scan: "),
    ("type", "train {parts} --out {empty}/run --recipe slow", 1, "--recipe: "),
    ("type", "train {parts} --out {empty}/run --device gpu", 1, "--device: expected auto, cpu"),
    ("type", "train {parts} {parts} --out {empty}/run", 2, "unexpected extra argument"),
    ("type", "evaluate {run} {parts} --protocol best", 1, "--protocol: expected one of"),
    ("type", "evaluate {run} {parts} --threads two", 2, "'--threads'"),
    ("type", "evaluate {run} {parts} --verdicts=yes", 2, "'--verdicts'"),
    ("type", "predict {run} {parts} --out", 2, "'--out' requires an argument"),
    ("type", "registry promote press one", 2, "'VERSION'"),
    # Sizes.
    ("size", "train {parts} --out {empty}/run --size 100", 1, "--size: 100 is not a mult"),
    ("size", "train {parts} --out {empty}/run --size 0", 1, "--size: "),
    ("size", "train {parts} --out {empty}/run --size 256x", 1, "--size: "),
    ("size", "train {parts} --out {empty}/run --size big", 1, "--size: "),
    ("size", "train {parts} --out {empty}/run --batch-size 0", 1, "--batch-size: "),
    ("size", "train {parts} --out {empty}/run --epochs -1", 1, "--epochs: "),
    ("size", "train {parts} --out {run} --resume --epochs 1", 1, "has had 2 epochs; give more"),
    ("size", "train {parts} --out {empty}/run --devices 3", 1, "is not a multiple of --devices"),
    ("size", "train {parts} --out {empty}/run --holdout 1.5", 1, "--holdout: "),
    ("size", "evaluate {run} {parts} --threads 0", 2, "'--threads'"),
    ("size", "evaluate {run} {parts} --max-pixels 0", 2, "'--max-pixels'"),
    ("size", "calibrate {run} {parts} --cross-fit 1", 1, "--cross-fit: expected 2"),
    ("size", "calibrate {run} {parts} --target-fpr 0", 1, "--target-fpr: expected a share"),
    ("size", "calibrate {run} {parts} --review-fpr 0.001", 1, "is below --target-fpr"),
    ("size", "make-data {empty}/data --size 33", 1, "--size: expected a multiple of 32"),
    # YAML: {yaml} is a file with the text that follows the bar.
    ("yaml", "profile --config {yaml}|systen: mambaad", 1, "line 1: there is no setting 'systen'"),
]
SETTINGS = [
    ("epoch: 3", "line 1: there is no setting 'epoch'; did you mean 'epochs'?"),
    (
        "lr: 0.1\nbatchsize: 3",
        "line 2: there is no setting 'batchsize'; did you mean 'batch_size'?",
    ),
    ("lr: 0.1\nepochs: many", "line 2: --epochs: input should be"),
    ("size: 256\nkernels: [4]", "line 2: kernels (in the file of settings): expected odd"),
    ("epochs: 3\nepochs: 4", "line 2: 'epochs' is given twice"),
    ("epochs: [3", "line 1: "),
    ("- epochs", "is not a mapping of settings"),
    ("", "is not a mapping of settings"),
    ("out: run", "line 1: out is no setting, but an argument"),
    ("lr: .nan", "line 1: expected finite numbers"),
]
PLANS = [
    ("systms: {a: {}}", "line 2: systms: there is no such field; did you mean 'systems'?"),
    (
        "systems:\n  a:\n    epoch: 3",
        "line 4: system 'a': there is no setting 'epoch'; did you mean",
    ),
    ("settings: {lr: 0}\nsystems: {a: {}}", "line 2: system 'a': --lr: input should be greater"),
    ("systems: {a: {encoder_weights: no.pth}}", "system 'a': --encoder-weights: there is no file"),
    ("systems: {a: {}}\ndata:\n  d:\n    paht: x", "line 4: data.d.paht: there is no such field"),
    ("systems: {a: {}}\ndata: {d: {path: nowhere}}", "data 'd': "),
    ("systems: {a: {}}\ndata: {d: {path: PARTS, classes: [bolts]}}", "did you mean 'bolt'?"),
]
USES += [
    ("yaml", f"train {{parts}} --out {{empty}}/run --config {{yaml}}|{text}", 1, complaint)
    for text, complaint in SETTINGS
]
USES += [
    ("yaml", f"benchmark {{yaml}} --out {{empty}}/out|{text}", 1, complaint)
    for text, complaint in [
        (text if "data:" in text else f"data: {{d: {{path: PARTS}}}}\n{text}", complaint)
        for text, complaint in PLANS
    ]
]


@pytest.fixture(scope="module")
def places(parts, trained_run, tmp_path_factory):
    """What the commands name, of which nothing may change."""
    folder = tmp_path_factory.mktemp("wrong uses")
    (folder / "empty").mkdir()
    (folder / "text.txt").write_text("notes\n")
    run = shutil.copytree(trained_run, folder / "run")
    return {
        "none": folder / "none",
        "text": folder / "text.txt",
        "empty": folder / "empty",
        "run": run,
        "parts": parts,
        "bolt": parts / "bolt" / "train",
    }


def words(command, places, folder, number):
    command, _, yaml = command.partition("|")
    file = folder / f"{number}.yaml"
    if "{yaml}" in command:
        file.write_text(yaml.replace("PARTS", str(places["parts"])))
    return [word.format(**places, yaml=file) for word in command.split()]


def test_the_table_is_as_long_as_it_is_meant_to_be():
    assert len(USES) + len(AT_ONCE) + len(LATER) + len(INTERRUPTED) + len(IMAGES) >= 120
    assert len({use[:2] for use in USES}) == len(USES) >= 60


def test_wrong_uses_are_one_line_and_an_exit_code(places, tmp_path):
    before = content(places["run"])
    found = run_without_torch(
        [words(command, places, tmp_path, n) for n, (_, command, *_) in enumerate(USES)]
    )
    wrong = []
    for (_, command, expected, complaint), (code, out, err) in zip(USES, found, strict=True):
        is_line = err.startswith("mambaad: ") and err.count("\n") == 1 and len(err) < 1000
        if not command:  # the help
            is_line = err.startswith(complaint) or out.startswith(complaint)
        elif out:
            is_line = False
        if code != expected or complaint not in err + out or "Traceback" in err or not is_line:
            wrong.append((command, code, out[-300:], err[-500:]))
    assert not wrong, "\n".join(map(str, wrong))
    assert list(places["empty"].iterdir()) == []
    assert content(places["run"]) == before


def save(path, pixels):
    Image.fromarray(pixels).save(path)


def truncated(path):
    save(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-2000])


# What is made of an image file, and what is said of it; by predict and data check.
IMAGES = [
    ("empty.png", lambda path: path.write_bytes(b""), "empty.png"),
    ("text.png", lambda path: path.write_text("no image"), "text.png cannot be read"),
    ("cut.png", truncated, "cut.png cannot be read"),
    ("deep.png", lambda path: save(path, np.full((8, 8), 900, np.uint16)), "--bit-depth"),
    ("float.tiff", lambda path: save(path, np.full((8, 8), 0.5, np.float32)), "--float-range"),
    ("photo.heic", lambda path: path.write_bytes(b"-"), "'.heic', which is not read"),
]


@pytest.mark.parametrize(("name", "make", "said"), IMAGES)
def test_wrong_images_are_one_line_each(mambaad_command, trained_run, tmp_path, name, make, said):
    folder = tmp_path / "bolt" / "train" / "good"
    folder.mkdir(parents=True)
    for i in range(3):
        save(folder / f"{i}.png", np.full((64, 64, 3), 90 + i, np.uint8))
    make(folder / name)
    code, out, err = mambaad_command("data", "check", tmp_path)
    assert "Traceback" not in err
    assert said in out
    assert code == 1 or name in ("photo.heic", "deep.png")  # of which it gives notes
    code, out, err = mambaad_command("predict", trained_run, folder / name, "--out", tmp_path / "o")
    lines = [line for line in err.splitlines() if line.startswith("mambaad: ")]
    assert (code, len(lines)) == (1, 1)
    assert name in lines[0]
    assert "Traceback" not in err


# A command, the function within whose work Ctrl-C arrives, and what the line says.
INTERRUPTED = [
    ("demo --out {empty}/demo", "mambaad.workflows.demo.demo", "what was done is kept"),
    ("train {parts} --out {empty}/run", "mambaad.workflows.train.train", "nothing was written"),
    ("evaluate {run} {parts}", "mambaad.workflows.evaluate.evaluate", "no results were"),
    ("calibrate {run} {parts} --cross-fit 3", "mambaad.workflows.calibrate.calibrate", "are kept"),
    ("predict {run} {parts} --out {empty}/o", "mambaad.workflows.predict.predict", "is kept in"),
    ("info {run}", "mambaad.cli.models.run_summary", "nothing was changed"),
    ("extend {run} {bolt} --old {parts}", "mambaad.workflows.extend.extend", "was not changed"),
    ("bundle {run} --out {empty}/a.mambaad", "mambaad.workflows.bundle.bundle", "nothing was"),
    ("make-data {empty}/d", "mambaad.data.synthetic.factory.make_data", "nothing was written"),
    ("data check {parts}", "mambaad.data.inventory.check_data", "nothing was changed"),
    ("data guess {parts}", "mambaad.data.guess.guess", "nothing was changed"),
    ("registry list", "mambaad.artifacts.registry.Registry.lines", "nothing was changed"),
    ("profile", "mambaad.workflows.profile.profile", "nothing was changed"),
]


@pytest.mark.parametrize(("command", "function", "kept"), INTERRUPTED)
def test_an_interrupt_says_what_was_kept_and_how_to_go_on(
    mambaad_command, monkeypatch, places, command, function, kept
):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    arguments = words(command, places, places["empty"], 0)
    monkeypatch.setattr(function, interrupt)
    code, out, err = mambaad_command(*arguments)
    assert (code, out) == (130, "")
    (line,) = [line for line in err.splitlines() if line.startswith("mambaad: ")]
    assert kept in line
    assert line.endswith(f" with: {shlex.join(['mambaad', *arguments])}")
    assert list(places["empty"].iterdir()) == []
