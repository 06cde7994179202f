"""Block pruning: whole blocks of weights go while training, and what stays lies together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from reticule.forms import Packed
from reticule.forms.base import Shape
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.automatic import Cut
from reticule.methods.prune.gather import gathered
from reticule.methods.prune.gradual import GradualPruning
from reticule.methods.prune.scores import Scope, Shares
from reticule.methods.prune.twins import MaskedTwin

Side = Annotated[int, Field(ge=1, le=64)]


@method("block-pruning")
@dataclass(frozen=True)
class BlockPruning(GradualPruning):
    """Prune blocks of weights instead of single ones, while training.

    A block is ``rows`` output channels times ``columns`` input channels; of a convolution at
    one tap of the kernel (``kernel: taps``), or at all of them (``whole``).  The density follows
    the schedule of gradual pruning; a block counts by its norm, by ``score`` and ``scope`` as
    single weights do.  On the way the loss has a group lasso,

        lasso * sum over blocks b of sqrt(|b|) * ||W_b||,

    which draws small blocks to zero.  With ``gather``, units first change places so that blocks
    gather what is large (see :mod:`reticule.methods.prune.gather`): this changes no answer.

    What is left are dense blocks: their mask takes next to nothing to store, and the engine
    multiplies four rows at a time.  With ``density`` "auto", retraining is expected to win back
    less than for single weights.

    Source: Wen et al., "Learning Structured Sparsity in Deep Neural Networks", NIPS 2016 (group
    lasso); Narang et al., "Block-Sparse Recurrent Neural Networks", 2017 (blocks on a schedule).
    """

    rows: Side = 4
    columns: Side = 4
    kernel: Literal["taps", "whole"] = "taps"
    lasso: Annotated[float, Field(ge=0)] = 1e-5
    gather: bool = True
    conv_reach: Annotated[float, Field(ge=1)] = 1.3
    linear_reach: Annotated[float, Field(ge=1)] = 1.5

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def selected(self, packed: Packed) -> tuple[list[str], dict[str, str]]:
        names, skipped = super().selected(packed)
        groups: dict[str, Any] = {
            weight: node.settings.get("group", 1) for node, weight in packed.graph.weights()
        }
        for name in list(names):
            rows, columns = packed.forms[name].shape[:2]
            if rows // groups[name] % self.rows and groups[name] > 1:
                skipped[name] = f"blocks of {self.rows} rows lie across its groups"
            elif rows < self.rows or columns < self.columns:
                skipped[name] = f"{rows} x {columns} channels are less than a block"
            else:
                continue
            names.remove(name)
        return names, skipped

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, _ = self.selected(packed)
        if self.gather:
            sides = {name: self._sides(packed.forms[name].shape) for name in names}
            packed = gathered(packed, sides)
        return super().apply(packed, context)

    def cut_by(self, scope: Scope | Shares) -> Cut:
        rank = super().cut_by(scope)

        def cut(weights: Mapping[str, np.ndarray], density: float) -> dict[str, np.ndarray]:
            sides = {name: self._sides(values.shape) for name, values in weights.items()}
            norms = {name: block_norms(values, sides[name]) for name, values in weights.items()}
            masks = rank(norms, density)
            return {
                name: spread(mask, sides[name], weights[name].shape) for name, mask in masks.items()
            }

        return cut

    def penalty_of(self, twins: Mapping[str, MaskedTwin]) -> Callable[[], Tensor] | None:
        if not self.lasso:
            return None
        sides = {name: self._sides(twin.mask.shape) for name, twin in twins.items()}

        def lasso() -> Tensor:
            terms = [block_lasso(twin.tensor(), sides[name]) for name, twin in twins.items()]
            return self.lasso * torch.stack(terms).sum()

        return lasso

    def _sides(self, shape: Shape) -> Shape:
        kernel = shape[2:] if self.kernel == "whole" else (1,) * len(shape[2:])
        return (self.rows, self.columns, *kernel)


def block_norms(weights: np.ndarray, sides: Shape) -> np.ndarray:
    """Euclidean norm of each block; the last ones along an axis may be cut.

    >>> block_norms(np.array([[3.0, 0, 1], [0, 4, 0]]), (2, 2)).tolist()
    [[5.0, 1.0]]
    """
    sums = np.square(weights, dtype=np.float64)
    for axis, side in enumerate(sides):
        sums = np.add.reduceat(sums, np.arange(0, sums.shape[axis], side), axis)
    return np.sqrt(sums)


def spread(blocks: np.ndarray, sides: Sequence[int], shape: Shape) -> np.ndarray:
    """The mask of weights (of a shape) that a mask of blocks comes to.

    >>> spread(np.array([[True, False]]), (2, 2), (2, 3)).tolist()
    [[True, True, False], [True, True, False]]
    """
    for axis, side in enumerate(sides):
        blocks = blocks.repeat(side, axis)
    return blocks[tuple(slice(length) for length in shape)]


def block_lasso(weights: Tensor, sides: Shape) -> Tensor:
    """Sum over blocks of sqrt(size) times norm, differentiable; cut blocks count by their size.

    >>> round(float(block_lasso(torch.tensor([[3.0, 0, 1], [0, 4, 0]]), (2, 2))), 3)
    11.414
    """
    squares, sizes = weights.square(), torch.ones_like(weights)
    for axis, side in enumerate(sides):
        squares, sizes = (_summed(x, axis, side) for x in (squares, sizes))
    # The gradient of a root at zero is infinite: pruned blocks stand a little aside.
    return (sizes.sqrt() * ((squares + 1e-16).sqrt() - 1e-8)).sum()


def _summed(values: Tensor, axis: int, side: int) -> Tensor:
    """Sums over pieces of an axis, of which the last may be shorter."""
    if side == 1:
        return values
    lines = values.movedim(axis, -1)
    lines = torch.nn.functional.pad(lines, (0, -lines.shape[-1] % side))
    return lines.unflatten(-1, (-1, side)).sum(-1).movedim(-1, axis)
