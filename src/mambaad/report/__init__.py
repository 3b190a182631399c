"""What people look at: heatmaps over images, and reports."""

from mambaad.report.html import Example, Report, Scores, html_report, svg_of
from mambaad.report.junit import Case, junit_xml
from mambaad.report.overlay import draw_outlines, heatmap_overlay

__all__ = [
    "Case",
    "Example",
    "Report",
    "Scores",
    "draw_outlines",
    "heatmap_overlay",
    "html_report",
    "junit_xml",
    "svg_of",
]
