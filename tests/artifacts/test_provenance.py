import subprocess

from mambaad.artifacts.provenance import git_revision


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_revision_of_the_checkout_that_tracks_a_package(tmp_path):
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert git_revision(package) is None  # no checkout at all
    git(tmp_path, "init")
    (tmp_path / "README").write_text("")
    git(tmp_path, "add", "README")
    git(tmp_path, "commit", "-m", "without the package")
    assert git_revision(package) is None  # installed into somebody else's checkout
    git(tmp_path, "add", "src")
    git(tmp_path, "commit", "-m", "with it")
    assert git_revision(package) == git(tmp_path, "rev-parse", "HEAD")
    # Modules come and go: the provenance stays.
    (package / "moved.py").write_text("")
    assert git_revision(package) == git(tmp_path, "rev-parse", "HEAD")
