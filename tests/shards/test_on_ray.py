"""Jobs on a Ray cluster, each in a program of its own: Ray leaves threads and handlers behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.one_ray import one_ray  # noqa: F401  # by name

pytest.importorskip("ray", reason="needs ray: pip install 'mambaad[ray]'")
pytestmark = pytest.mark.usefixtures("one_ray")

_SETUP = """
import logging, os, sys, threading, time
from pathlib import Path
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
# A busy machine takes long to start a cluster, and to answer.
os.environ["RAY_raylet_start_wait_time_s"] = "600"
os.environ["RAY_gcs_rpc_server_reconnect_timeout_s"] = "600"
import ray
from ray.cluster_utils import Cluster
from mambaad.errors import RunError
from mambaad.shards.on_ray import Ray
from mambaad.shards.processes import Processes
from mambaad.workflows.inspect import inspect

run, images, place = map(Path, sys.argv[1:])
TIME = "2026-01-01T00:00:00+00:00"
"""


def outcome(program: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run a program, and return what it printed."""
    code = _SETUP + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_a_node_that_dies_changes_nothing(calibrated_run: Path, many_parts: Path, tmp_path: Path):
    done = outcome(
        """
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        node = cluster.add_node(num_cpus=1)
        out = place / "ray"

        class Killing(Ray):
            def run(self, plan, shards):
                is_dead = False
                for done in super().run(plan, shards):
                    if not is_dead:  # while both nodes are at work on others
                        cluster.remove_node(node, allow_graceful=False)
                        is_dead = True
                    yield done

        executor = Killing(2, cluster.address)
        ray_job = inspect(run, [images], out, executor=executor, shard_size=3, time=TIME)
        cluster.shutdown()
        other = inspect(run, [images], place / "processes", executor=Processes(1), shard_size=3,
                        time=TIME)
        names = {p.relative_to(out) for p in out.rglob("*") if p.is_file()}
        assert names == {p.relative_to(place / "processes")
                         for p in (place / "processes").rglob("*") if p.is_file()}
        for name in names:
            assert (out / name).read_bytes() == (place / "processes" / name).read_bytes(), name
        print(ray_job.rows, ray_job.verdicts == other.verdicts)
        """,
        calibrated_run,
        many_parts / "nut" / "train" / "good",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "30 True", done.stderr


def test_a_pool_without_room_is_said(calibrated_run: Path, many_parts: Path, tmp_path: Path):
    done = outcome(
        """
        import mambaad.shards.on_ray
        mambaad.shards.on_ray.PATIENCE = 3.0
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        began = time.monotonic()
        try:
            inspect(run, [images], place, executor=Ray(1, cluster.address), time=TIME)
        except RunError as error:
            print(time.monotonic() - began < 30, error)
        cluster.shutdown()
        """,
        calibrated_run,
        many_parts / "nut" / "train" / "good",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert "no worker could be started within 3 s: each takes 1 CPU, and the cluster has" in line
    assert "0 CPU, 0 of them free" in line
    assert not list((tmp_path / "done").glob("*"))


def test_a_cluster_that_is_not_there(calibrated_run: Path, many_parts: Path, tmp_path: Path):
    done = outcome(
        """
        os.environ["RAY_gcs_server_request_timeout_seconds"] = "1"
        try:
            inspect(run, [images], place, executor=Ray(1, "auto"), time=TIME)
        except RunError as error:
            print(error)
        """,
        calibrated_run,
        many_parts / "nut" / "train" / "good",
        tmp_path,
    )
    assert done.stdout.startswith("--ray-address: auto cannot be reached"), done.stderr
