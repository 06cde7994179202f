"""Parts of the benchmark of network science."""
