"""The network: its small representation, and the ways in and out."""

from reticule.graph.fold import fold_batch_norm as fold_batch_norm
from reticule.graph.network import Graph as Graph
from reticule.graph.network import Network as Network
from reticule.graph.network import Node as Node
