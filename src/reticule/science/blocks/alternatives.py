"""Partitions by other means, behind the same attributes: co-clustering and modularity.

============== ========================================================== =====================
method         what it finds                                              by
============== ========================================================== =====================
coclustering   as many blocks on a diagonal (Dhillon, KDD 2001)           scikit-learn
checkerboard   a grid of row and column blocks (Kluger et al. 2003)       scikit-learn
louvain        communities of rows and columns together, their number     scikit-network
               found (Blondel et al. 2008; Dugue & Perez 2015)
leiden         the same, communities connected (Traag et al. 2019)        scikit-network
============== ========================================================== =====================

Communities are *assortative*: dense inside.  Block models find any blocks.  Rows and columns
without edges, which none of them can place, get a block of their own.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from typing import Any

import numpy as np

from reticule.errors import ReticuleError
from reticule.science.blocks.families import Family
from reticule.science.blocks.model import Blocks, family_called, most_blocks, one_layer
from reticule.science.blocks.result import Partitioned, ordered
from reticule.science.optional import need

METHODS = ("coclustering", "checkerboard", "louvain", "leiden")


class CoClustering(Partitioned):
    """Blocks found without a block model, scored by its description length.

    ``blocks`` is the number of blocks that ``coclustering`` and ``checkerboard`` make (the latter
    also takes one number for each side); the other methods find it, by ``resolution``: more
    communities where it is larger.  Only sizes of weights count.  ``family`` is the family of
    :class:`~reticule.science.blocks.BlockModel` whose bits are reported.

    >>> mask = np.kron(np.eye(3), np.ones((10, 8)))
    >>> CoClustering("louvain").fit(mask).n_blocks_
    (3, 3)
    """

    def __init__(
        self,
        method: str = "coclustering",
        blocks: Blocks = 4,
        resolution: float = 1.0,
        family: str = "bernoulli",
        seed: int = 0,
    ) -> None:
        self.method, self.blocks, self.resolution = method, blocks, resolution
        self.family, self.seed = family, seed

    def fit(self, matrix: Any, y: Any = None) -> CoClustering:
        """Find the blocks of a matrix (rows, columns), dense or sparse; ``y`` is ignored.

        Raises ReticuleError for a method that does not exist and for what is not a matrix of
        finite numbers, and MissingExtra where the library is not installed.
        """
        if self.method not in METHODS:
            raise ReticuleError(f"there is no method '{self.method}'; take {', '.join(METHODS)}")
        family: Family = family_called(self.family)
        problem = one_layer(matrix, family)
        sizes = abs(need("scipy.sparse", "co-clustering").csr_matrix(matrix, dtype=np.float64))
        live_rows = np.flatnonzero(np.asarray(sizes.sum(axis=1)).ravel())
        live_columns = np.flatnonzero(np.asarray(sizes.sum(axis=0)).ravel())
        labels = [np.full(size, -1) for size in problem.sizes]
        if live_rows.size and live_columns.size:
            found = self._partition(sizes[live_rows][:, live_columns])
            labels[0][live_rows], labels[1][live_columns] = found
        self._keep(problem, ordered(problem, problem.state(labels)))
        return self

    def _partition(self, sizes: Any) -> tuple[np.ndarray, np.ndarray]:
        if self.method in ("louvain", "leiden"):
            return self._communities(sizes)
        limits = most_blocks(self.blocks, sizes.shape)
        if limits is None:
            raise ReticuleError(f"'{self.method}' needs a number of blocks")
        if min(sizes.shape) < 2 or max(limits) < 2:
            return np.zeros(sizes.shape[0], int), np.zeros(sizes.shape[1], int)
        cluster = need("sklearn.cluster", "co-clustering")
        if self.method == "coclustering":
            model = cluster.SpectralCoclustering(min(limits), random_state=self.seed)
        else:
            vectors = min(6, *sizes.shape)
            model = cluster.SpectralBiclustering(
                limits, n_components=vectors, n_best=min(3, vectors), random_state=self.seed
            )
        with warnings.catch_warnings():  # fewer distinct points than clusters: fewer blocks
            warnings.simplefilter("ignore")
            model.fit(sizes)
        return model.row_labels_, model.column_labels_

    def _communities(self, sizes: Any) -> tuple[np.ndarray, np.ndarray]:
        clustering = need("sknetwork.clustering", "communities")
        kind = clustering.Louvain if self.method == "louvain" else clustering.Leiden
        model = kind(resolution=self.resolution, random_state=self.seed)
        # Its Leiden draws from the C library's rand(), which random_state does not seed.
        ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).srand(self.seed)
        model.fit(sizes, force_bipartite=True)
        return model.labels_row_, model.labels_col_
