"""A recipe applied to a network, and the decoded file measured.

* :mod:`~reticule.compression.sets`: the inputs, checked against the network and divided
* :mod:`~reticule.compression.runner`: the stages of a recipe, with their journal
* :mod:`~reticule.compression.measurer`: the file, decoded and measured in a fresh process
* :mod:`~reticule.compression.compressing`: all of it, for one network
"""

from reticule.compression.compressing import compress as compress
