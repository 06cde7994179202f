"""Which channels live and die together, and the network without some of them.

:func:`trace` follows every channel and feature through a graph.  What belongs together, by a
residual addition, a concatenation, a flatten, a depthwise or grouped convolution, is one *unit*;
units that meet on one side of a layer are a *group*.  :func:`without` and :func:`reordered` say
what becomes of the graph and of each tensor when units are removed or put in another order:

>>> from reticule.graph import Graph, Node
>>> nodes = (Node("Conv", "c", ("x", "w"), ("h",)), Node("Flatten", "f", ("h",), ("v",)),
...          Node("Gemm", "g", ("v", "u"), ("y",)))
>>> graph = Graph({"x": (3, 2, 2)}, ("y",), nodes, {"w": (5, 3, 1, 1), "u": (10, 20)})
>>> channels = trace(graph)
>>> {name: len(units) for name, units in channels.groups.items()}
{'x': 3, 'c': 5, 'g': 10}
>>> surgery = without(channels, channels.groups["c"][[0, 3]])
>>> surgery.graph.tensors
{'w': (3, 3, 1, 1), 'u': (10, 12)}
>>> surgery.kept["w", 0].tolist()
[1, 2, 4]

The idea of dependency groups: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023.
"""

from reticule.graph.channels.surgery import Surgery as Surgery
from reticule.graph.channels.surgery import reordered as reordered
from reticule.graph.channels.surgery import without as without
from reticule.graph.channels.tracing import trace as trace
from reticule.graph.channels.units import Carried as Carried
from reticule.graph.channels.units import Channels as Channels
