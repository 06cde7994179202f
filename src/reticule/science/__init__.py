"""The network as a complex network: its weighted graphs, and block models of them."""

from reticule.science.blocks import FAMILIES as FAMILIES
from reticule.science.blocks import BlockModel as BlockModel
from reticule.science.blocks import CoClustering as CoClustering
from reticule.science.blocks import CoupledBlockModel as CoupledBlockModel
from reticule.science.blocks import description_length as description_length
from reticule.science.embeddings import UnitEmbedding as UnitEmbedding
from reticule.science.exports import load_npz as load_npz
from reticule.science.exports import save_npz as save_npz
from reticule.science.exports import to_networkx as to_networkx
from reticule.science.exports import write_graphml as write_graphml
from reticule.science.graphs import LayerGraph as LayerGraph
from reticule.science.graphs import NetworkGraph as NetworkGraph
from reticule.science.graphs import network_graph as network_graph
