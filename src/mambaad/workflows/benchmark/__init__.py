"""Systems x data sets x seeds under one protocol, and the tables of what came out."""

from mambaad.workflows.benchmark.plan import Job, Plan, read_plan
from mambaad.workflows.benchmark.runner import Outcome, run_plan

__all__ = ["Job", "Outcome", "Plan", "read_plan", "run_plan"]
