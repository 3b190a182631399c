"""From the outcomes of a benchmark to tables, and to the files that show them."""

from __future__ import annotations

import csv
import io
import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from mambaad.files import write_text
from mambaad.metrics import METRICS
from mambaad.report.run_html import svg_of
from mambaad.workflows.benchmark.plan import Plan
from mambaad.workflows.benchmark.published import published
from mambaad.workflows.benchmark.runner import Outcome

_HEADINGS = ("I-AUROC", "I-AP", "I-F1", "P-AUROC", "P-AP", "P-F1", "AU-PRO", "mAD")
_COSTS = {
    "M par.": ("parameters", 1e6, ".2f"),
    "GFLOPs": ("flops", 1e9, ".1f"),
    "images/s": ("images_per_s", 1, ".1f"),
    "training min": ("train_minutes", 1, ".1f"),
    "peak MiB": ("peak_mib", 1, ".0f"),
}


@dataclass(frozen=True)
class Table:
    """``rows``: a heading first, all as text."""

    title: str
    rows: Sequence[Sequence[str]]


def tables(plan: Plan, outcomes: Sequence[Outcome]) -> list[Table]:
    """For each data set the systems' means and costs, then each system's classes."""
    made = []
    for data_name in plan.data:
        here = [o for o in outcomes if o.job.data_name == data_name]
        by_system = {
            name: [o.result for o in here if o.job.system == name and o.result]
            for name in plan.systems
        }
        made.append(Table(f"{data_name}, mean over classes", _summary(by_system, plan, data_name)))
        made += [
            Table(f"{data_name}: {name}", _by_class(results))
            for name, results in by_system.items()
            if results
        ]
    return made


def _summary(
    by_system: Mapping[str, Sequence[Mapping[str, Any]]], plan: Plan, data_name: str
) -> list[list[str]]:
    rows = [["system", *_HEADINGS, *_COSTS]]
    for name, results in by_system.items():
        if not results:
            rows.append([name, *["failed"] * len(_HEADINGS), *["-"] * len(_COSTS)])
            continue
        means = [_percent([r["mean"][m] for r in results]) for m in METRICS]
        costs = [_cost(results, *how) for how in _COSTS.values()]
        missing = len(plan.seeds) - len(results)
        short = f" ({len(results)} of {len(plan.seeds)} seeds)" if missing else ""
        rows.append([name + short, *means, *costs])
        theirs, is_comparable = published(plan.data[data_name].known_as, results[0])
        if theirs:
            rows.append([f"{name}, published", *(f"{theirs[m]:.1f}" for m in METRICS)])
        if theirs and is_comparable:
            ours = [statistics.mean(r["mean"][m] for r in results) for m in METRICS]
            differences = (
                f"{100 * a - theirs[m]:+.1f}" for a, m in zip(ours, METRICS, strict=True)
            )
            rows.append([f"{name}, ours less published", *differences])
    width = len(rows[0])
    return [[*row, *["-"] * (width - len(row))] for row in rows]


def _by_class(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [["class", *_HEADINGS]]
    for name in results[0]["classes"]:
        rows.append([name, *(_percent([r["classes"][name][m] for r in results]) for m in METRICS)])
    rows.append(["mean", *(_percent([r["mean"][m] for r in results]) for m in METRICS)])
    return rows


def _percent(values: Sequence[float | None]) -> str:
    """The mean over seeds in per cent, with the standard deviation where there are several."""
    known = [100 * v for v in values if v is not None]
    if len(known) < len(values):
        return "-"
    mean = f"{statistics.mean(known):.1f}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.1f}"


def _cost(results: Sequence[Mapping[str, Any]], key: str, unit: float, form: str) -> str:
    values = [r[key] for r in results if r.get(key) is not None]
    return format(statistics.median(values) / unit, form) if values else "-"


def to_markdown(made: Iterable[Table]) -> str:
    """GitHub's tables, each under a heading."""
    parts = []
    for table in made:
        heading, *rows = (
            " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in row)
            for row in table.rows
        )
        rule = "|".join(["---", *["--:"] * (len(table.rows[0]) - 1)])
        lines = [f"### {' '.join(table.title.split())}", "", f"| {heading} |", f"|{rule}|"]
        parts.append("\n".join([*lines, *(f"| {row} |" for row in rows)]))
    return "\n\n".join(parts) + "\n"


def to_latex(made: Iterable[Table]) -> str:
    """``tabular`` environments for the package booktabs."""
    parts = []
    for table in made:
        heading, *rows = (" & ".join(map(_latex, row)) + r" \\" for row in table.rows)
        columns = "l" + "r" * (len(table.rows[0]) - 1)
        parts.append(
            "\n".join(
                [
                    f"% {' '.join(table.title.split())}",
                    rf"\begin{{tabular}}{{{columns}}}",
                    r"\toprule",
                    heading,
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


_LATEX = str.maketrans(
    {
        **{char: f"\\{char}" for char in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "±": r"$\pm$",
    }
)


def _latex(cell: str) -> str:
    return " ".join(cell.translate(_LATEX).split())


def to_csv(outcomes: Iterable[Outcome]) -> str:
    """Every class of every run in a row, values in [0, 1]."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    costs = [key for key, *_ in _COSTS.values()]
    writer.writerow(["data", "system", "seed", "protocol", "class", *METRICS, *costs])
    for o in outcomes:
        if not o.result:
            continue
        about = [o.job.data_name, o.job.system, o.job.seed, o.job.protocol]
        for name, values in {**o.result["classes"], "mean": o.result["mean"]}.items():
            spent = [o.result.get(key) for key in costs] if name == "mean" else [""] * len(costs)
            writer.writerow([*about, name, *(values[m] for m in METRICS), *spent])
    return text.getvalue()


def speed_plot(plan: Plan, outcomes: Sequence[Outcome], data_name: str) -> str:
    """Accuracy against speed, a point for each system: SVG text, or nothing without results."""
    points = {}
    for name in plan.systems:
        results = [
            o.result
            for o in outcomes
            if o.result and o.job.system == name and o.job.data_name == data_name
        ]
        if results:
            speed = statistics.median(r["images_per_s"] for r in results)
            accuracy = [r["mean"]["mad"] for r in results]
            if None not in accuracy:
                points[name] = (speed, 100 * statistics.mean(accuracy))
    if not points:
        return ""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for marker, (name, (x, y)) in zip(itertools.cycle("osD^vPX"), points.items(), strict=False):
        axes.scatter(x, y, s=40, marker=marker, label=name)
    # Not beside the points, where names of systems alike would lie on each other.
    legend = axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may have a dollar sign
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.2)
    axes.set_xlabel("images per second")
    axes.set_ylabel("mAD, %")
    return svg_of(figure)


def write_tables(plan: Plan, outcomes: Sequence[Outcome], out: Path) -> list[Path]:
    """Write ``results.md``, ``.tex``, ``.csv`` and ``.html``; each whole or not at all."""
    made = tables(plan, outcomes)
    failed = [(o.job.title, o.problem or "") for o in outcomes if o.problem]
    note = f"Protocol {plan.protocol}. Seeds: {', '.join(map(str, plan.seeds))}."
    if len(plan.seeds) > 1:
        note += " Mean and standard deviation over the seeds."
    problems = "".join(f"- {title}: {problem}\n" for title, problem in failed)
    if problems:
        problems = f"\nFailed:\n\n{problems}"
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mambaad.workflows.benchmark"),
        autoescape=True,
        trim_blocks=True,
    )
    html = environment.get_template("benchmark.html").render(
        title=plan.title,
        note=note,
        tables=made,
        failed=failed,
        plots={name: plot for name in plan.data if (plot := speed_plot(plan, outcomes, name))},
    )
    texts = {
        "results.md": f"## {plan.title}\n\n{note}\n\n{to_markdown(made)}{problems}",
        "results.tex": to_latex(made),
        "results.csv": to_csv(outcomes),
        "results.html": html,
    }
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]
