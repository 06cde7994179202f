"""Blocks of a block model as contexts of the entropy coder, where their labels pay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from reticule.forms import BlockLabels, Form, Packed
from reticule.methods.base import Context, Outcome, method
from reticule.methods.structure.sizes import part_of, size_of
from reticule.science.blocks import BlockModel

FEW = ((1, 2), (2, 1), (2, 2), (3, 3))
"""Blocks of rows and columns, at most: labels that a short description pays for may be too many
for a coder that learns densities of rows and columns by itself."""


@method("block-contexts")
@dataclass(frozen=True)
class BlockContexts:
    """Tell the entropy coder the blocks of a block model, where that makes the file smaller.

    Block models of a pruned layer say how many weights are stored between a block of outputs and
    a block of inputs.  Here they do not change the network: each weight's pair of blocks is one
    more context of the coder's adaptive model, for the mask and for the values under it, and the
    file holds the labels of rows and columns.  Candidates are plain and degree-corrected models
    of which kernels are stored, and models of the kernels' magnitudes with a scale for each pair
    of blocks (Laplace), with as many blocks as their description length likes (``blocks`` at
    most) and with very few.  Of each weight tensor the labels are kept with which it takes the
    fewest bytes, and none where none pays for itself: the file never grows, and no weight changes.
    Only the preset ``small`` has this context.

    >>> import numpy as np
    >>> from reticule.forms import Dense, Sparse
    >>> from reticule.graph import Graph, Node
    >>> rng = np.random.default_rng(0)
    >>> dense = rng.integers(0, 4, 200)[:, None] == rng.integers(0, 4, 300)
    >>> mask = rng.random((200, 300)) < np.where(dense, 0.6, 0.02)
    >>> weights = Sparse.at(mask, Dense(np.ones(int(mask.sum()), "f4")))
    >>> node = Node("Gemm", "fc", ("x", "w"), ("y",))
    >>> packed = Packed(Graph({"x": (300,)}, ("y",), (node,), {"w": (200, 300)}), {"w": weights})
    >>> outcome = BlockContexts().apply(packed, Context(packed.network()))
    >>> outcome.notes["blocks"], outcome.notes["bytes_saved"] > 1000
    ({'w': '4 x 4 (bernoulli)'}, True)

    Source: ours; the models: Holland, Laskey, Leinhardt, "Stochastic blockmodels: first steps",
    1983; Karrer, Newman, "Stochastic blockmodels and community structure in networks", 2011.
    """

    blocks: Annotated[int, Field(ge=2, le=32)] = 16
    restarts: Annotated[int, Field(ge=1)] = 2

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        given, start = packed, size_of(packed, context)
        packed = replace(packed, hints={})
        least = size_of(packed, context)
        chosen: dict[str, str] = {}
        skipped: dict[str, str] = {}
        names = list(dict.fromkeys(name for _, name in packed.graph.weights()))
        with context.progress.bar("blocks", sum(packed.forms[n].size for n in names)) as bar:
            for name in names:
                found = self._best(packed, name, context)
                bar.advance(packed.forms[name].size, name)
                if found is None:
                    skipped[name] = "one row or one column, or no blocks"
                    continue
                # What the coder learns carries over to the next tensors: the file decides.
                title, hint = found
                tried = replace(packed, hints={**packed.hints, name: hint})
                if (size := size_of(tried, context)) < least:
                    packed, least = tried, size
                    chosen[name] = "{} x {} ({})".format(*hint.blocks, title)
                else:
                    skipped[name] = "labels of blocks cost more than they save"
        if least > start:  # it came with better ones
            return Outcome(given, notes={"bytes_saved": 0, "blocks": {}})
        return Outcome(packed, skipped, {"bytes_saved": start - least, "blocks": chosen})

    def _best(self, packed: Packed, name: str, context: Context) -> tuple[str, BlockLabels] | None:
        """The labels with which a tensor by itself takes the fewest bytes, and their model."""
        if not packed.forms[name].size or min(packed.forms[name].shape[:2]) < 2:
            return None
        alone = part_of(packed, [name])
        return min(
            self._candidates(packed.forms[name]),
            key=lambda found: size_of(replace(alone, hints={name: found[1]}), context),
            default=None,
        )

    def _candidates(self, form: Form) -> Iterator[tuple[str, BlockLabels]]:
        """Labels to try, by the name of their model; the same ones are not tried twice."""
        tried = set()
        for family, matrix in _matrices(form):
            for most in (self.blocks, *FEW):
                model = BlockModel(family, most, self.restarts).fit(matrix)
                hint = BlockLabels(_by_size(model.row_labels_), _by_size(model.column_labels_))
                key = hint.rows.tobytes() + hint.columns.tobytes()
                if hint.blocks != (1, 1) and hint.fits(form.shape) and key not in tried:
                    tried.add(key)
                    yield family, hint


def _matrices(form: Form) -> Iterator[tuple[str, np.ndarray]]:
    """What to fit a block model to (rows, columns), and its family."""
    kernels = form.dense().reshape(*form.shape[:2], -1)
    stored = (kernels != 0).any(2)
    if not stored.any():
        return
    if not stored.all():
        yield "bernoulli", stored
        yield "degree-corrected", stored
    yield "laplace", np.abs(kernels).sum(2)


def _by_size(labels: np.ndarray) -> np.ndarray:
    """The same blocks, the largest first: small labels are the cheaper ones."""
    order = np.argsort(-np.bincount(labels), kind="stable")
    return np.argsort(order)[labels]
