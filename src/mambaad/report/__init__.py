"""What people look at: heatmaps over images, and pages."""
