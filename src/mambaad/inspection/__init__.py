"""From what a model observes in an image to a verdict."""
