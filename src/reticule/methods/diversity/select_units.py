"""Fewer neurons and channels: those that best restore what the next layers compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field

from reticule.errors import RecipeError
from reticule.forms import Packed
from reticule.methods.base import Context, Outcome, method
from reticule.methods.diversity.budget import SHARES, Rule, counts_for
from reticule.methods.diversity.choose import Refit, Selection
from reticule.methods.diversity.work import Work
from reticule.methods.layerwise.walk import with_biases
from reticule.science.submodular import How

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


@method("select-units")
@dataclass(frozen=True)
class SelectUnits:
    """Keep some units of each layer, remove the others, and let the next layers make up for it.

    For the layers that read some units, with inputs x as they are now and outputs t as they
    were, a set S of units is worth what least squares restores of t from the inputs of S:

        F(S) = E|t|^2 - min over V of E|t - V x_S|^2

    Greedy selection takes the unit that adds most, again and again; then V are the new weights.
    "layerwise" takes x and t from the original network, "sequential" both from the network as
    pruned so far, "asymmetric" t from the original and x as they are: errors do not add up.

    Others, to compare: "divnet" (the most diverse activations by greedy log-determinant, or
    drawn from the determinantal point process with "divnet-sample"), "facility-location",
    "coreset", "magnitude" (of what makes a unit) and "random".  ``refit`` says what becomes
    of the layers that read them: least squares on their "outputs", "fuse" (each unit that goes
    as a combination of those that stay, Divnet's), "none"; "auto" is "fuse" for Divnet, else
    "outputs".

    ``keep`` names how many units stay, by the node or weight tensor that makes them (patterns;
    a number, or a share of them).  Without it, classes of units are reduced until ``macs`` of
    the multiply-accumulates are left, such that the answers lose the least in all (``budget``
    "least"), or by each class alike ("equal").  Channels that a residual addition ties go
    together.

    Source: El Halabi, Srinivas, Lacoste-Julien, "Data-efficient structured pruning via
    submodular optimization", NeurIPS 2022; Mariet, Sra, "Diversity networks", ICLR 2016.
    Centred moments, several readers, and losses by the answers' divergence are ours.
    """

    selection: Selection = "asymmetric"
    keep: Mapping[str, Count | Share] = field(default_factory=dict)
    macs: Share = 0.75
    budget: Rule = "least"
    refit: Refit = "auto"
    how: How = "plain"
    multiple: Count = 1
    images: Count = 512
    ridge: Annotated[float, Field(ge=0)] = 0.01
    skip: Sequence[str] = ()

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        if context.problem is None:
            raise RecipeError("select-units looks at images (not at labels): give --train")
        packed = with_biases(packed, [name for _, name in packed.graph.weights()])
        work = Work.of(self, packed, context)
        counts = work.wanted(self.keep) if self.keep else self._counts(work, context)
        order = sorted(counts, key=work.first_reader)
        with context.progress.bar("selecting", len(order)) as bar:
            for number in order:
                work.reduce(number, counts[number])
                bar.advance(1, work.titles[number])
        return work.outcome()

    def _counts(self, work: Work, context: Context) -> dict[int, int]:
        """Units that each class keeps, of those that lose any."""
        sizes = [units.size for units in work.classes]
        losses = []
        with context.progress.bar("trying", len(sizes)) as bar:
            for number, size in enumerate(sizes):
                counts = [max(1, round(share * size)) for share in SHARES]
                losses.append(work.losses(number, counts))
                bar.advance(1, work.titles[number])
        most = self.macs * sum(work.start.graph.macs().values())
        found = counts_for(losses, sizes, work.macs, most, self.budget)
        if (reached := work.macs(found)) > most:
            share = self.macs * reached / most
            context.progress.say(
                f"  no fewer than {100 * share:.1f} % of the products are possible"
            )
        rounded = {n: -(-count // self.multiple) * self.multiple for n, count in found.items()}
        return {n: count for n, count in rounded.items() if count < sizes[n]}
