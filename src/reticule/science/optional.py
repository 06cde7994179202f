"""Optional libraries, imported when they are first needed.

The floor stands on numpy; scipy, scikit-learn, networkx and scikit-network come with the extra
``graph``.  Whoever lacks one of them learns its name and what to install.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from reticule.errors import MissingExtra

_PACKAGES = {"sklearn": "scikit-learn", "sknetwork": "scikit-network"}


@cache
def need(module: str, feature: str) -> Any:
    """A module of an optional package; raises MissingExtra naming the feature and the package.

    >>> need("scipy.special", "block models").gammaln(3.0) > 0
    np.True_
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise MissingExtra(feature, _PACKAGES.get(package, package), "graph") from None
