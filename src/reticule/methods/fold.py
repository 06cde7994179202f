"""Batch-norm folding as a stage of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reticule.forms import Dense, Packed
from reticule.graph.fold import fold_batch_norm
from reticule.methods.base import Context, Outcome, method


@method("fold-batch-norm")
@dataclass(frozen=True)
class FoldBatchNorm:
    """Put each batch-norm's scale and shift into the layer before it.

    The network computes the same, with four vectors per layer less to store.
    Needs dense weights, so it comes first in a recipe.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2.
    """

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        if not all(isinstance(form, Dense) for form in packed.forms.values()):
            return Outcome(packed, notes={"folded": 0})
        folded = fold_batch_norm(packed.network())
        gone = len(packed.graph.nodes) - len(folded.graph.nodes)
        return Outcome(Packed.of(folded), notes={"folded": gone})
