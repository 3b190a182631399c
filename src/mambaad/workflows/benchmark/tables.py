"""Tables of a benchmark's outcomes, and the files that show them."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from mambaad.files import write_text
from mambaad.metrics.names import HEADINGS, METRICS
from mambaad.report.look import svg_of, templates
from mambaad.workflows.benchmark.plan import Plan
from mambaad.workflows.benchmark.published import published
from mambaad.workflows.benchmark.runner import Outcome
from mambaad.workflows.csv_text import csv_text

_METRIC_HEADINGS = tuple(HEADINGS[metric] for metric in METRICS)
_PROFILE = {
    "M par.": ("parameters", 1e6, ".2f"),
    "GFLOPs": ("flops", 1e9, ".1f"),
    "images/s": ("images_per_s", 1, ".1f"),
    "training min": ("train_minutes", 1, ".1f"),
    "peak MiB": ("peak_mib", 1, ".0f"),
}


@dataclass(frozen=True)
class Table:
    """A table; the first of ``rows`` is its heading."""

    title: str
    rows: Sequence[Sequence[str]]


def tables(plan: Plan, outcomes: Sequence[Outcome]) -> list[Table]:
    """Make for each data set a table of the systems' means and profiles, then one per system.

    Where several data sets of a plan are parts of one folder, as COCO-AD's four splits are, a last
    table has their mean: that of one model for each.
    """
    result_tables = []
    for data_name in plan.data:
        of_data = [o for o in outcomes if o.job.data_name == data_name]
        by_system = {
            name: [o.result for o in of_data if o.job.system == name and o.result]
            for name in plan.systems
        }
        result_tables.append(
            Table(f"{data_name}, mean over classes", _summary(by_system, plan, data_name))
        )
        result_tables += [
            Table(f"{data_name}: {name}", _by_class(results))
            for name, results in by_system.items()
            if results
        ]
    folders: dict[Path, list[str]] = {}
    for data_name, data in plan.data.items():
        folders.setdefault(data.path, []).append(data_name)
    return result_tables + [
        Table(f"Mean over {', '.join(names)}", _over_parts(plan, outcomes, names))
        for names in folders.values()
        if len(names) > 1
    ]


def _over_parts(plan: Plan, outcomes: Sequence[Outcome], names: Sequence[str]) -> list[list[str]]:
    """Average each seed's means over parts of one data set; ``-`` where one of them is missing."""
    rows = [["system", *_METRIC_HEADINGS]]
    for system in plan.systems:
        per_seed = []
        for seed in plan.seeds:
            means = [
                o.result["mean"]
                for o in outcomes
                if o.result
                and (o.job.system, o.job.seed) == (system, seed)
                and o.job.data_name in names
            ]
            if len(means) == len(names):
                per_seed.append(means)
        cells = []
        for metric in METRICS:
            values = [[mean[metric] for mean in means] for means in per_seed]
            known = [statistics.mean(v) for v in values if None not in v]
            cells.append(_percent(known) if known and len(known) == len(plan.seeds) else "-")
        rows.append([system, *cells])
    return rows


def _summary(
    by_system: Mapping[str, Sequence[Mapping[str, Any]]], plan: Plan, data_name: str
) -> list[list[str]]:
    rows = [["system", *_METRIC_HEADINGS, *_PROFILE]]
    for name, results in by_system.items():
        if not results:
            rows.append([name, *["failed"] * len(METRICS), *["-"] * len(_PROFILE)])
            continue
        means = [_percent([r["mean"][m] for r in results]) for m in METRICS]
        profile = [_median(results, *column) for column in _PROFILE.values()]
        missing = len(plan.seeds) - len(results)
        short = f" ({len(results)} of {len(plan.seeds)} seeds)" if missing else ""
        rows.append([name + short, *means, *profile])
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
    rows = [["class", *_METRIC_HEADINGS]]
    for name in results[0]["classes"]:
        rows.append([name, *(_percent([r["classes"][name][m] for r in results]) for m in METRICS)])
    rows.append(["mean", *(_percent([r["mean"][m] for r in results]) for m in METRICS)])
    return rows


def _percent(values: Sequence[float | None]) -> str:
    """Format the mean over seeds in per cent, with the standard deviation if there are several."""
    percentages = [100 * v for v in values if v is not None]
    if len(percentages) < len(values):
        return "-"
    mean = f"{statistics.mean(percentages):.1f}"
    if len(percentages) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(percentages):.1f}"


def _median(results: Sequence[Mapping[str, Any]], key: str, unit: float, spec: str) -> str:
    values = [r[key] for r in results if r.get(key) is not None]
    return format(statistics.median(values) / unit, spec) if values else "-"


def to_markdown(result_tables: Iterable[Table]) -> str:
    """Format tables as GitHub Markdown, each under a heading."""
    parts = []
    for table in result_tables:
        heading, *rows = (
            " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in row)
            for row in table.rows
        )
        rule = "|".join(["---", *["--:"] * (len(table.rows[0]) - 1)])
        lines = [f"### {' '.join(table.title.split())}", "", f"| {heading} |", f"|{rule}|"]
        parts.append("\n".join([*lines, *(f"| {row} |" for row in rows)]))
    return "\n\n".join(parts) + "\n"


def to_latex(result_tables: Iterable[Table]) -> str:
    """Format tables as ``tabular`` environments for the package booktabs."""
    parts = []
    for table in result_tables:
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
    """Format every class of every run as a row of CSV, values in [0, 1]."""
    profile = [key for key, *_ in _PROFILE.values()]
    rows: list[list[object]] = [["data", "system", "seed", "protocol", "class", *METRICS, *profile]]
    for o in outcomes:
        if not o.result:
            continue
        job = [o.job.data_name, o.job.system, o.job.seed, o.job.protocol]
        every = [*o.result["classes"].items(), ("mean", o.result["mean"])]
        for number, (name, values) in enumerate(every, start=1):
            is_mean = number == len(every)  # the profile is that of the run, not of a class
            cells = [o.result.get(key) if is_mean else "" for key in profile]
            rows.append([*job, name, *(values[m] for m in METRICS), *cells])
    return csv_text(rows)


def speed_plot(plan: Plan, outcomes: Sequence[Outcome], data_name: str) -> str:
    """Draw accuracy against speed, a point per system, as SVG; empty without results."""
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
    # Not labels beside the points: those of similar systems would overlap.
    legend = axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may contain a dollar sign
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.2)
    axes.set_xlabel("images per second")
    axes.set_ylabel("mAD, %")
    return svg_of(figure)


def write_tables(plan: Plan, outcomes: Sequence[Outcome], out: Path) -> list[Path]:
    """Write ``results.md``, ``.tex``, ``.csv`` and ``.html``, each whole or not at all."""
    result_tables = tables(plan, outcomes)
    failed = [(o.job.title, o.problem or "") for o in outcomes if o.problem]
    seeds = ", ".join(map(str, plan.seeds))
    note = f"Protocol {plan.protocol}, pixels at the map's size. Seeds: {seeds}."
    if len(plan.seeds) > 1:
        note += " Mean and standard deviation over the seeds."
    problems = "".join(f"- {title}: {problem}\n" for title, problem in failed)
    if problems:
        problems = f"\nFailed:\n\n{problems}"
    environment = templates("mambaad.workflows.benchmark")
    html = environment.get_template("benchmark.html").render(
        title=plan.title,
        note=note,
        tables=result_tables,
        failed=failed,
        plots={name: plot for name in plan.data if (plot := speed_plot(plan, outcomes, name))},
    )
    texts = {
        "results.md": f"## {plan.title}\n\n{note}\n\n{to_markdown(result_tables)}{problems}",
        "results.tex": to_latex(result_tables),
        "results.csv": to_csv(outcomes),
        "results.html": html,
    }
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]
