"""A network on its way to fewer units: what was, what is now, and what has gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reticule.errors import RecipeError
from reticule.forms import Dense, Form, Packed, channels_of, operated
from reticule.graph.channels import Channels, without
from reticule.methods.base import Context, Outcome
from reticule.methods.diversity.choose import chosen, coreset, fused, represented
from reticule.methods.diversity.readers import (
    BATCH,
    Seen,
    beside_of,
    merged,
    reads,
    reason_against,
    refitted,
    seen,
    streams,
)
from reticule.methods.layerwise.calibrated import CALIBRATION, likelihood_of
from reticule.methods.layerwise.walk import Inputs
from reticule.methods.quantise.calibration import unseen_like
from reticule.tuning.evidence import distinct
from reticule.tuning.executor import execute
from reticule.tuning.likelihood import Likelihood
from reticule.tuning.problem import as_input, constant_tensors

if TYPE_CHECKING:
    from reticule.methods.diversity.select_units import SelectUnits

VIEWS = 4  # of each image at most, where passes over so many are cheap


@dataclass
class Work:
    """``start`` is the network as it came, ``now`` what it is: what has ``gone`` is not read.

    ``classes`` are sets of units that can be removed one by one, ``titles`` the first layer
    that makes them.  What layers see is measured on ``views``: images and blends of changed
    ones; what the answers lose on ``blends``, of which the network is as unsure as of new
    images.  ``images`` is how many of them differ, ``answers`` is what it says of the blends,
    as the ``likelihood`` compares it.
    """

    stage: SelectUnits
    start: Packed
    now: Packed
    channels: Channels
    classes: list[np.ndarray]
    titles: list[str]
    skipped: dict[str, str]
    blends: Inputs
    views: Inputs
    images: int
    likelihood: Likelihood
    answers: list[Tensor]
    rng: np.random.Generator
    gone: list[int] = field(default_factory=list)
    counts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, stage: SelectUnits, packed: Packed, context: Context) -> Work:
        """The classes that the stage can reduce; RecipeError where there is none."""
        channels = channels_of(packed)
        classes, titles, skipped = [], [], {}
        for units in channels.classes:
            names = makers(packed, channels, units)
            reason = reason_against(packed, channels, units)
            if any(fnmatch(name, pattern) for name in names for pattern in stage.skip):
                reason = "skipped"
            if not names or reason:
                skipped[names[0] if names else f"unit {units[0]}"] = reason or "made by no layer"
            else:
                classes.append(units)
                titles.append(names[0])
        if not classes:
            raise RecipeError("select-units: the network has no units that could be removed")
        rng = np.random.default_rng(context.seed)
        drawn = np.sort(rng.permutation(len(context.data.train))[: stage.images])
        plain = context.data.train.subset(drawn)
        inputs = plain.inputs(np.arange(len(plain)))
        cost = max(len(plain) * sum(packed.graph.macs().values()), 1)
        views = int(np.clip(CALIBRATION / cost, 1, VIEWS)) - 1
        more = [unseen_like(plain, context.data, rng, mixed=True) for _ in range(views)]
        shown = tuple(np.concatenate(parts) for parts in zip(inputs, *more, strict=True))
        blends = unseen_like(plain, context.data, rng, mixed=True)
        likelihood = likelihood_of(context, inputs)
        answers = answers_of(packed, blends, likelihood)
        kept = (channels, classes, titles, skipped, blends, shown, distinct(inputs))
        return cls(stage, packed, packed, *kept, likelihood, answers, rng)

    def first_reader(self, number: int) -> int:
        order = [name for _, name in self.start.graph.weights()]
        return order.index(reads(self.channels, self.classes[number])[0])

    def wanted(self, keep: Mapping[str, int | float]) -> dict[int, int]:
        """Counts by the patterns of ``keep``; RecipeError for one that fits nothing."""
        counts: dict[int, int] = {}
        unused = set(keep)
        for number, units in enumerate(self.classes):
            names = makers(self.start, self.channels, units)
            for pattern, count in keep.items():
                if any(fnmatch(name, pattern) for name in names):
                    unused.discard(pattern)
                    whole = isinstance(count, int)
                    counts[number] = int(count) if whole else max(1, round(count * units.size))
        if unused:
            known = ", ".join(self.titles)
            raise RecipeError(f"select-units: no layer '{min(unused)}' to keep units of; {known}")
        return {n: count for n, count in counts.items() if count < self.classes[n].size}

    def readers(self, number: int, selection: str) -> list[Seen]:
        """What the readers of a class see, by the way of looking that ``selection`` has."""
        names = reads(self.channels, self.classes[number])
        layers = [n for n in self.start.graph.nodes if set(n.inputs) & set(names)]
        inputs = [n.inputs[0] for n in layers]
        if selection == "asymmetric":  # sums make up for what their other side lacks
            inputs += [name for n in layers if (name := beside_of(self.start.graph, n))]
        before = self.now if selection == "sequential" else self.start
        after = self.start if selection == "layerwise" else self.now
        then = streams(before, self.views, inputs)
        now = then if after is before else streams(after, self.views, inputs)
        units = self.classes[number]
        return seen(self.now, self.channels, units, before, then, now, self.gone, self.images)

    def order(self, number: int, count: int, readers: list[Seen]) -> np.ndarray:
        """Units of a class to keep (count,), the best first."""
        stage = self.stage
        sizes = strengths(self.start, self.channels, self.classes[number])
        return chosen(stage.selection, readers, sizes, count, stage.how, stage.ridge, self.rng)

    def reduced(self, packed: Packed, number: int, kept: np.ndarray, readers: list[Seen]) -> Packed:
        """The network when a class keeps these units: its readers' weights are zero elsewhere."""
        stage, size = self.stage, self.classes[number].size
        refit = stage.refit
        if refit == "auto":
            refit = "fuse" if stage.selection.startswith("divnet") else "outputs"
        shares = np.eye(size)[:, kept]
        if refit == "fuse":
            shares = fused(readers, size, kept, stage.ridge)
        elif refit == "represent":
            shares = represented(readers, size, kept)
        elif refit == "none" and stage.selection == "coreset":
            sizes = strengths(self.start, self.channels, self.classes[number])
            kept, factors = coreset(readers, sizes, len(kept), self.rng)
            shares = np.eye(size)[:, kept] * factors
        made: dict[str, Form] = {}
        for reader in readers:
            if refit == "outputs":
                weights = refitted(reader, kept, stage.ridge)
            else:
                weights = merged(reader, kept, shares)
            shape = self.start.graph.tensors[reader.node.inputs[1]]
            made[reader.node.inputs[1]] = Dense(weights.reshape(shape).astype(np.float32))
            if reader.bias is not None and refit != "none":
                bias = reader.bias + reader.shift(weights)
                made[reader.node.inputs[2]] = Dense(bias.astype(np.float32))
        return packed.with_forms(made)

    def reduce(self, number: int, count: int) -> None:
        """Let a class keep so many units, once and for all."""
        readers = self.readers(number, self.stage.selection)
        kept = self.order(number, count, readers)
        self.now = self.reduced(self.now, number, kept, readers)
        size = self.classes[number].size
        self.gone += self.classes[number][np.setdiff1d(np.arange(size), kept)].tolist()
        self.counts[self.titles[number]] = f"{size} to {count}"

    def losses(self, number: int, counts: Sequence[int]) -> list[float]:
        """Nats that the answers lose if only this class keeps so many; the network stays."""
        readers = self.readers(number, "layerwise")
        order = self.order(number, max(counts), readers)
        found = []
        for count in counts:
            tried = self.reduced(self.start, number, order[:count], readers)
            answers = answers_of(tried, self.blends, self.likelihood)
            found.append(float(self.likelihood.nats(self.answers, answers).mean()))
        return found

    def macs(self, counts: Mapping[int, int]) -> float:
        """Multiply-accumulates where classes keep so many units."""
        gone = [self.classes[number][count:] for number, count in counts.items()]
        surgery = without(self.channels, np.concatenate([*gone, np.zeros(0, np.int64)]))
        return float(sum(surgery.graph.macs().values()))

    def outcome(self) -> Outcome:
        surgery = without(self.channels, np.array(self.gone, np.int64))
        before, after = (sum(g.macs().values()) for g in (self.start.graph, surgery.graph))
        notes = {"units": self.counts, "macs": after / max(before, 1)}
        return Outcome(operated(self.now, surgery), self.skipped, notes)


def makers(packed: Packed, channels: Channels, units: np.ndarray) -> list[str]:
    """Nodes and weight tensors whose outputs are these units, in the order of the graph."""
    names = []
    for node, name in packed.graph.weights():
        line = channels.tensors.get((name, 0))
        if line is not None and np.isin(line, units).any():
            names += [node.name, name]
    return names


def strengths(packed: Packed, channels: Channels, units: np.ndarray) -> np.ndarray:
    """The root of the summed squares of the weights that make each unit (units,)."""
    place = {unit: i for i, unit in enumerate(units.tolist())}
    total = np.zeros(units.size)
    for _, name in packed.graph.weights():
        line = channels.tensors.get((name, 0))
        if line is None or not np.isin(line, units).any():
            continue
        rows = packed.forms[name].dense().reshape(line.size, -1)
        for unit, size in zip(line.tolist(), np.square(rows).sum(1).tolist(), strict=True):
            if unit in place:
                total[place[unit]] += size
    return np.sqrt(total)


@torch.no_grad()
def answers_of(packed: Packed, inputs: Inputs, likelihood: Likelihood) -> list[Tensor]:
    """Each output as (n, values) that can be compared, float64."""
    tensors = constant_tensors(packed.network())
    parts: list[list[Tensor]] = []
    for start in range(0, len(inputs[0]), BATCH):
        batch = (as_input(values[start : start + BATCH]) for values in inputs)
        outputs = [output.double() for output in execute(packed.graph, tensors, *batch)]
        parts.append(likelihood.compared(packed.graph, outputs))
    return [torch.cat(same) for same in zip(*parts, strict=True)]
