"""ONNX in: :func:`from_onnx`, and the steps it takes.

``importer`` drives; ``file`` reads and checks, ``constants`` folds what depends on no
image, ``rules`` turn nodes into operators (``windows``, ``layout``, ``select`` and ``lrn``
hold families of them), ``builder`` collects the graph, ``finish`` cleans it up.
"""

from reticule.graph.onnx_in.importer import from_onnx as from_onnx
