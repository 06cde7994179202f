"""Networks that are trained briefly on images that are drawn here, for benchmarks and tests."""
