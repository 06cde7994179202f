"""Every example in a docstring of the package runs and is right."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import reticule

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(reticule.__path__, "reticule.")
    if not module.name.endswith(("_native", "__main__"))
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
