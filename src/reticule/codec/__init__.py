"""The codec: forms into bits and back, and the ``.ret`` file.

``save`` and ``load`` are the way in and out; docs/format.md specifies the bytes.  From
the outside in: :mod:`~reticule.codec.container`, :mod:`~reticule.codec.metadata`,
:mod:`~reticule.codec.section`, :mod:`~reticule.codec.forms`, :mod:`~reticule.codec.arrays`,
:mod:`~reticule.codec.chunks`, and the coders: :mod:`~reticule.codec.static` (preset
``instant``) and :mod:`~reticule.codec.adaptive` (``fast`` and ``small``).
"""

from reticule.codec.about import About as About
from reticule.codec.chunks import PRESETS as PRESETS
from reticule.codec.chunks import check_preset as check_preset
from reticule.codec.container import Loaded as Loaded
from reticule.codec.container import Saved as Saved
from reticule.codec.container import dumps as dumps
from reticule.codec.container import load as load
from reticule.codec.container import load_tensor as load_tensor
from reticule.codec.container import loads as loads
from reticule.codec.container import save as save
from reticule.codec.container import size_of as size_of
from reticule.codec.encoded import DEFAULT_PRESET as DEFAULT_PRESET
from reticule.codec.encoded import Weights as Weights
from reticule.codec.encoded import encode_weights as encode_weights
from reticule.codec.limits import Limits as Limits
