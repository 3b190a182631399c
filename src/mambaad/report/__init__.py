"""What people look at: heatmaps over images, and reports."""

from mambaad.report.html import Example, Report, Scores, html_report, svg_of
from mambaad.report.overlay import heatmap_overlay

__all__ = ["Example", "Report", "Scores", "heatmap_overlay", "html_report", "svg_of"]
