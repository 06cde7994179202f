"""Winning accuracy back: the torch executor, training, moment matching.  Needs PyTorch."""
