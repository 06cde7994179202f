"""What a network is given, and the preprocessing that it expects.

Sources are images, with labels or without, and arrays for any inputs: files, folders, arrays,
data sets; :class:`Data` names them all.

>>> import numpy as np
>>> from reticule.data import Data
>>> images = np.arange(40 * 6, dtype="u1").reshape(40, 2, 3)
>>> data = Data((images, np.arange(40) % 4), scale=256.0)
>>> rest, held_out = data.split(fraction=0.1, seed=1)
>>> len(rest), len(held_out), data.batch([0, 1]).shape
(36, 4, (2, 1, 2, 3))
"""

from reticule.data.dataset import Data as Data
from reticule.data.preprocessing import Preprocessing as Preprocessing
