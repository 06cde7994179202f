"""The command ``reticule``: thin commands over the public functions."""

from reticule.cli.app import main as main
