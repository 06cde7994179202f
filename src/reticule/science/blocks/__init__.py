"""Block models of weights and masks, and partitions by other means."""

from reticule.science.blocks.alternatives import CoClustering as CoClustering
from reticule.science.blocks.families import FAMILIES as FAMILIES
from reticule.science.blocks.model import BlockModel as BlockModel
from reticule.science.blocks.model import CoupledBlockModel as CoupledBlockModel
from reticule.science.blocks.model import description_length as description_length
