"""``--quiet``, ``--verbose``, ``--json -`` and ``--threads``, as they are typed."""

import json
import os
import subprocess
import sys

import pytest


def run(*arguments, before="", **environment):
    """A command in a process of its own, in which PyTorch cannot be imported unless it is asked."""
    program = f"{before}\nfrom mambaad.cli.app import main; main()"
    kept = ("PATH", "HOME", "PYTHONPATH", "SYSTEMROOT", "COLUMNS")
    given = {name: os.environ[name] for name in kept if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**given, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_quiet_prints_results_and_no_hints(mambaad_command, parts, trained_run, capsys):
    for command in (("info", trained_run), ("data", "check", parts)):
        code, out, err = mambaad_command(*command)
        assert (code, err) == (0, "")
        assert "next: mambaad " in out
        code, quiet, err = mambaad_command(*command, "--quiet")
        assert (code, err) == (0, "")
        assert "next: " not in quiet
        assert quiet.splitlines()[:3] == out.splitlines()[:3]
    assert "next: mambaad " in mambaad_command("info", trained_run)[1]  # only that command


def test_verbose_says_where_an_error_arose(tmp_path):
    code, out, err = run("info", tmp_path)
    assert (code, out, err.count("\n")) == (1, "", 1)
    code, out, verbose = run("info", tmp_path, "--verbose")
    assert (code, out) == (1, "")
    assert verbose.endswith(err)
    assert "Traceback (most recent call last):" in verbose
    assert "mambaad.cli" in verbose


def test_results_on_standard_output_are_alone_there(mambaad_command, parts, tmp_path):
    file = tmp_path / "found.json"
    assert mambaad_command("data", "check", parts, "--json", file)[0] == 0
    code, out, err = mambaad_command("data", "check", parts, "--json", "-")
    assert code == 0
    assert out == file.read_text()
    assert json.loads(out)["layout"] == "MVTec AD"
    assert "layout of MVTec AD" in err
    assert "layout of MVTec AD" in mambaad_command("data", "check", parts)[1]
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("flag", ["--json", "--csv"])
def test_figures_on_standard_output_are_alone_there(mambaad_command, trained_run, parts, flag):
    code, out, err = mambaad_command("evaluate", trained_run, parts, flag, "-", "--threads", 1)
    assert code == 0
    assert "I-AUROC" in err
    if flag == "--json":
        assert set(json.loads(out)["classes"]) == {"bolt", "nut"}
    else:
        assert [line.split(",")[0] for line in out.splitlines()] == ["class", "bolt", "nut", "mean"]


def test_one_standard_output_for_two_results_is_refused(mambaad_command, trained_run, parts):
    both = ("--json", "-", "--csv", "-")
    code, out, err = mambaad_command("evaluate", trained_run, parts, *both)
    assert (code, out) == (1, "")
    assert err == "mambaad: --json and --csv are both -; give two places\n"


SHOWN = "import atexit, os; atexit.register(lambda: print({}))"
WAITING = "[os.environ.get(n) for n in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')]"


def test_idle_threads_sleep_in_commands_unless_the_user_chose():
    before = SHOWN.format(WAITING)
    assert run("--version", before=before)[1].endswith("['passive', '1000']\n")
    spinning = run("--version", before=before, GOMP_SPINCOUNT="infinity")[1]
    assert spinning.endswith("[None, 'infinity']\n")
    active = run("--version", before=before, OMP_WAIT_POLICY="active")[1]
    assert active.endswith("['active', None]\n")


def test_a_program_that_imports_the_package_waits_as_it_did():
    program = "import os; before = dict(os.environ); import mambaad; mambaad.train; "
    program += "assert dict(os.environ) == before, set(os.environ) - set(before)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_threads_are_those_of_openmp_too(trained_run):
    names = "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    before = SHOWN.format(f"[os.environ.get(n) for n in {names}]")
    before += "\nimport sys; sys.modules['torch'] = None"
    arguments = ("evaluate", trained_run, "none")
    assert "['1', '1', '1']" in run(*arguments, "--threads", 1, before=before)[1]
    assert "[None, None, None]" in run(*arguments, before=before)[1]
    code, _, err = run(*arguments, "--threads", 0, before=before)
    assert code == 2
    assert "invalid value for '--threads'" in err
    _, _, err = run(*arguments, "--threads", 9999, before=before)
    cores = len(os.sched_getaffinity(0))
    assert f"--threads 9999: this process may use {cores} cores" in err
