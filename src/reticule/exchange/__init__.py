"""Exchange: files of compressed weights that other programs wrote, or are to read.

>>> import numpy as np
>>> from reticule.forms import Packed
>>> from reticule.graph import Graph, Network, Node
>>> graph = Graph({"x": (3,)}, ("y",), (Node("Gemm", "fc", ("x", "w"), ("y",)),), {"w": (2, 3)})
>>> packed = Packed.of(Network(graph, {"w": np.array([[0, 3, 0], [0, 0, -1]], "f4")}))
>>> data = write_deep_compression(packed)
>>> again = read_deep_compression(data, like=packed)
>>> again.packed.forms["w"].name, again.packed.forms["w"].dense().tolist()
('sparse(codebook16)', [[0.0, 3.0, 0.0], [0.0, 0.0, -1.0]])
"""

from reticule.exchange.deep_compression_in import Read as Read
from reticule.exchange.deep_compression_in import load_deep_compression as load_deep_compression
from reticule.exchange.deep_compression_in import read_deep_compression as read_deep_compression
from reticule.exchange.deep_compression_out import save_deep_compression as save_deep_compression
from reticule.exchange.deep_compression_out import without_a_place as without_a_place
from reticule.exchange.deep_compression_out import (
    write_deep_compression as write_deep_compression,
)
