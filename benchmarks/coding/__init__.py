"""The parts of benchmarks/codec.py."""
