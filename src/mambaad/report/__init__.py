"""Reports: heatmaps over images, HTML pages, and JUnit XML."""
