"""Forms: how one weight tensor is represented."""

from reticule.forms.base import Form as Form
from reticule.forms.base import matrix_shape as matrix_shape
from reticule.forms.codebook import Codebook as Codebook
from reticule.forms.common import Common as Common
from reticule.forms.dense import Dense as Dense
from reticule.forms.factored import Factored as Factored
from reticule.forms.hashed import Hashed as Hashed
from reticule.forms.labels import BlockLabels as BlockLabels
from reticule.forms.lapped import Lapped as Lapped
from reticule.forms.packed import Packed as Packed
from reticule.forms.planes import BitPlanes as BitPlanes
from reticule.forms.quantised import Quantised as Quantised
from reticule.forms.scaled import Scaled as Scaled
from reticule.forms.sparse import Sparse as Sparse
from reticule.forms.spectral import Spectral as Spectral
from reticule.forms.taking import channels_of as channels_of
from reticule.forms.taking import operated as operated
from reticule.forms.taking import rigid as rigid
from reticule.forms.taking import taken as taken
from reticule.forms.wavelet import Wavelet as Wavelet
