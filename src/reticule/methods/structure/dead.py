"""Dead units taken out: layers that are smaller in fact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from reticule.forms import Packed, channels_of, operated
from reticule.graph.channels import without
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.dead import without_dead_units
from reticule.methods.prune.threshold import prunable


@method("remove-dead-units")
@dataclass(frozen=True)
class RemoveDeadUnits:
    """Take units out of the network that nothing reads; every answer stays.

    A unit (a neuron or channel, with all that residual additions, depthwise convolutions and
    the like tie to it) is read where a weight that meets it is not zero.  One that nothing
    reads goes, with its row of weights, its bias and its columns in the layers behind.
    Before that, where the forms allow it, a unit without weights, which puts out a constant,
    is folded into the biases behind it; at a zero-padded border that is not exact, and it
    stays.  ``multiple`` rounds the number of units that are left in each group upwards.

    Source: Han, Pool, Tran, Dally, NIPS 2015, section 3.5; what is tied to what: Fang et
    al., "DepGraph: Towards Any Structural Pruning", CVPR 2023.
    """

    multiple: Annotated[int, Field(ge=1)] = 1

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        free = [name for _, name in packed.graph.weights() if not prunable(packed.forms[name])]
        packed, _ = without_dead_units(packed, free)
        channels = channels_of(packed)
        tensors = {name: packed.forms[name].dense() for name, _ in channels.readers}
        unread = np.flatnonzero(~channels.read(tensors))
        surgery = without(channels, unread, self.multiple)
        before, after = packed.graph.macs(), surgery.graph.macs()
        left = {
            node.name: f"{packed.graph.tensors[name][0]} to {surgery.graph.tensors[name][0]}"
            for node, name in surgery.graph.weights()
            if surgery.graph.tensors[name][0] < packed.graph.tensors[name][0]
        }
        notes = {"units": left, "macs": f"{sum(before.values())} to {sum(after.values())}"}
        return Outcome(operated(packed, surgery), notes=notes)
