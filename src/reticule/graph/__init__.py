"""The network: its small representation, and the ways in and out."""

from reticule.graph.network import Graph as Graph
from reticule.graph.network import Network as Network
from reticule.graph.network import Node as Node
