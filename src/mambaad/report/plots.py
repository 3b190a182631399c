"""The plots of the pages: histograms of scores, and curves over epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from mambaad.report.look import INK, MARK, SERIES, themed_svg

_STYLES = (":", "--")


def histogram(
    groups: Sequence[tuple[str, Sequence[float], bool]],
    thresholds: Sequence[tuple[str, float]] = (),
    *,
    xlabel: str = "image score",
    as_shares: bool = False,
    bins: int = 31,
    size: tuple[float, float] = (3.9, 2.3),
) -> str:
    """Draw the scores of groups of images, as SVG for a page.

    Args:
        groups: of each its name, its scores, and whether it is a mark among the others: defective
            parts, or the line of a reference.
        thresholds: at most two names and values, drawn as lines.
        xlabel: what the values are.
        as_shares: shares of a group's images instead of counts: groups of very different sizes
            can be compared.
        bins: of the histogram, and one more.
        size: of the figure in inches of 72 px.
    """
    values = [v for _, scores, _ in groups for v in scores] + [v for _, v in thresholds]
    edges = np.linspace(min(values), max(max(values), min(values) + 1e-6), bins).tolist()
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for name, scores, is_mark in groups:
        weights = np.full(len(scores), 1 / max(len(scores), 1) if as_shares else 1.0)
        label = f"{name} ({len(scores)})"
        if as_shares and is_mark:
            axes.hist(scores, edges, weights=weights, histtype="step", color=INK, label=label)
        else:
            colour = MARK if is_mark else SERIES
            axes.hist(scores, edges, weights=weights, color=colour, alpha=0.75, label=label)
    for (name, value), style in zip(thresholds, _STYLES[-len(thresholds) :], strict=False):
        axes.axvline(value, color=MARK, linestyle=style, linewidth=1.4, label=name)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("share of images" if as_shares else "images")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=not as_shares))
    # Above the plot, since within it the legend would cover bars or thresholds.
    figure.legend(frameon=False, fontsize=8, loc="outside upper left", ncols=2)
    return themed_svg(figure)


def curve(
    values: Sequence[float],
    ylabel: str,
    *,
    log: bool = False,
    size: tuple[float, float] = (4.4, 2.3),
) -> str:
    """Draw a value for each epoch, as SVG for a page.

    Args:
        values: of the epochs, from the first.
        ylabel: what they are.
        log: whether on a logarithmic axis; they are positive then.
        size: of the figure in inches of 72 px.
    """
    figure = Figure(figsize=size, layout="constrained")
    axes: Axes = figure.subplots()
    axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, color=SERIES)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    if log and min(values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif min(values) >= 0:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return themed_svg(figure)
