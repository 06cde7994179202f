"""Whole neurons and channels, chosen by what the others can say in their place."""
