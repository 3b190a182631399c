"""From cameras, videos and folders to the frames of each part; no model is needed for it."""
