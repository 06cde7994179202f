"""How each form is stored: one module for each form, one entry in ``REGISTRY``."""

from reticule.codec.parts import FormCodec
from reticule.codec.storage.codebook import CodebookCodec
from reticule.codec.storage.dense import DenseCodec
from reticule.codec.storage.quantised import QuantisedCodec
from reticule.codec.storage.sparse import SparseCodec
from reticule.codec.storage.spectral import SpectralCodec

REGISTRY: dict[int, FormCodec] = {
    0: DenseCodec("<f4"),
    1: DenseCodec("<f2"),
    2: CodebookCodec(),
    3: SparseCodec(),
    4: QuantisedCodec(),
    5: SpectralCodec(),
}
"""By the tag that the file has for the form."""
