"""Layers of low rank: weights as products of thin factors."""
