"""A trained model as a graph for other runtimes, with all that inspection needs beside it."""
