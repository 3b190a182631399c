"""The scan engine: the orders in which the cells of a map are visited, and the selective scan."""
