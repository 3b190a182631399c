"""Completion in bash, as Typer installs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

# A command of that name, wherever the package is installed or not.
SCRIPT = """#!{python}
import sys
sys.argv[0] = "mambaad"
from mambaad.cli.app import main
main()
"""
# What bash does when Tab is pressed after the words.
PRESS_TAB = """
eval "$(mambaad --show-completion bash)"
COMP_WORDS=({words}); COMP_CWORD={last}
$(complete -p mambaad | sed 's/.*-F \\([^ ]*\\).*/\\1/') mambaad
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completions(folder, *words):
    command = folder / "mambaad"
    command.write_text(SCRIPT.format(python=sys.executable))
    command.chmod(0o755)
    text = PRESS_TAB.format(words=" ".join(f"'{word}'" for word in words), last=len(words) - 1)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        ["bash", "-c", text], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_and_options_are_completed(tmp_path):
    assert completions(tmp_path, "mambaad", "ev") == ["evaluate"]
    assert completions(tmp_path, "mambaad", "registry", "pro") == ["promote"]
    assert completions(tmp_path, "mambaad", "train", "--enc") == ["--encoder", "--encoder-weights"]


def test_paths_are_left_to_the_shell(tmp_path):
    (tmp_path / "data").mkdir()
    assert completions(tmp_path, "mambaad", "train", str(tmp_path / "da")) == []
    assert Path(tmp_path, "data").is_dir()  # which bash itself completes (complete -o default)
