"""How weights that share a few values are stored."""

from __future__ import annotations

import numpy as np

from reticule.codec.arrays import Kind, Role, Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault, ModelError
from reticule.forms import Codebook, Form

MAX_CENTROIDS = 1 << 16


class CodebookCodec:
    """Indices as ranks: centroids in rising order, counted from zero.

    So a coder sees small integers for small weights.  The form keeps its own order.
    """

    kind: type[Form] = Codebook

    def write(self, form: Codebook, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        k = form.centroids.shape[0]
        if k > MAX_CENTROIDS:
            raise ModelError(f"{k} centroids; {MAX_CENTROIDS} are possible")
        out.structure.varint(k)
        ranks = _ranks(form.centroids.dense())
        values = ranks[form.indices] if k else np.zeros(form.indices.shape, np.int32)
        out.array(slot, Kind.INTEGERS, values, k)
        return [(form.centroids, Slot.of((k,), Role.CODEBOOK))]

    def read(self, slot: Slot, source: Reader) -> Part:
        k = source.structure.varint()
        if k > MAX_CENTROIDS:
            raise source.fail(Fault.TOO_LARGE, f"{k} centroids")
        array = source.array(slot, Kind.INTEGERS, "i4", k)
        inner = Slot.of((k,), Role.CODEBOOK)

        def build(forms: list[Form]) -> Form:
            ranks = _ranks(forms[0].dense())
            index_of = np.full(2 * k + 1, k, np.int32)  # k: no centroid has this rank
            index_of[ranks + k] = np.arange(k)
            indices = index_of[slot.take(array.data) + k]
            if int(indices.max(initial=-1)) >= k:
                raise source.fail(Fault.BAD_INDEX, "a rank without a centroid")
            return Codebook(indices, forms[0])

        return Part(build, [inner])


def _ranks(centroids: np.ndarray) -> np.ndarray:
    """The rank of each centroid: 0 for the first zero, 1, 2, ... upwards, -1, -2, ... down.

    Equal centroids are ranked in the order of the table.

    >>> _ranks(np.array([0.5, -1.0, 0.25, -2.0], "f4")).tolist()
    [2, -1, 1, -2]
    >>> _ranks(np.array([0.5, 0.0, -1.0], "f4")).tolist()
    [1, 0, -1]
    """
    order = np.argsort(centroids, kind="stable")
    negative = int(np.count_nonzero(centroids < 0))
    places = np.arange(centroids.size, dtype=np.int32) - negative
    if not (centroids == 0).any():
        places[negative:] += 1
    ranks = np.empty(centroids.size, np.int32)
    ranks[order] = places
    return ranks
