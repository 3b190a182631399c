"""What people look at: heatmaps over images."""

from mambaad.report.overlay import heatmap_overlay

__all__ = ["heatmap_overlay"]
