"""How each form is stored: one module for each form, one entry in ``REGISTRY``."""

from reticule.codec.parts import FormCodec
from reticule.codec.storage.blocks import BlocksCodec
from reticule.codec.storage.codebook import CodebookCodec
from reticule.codec.storage.common import CommonCodec
from reticule.codec.storage.dense import DenseCodec
from reticule.codec.storage.factored import FactoredCodec
from reticule.codec.storage.grids import LappedCodec, WaveletCodec
from reticule.codec.storage.hashed import HashedCodec
from reticule.codec.storage.planes import PlanesCodec
from reticule.codec.storage.quantised import QuantisedCodec
from reticule.codec.storage.scaled import ScaledCodec
from reticule.codec.storage.sparse import SparseCodec
from reticule.codec.storage.spectral import SpectralCodec

LABELLED = 14
"""The tag of labels of rows and columns, with the form of the tensor inside."""

IN_BLOCKS = 12
"""The tag of a sparse form whose mask is one of blocks."""

REGISTRY: dict[int, FormCodec] = {
    0: DenseCodec("<f4"),
    1: DenseCodec("<f2"),
    2: CodebookCodec(),
    3: SparseCodec(),
    4: QuantisedCodec(),
    5: SpectralCodec(),
    6: ScaledCodec(),
    7: HashedCodec(),
    8: CommonCodec(),
    9: LappedCodec(),
    10: WaveletCodec(),
    11: PlanesCodec(),
    IN_BLOCKS: BlocksCodec(),
    13: FactoredCodec(),
}
"""By the tag that the file has for the form."""
