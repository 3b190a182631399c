"""The scan engine: in which order the cells of a map are visited, and the selective scan."""
