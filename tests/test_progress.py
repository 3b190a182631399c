"""What is called from Python is silent and logs; the command line shows the same lines."""

import logging
import os
import subprocess
import sys

import pytest

from mambaad.progress import say, warn


def run_python(code, folder=None):
    env = {name: value for name, value in os.environ.items() if name != "MAMBAAD_SHOW_PROGRESS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=env,
        check=True,
        cwd=folder,
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", ""),
        ("logging.basicConfig(format='%(name)s: %(message)s')", "mambaad.progress: careful\n"),
        (
            "logging.basicConfig(format='%(levelname)s %(message)s', level='INFO')",
            "INFO 3 images\nWARNING careful\n",
        ),
        (
            "logging.getLogger('mambaad').setLevel('ERROR'); logging.basicConfig(level='INFO')",
            "",
        ),
        ("from mambaad.progress import show_progress; show_progress()", "3 images\ncareful\n"),
    ],
)
def test_lines_go_where_the_program_sends_its_log(before, expected):
    code = f"import logging\nfrom mambaad.progress import ProgressBar, say, warn\n{before}\n"
    code += "with ProgressBar('working') as bar:\n    bar.update(1, 2)\n"
    assert run_python(code + "say('3 images'); warn('careful')") == ("", expected)


def test_processes_of_a_command_show_their_lines():
    code = (
        "import subprocess, sys\n"
        "from mambaad.progress import show_progress\n"
        "show_progress()\n"
        "code = 'from mambaad.progress import say; say(\"from a child\")'\n"
        "subprocess.run([sys.executable, '-c', code])\n"
    )
    assert run_python(code) == ("", "from a child\n")


def test_odd_names_are_one_line_of_text(capsys):
    say("a\nb\x1b[31m [bold]c")
    warn("100 %s")
    assert capsys.readouterr().err == "a\\nb\\x1b[31m [bold]c\n100 %s\n"
    assert logging.getLogger("mambaad.progress").parent is logging.getLogger("mambaad")


def test_the_whole_job_from_python_prints_nothing(parts, tmp_path):
    code = f"""
import logging
import mambaad
logging.getLogger("mambaad").addHandler(logging.FileHandler("log.txt"))
logging.getLogger("mambaad").setLevel("INFO")
run = mambaad.train({str(parts)!r}, "run", variant="lite", encoder="resnet18",
                    encoder_weights="random", size=32, directions=2, epochs=1, batch_size=4)
mambaad.evaluate(run, {str(parts)!r})
mambaad.predict(run, {str(parts / "nut" / "test")!r}, "out")
"""
    assert run_python(code, tmp_path) == ("", "")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[0] == "12 training images of 2 classes: bolt 6, nut 6"
    assert any(line.startswith("epoch 1/1  loss ") for line in lines)
