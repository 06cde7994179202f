"""PyTorch modules in: :func:`from_torch`, and the steps it takes.

``export`` traces the module, ``importer`` walks the trace, the ``aten_*`` files turn its
operations into operators family by family, ``builder`` collects the graph.
"""

from reticule.graph.torch_in.importer import from_torch as from_torch
