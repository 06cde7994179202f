"""What the low-bit methods have in common: which tensors, the ends, and the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from reticule.forms import Form, Packed, Sparse
from reticule.methods.base import Context
from reticule.methods.hash.values import on_grid
from reticule.methods.lowbit.twins import LatentTwin, kept_of
from reticule.methods.prune.threshold import prunable
from reticule.methods.select import select
from reticule.methods.tune.retrain import resolved, settled
from reticule.tuning.train import DEFAULT_RATE, Training, train
from reticule.tuning.twins import twins_of

RATE = 1e-3
_DENSITY = (DEFAULT_RATE / RATE) ** 2  # at which `resolved` takes that learning rate
Ends = Literal["full", "8bit", "same"]
_END_BITS = 8


def chosen(
    packed: Packed, ends: Ends, skip: Sequence[str], smallest: int, spare: float = 0.0
) -> tuple[list[str], list[str], dict[str, str]]:
    """Tensors to convert, those that are kept finer, and what is skipped with the reason.

    Finer are the ends, and the layers with the fewest weights, as many as together hold no
    more than the share ``spare`` of all weights.
    """
    names, skipped = select(packed, skip=skip, smallest=smallest, accept=prunable)
    how = "kept in full" if ends == "full" else f"kept in {_END_BITS} bits"
    finer = {}
    if ends != "same":
        few = fewest(packed, names, spare)
        finer = dict.fromkeys(few, f"among the layers with the fewest weights, {how}")
        first = ends_of(packed)
        finer |= {n: f"first convolution or last linear layer, {how}" for n in first if n in names}
    return [name for name in names if name not in finer], list(finer), skipped | finer


def fewest(packed: Packed, names: Sequence[str], share: float) -> list[str]:
    """The smallest tensors that together hold no more than this share of the weights of all."""
    room = share * sum(packed.forms[name].size for name in names)
    found = []
    for name in sorted(names, key=lambda name: packed.forms[name].size):
        room -= packed.forms[name].size
        if room < 0:
            break
        found.append(name)
    return found


def ends_of(packed: Packed) -> list[str]:
    """The weights of the first layer if it is a convolution, of the last if it is linear."""
    layers = list(packed.graph.weights())
    if len(layers) < 2:
        return []
    (first, start), (last, end) = layers[0], layers[-1]
    return [start] * (first.op == "Conv") + [end] * (last.op == "Gemm")


def finished(packed: Packed, finer: Sequence[str], ends: Ends) -> Packed:
    """The network with its ends in the form that they are to be kept in."""
    if ends != "8bit":
        return packed
    return packed.with_forms({name: _on_grid(packed.forms[name]) for name in finer})


def _on_grid(form: Form) -> Form:
    if isinstance(form, Sparse):
        return Sparse.at(form.mask(), on_grid(form.values.dense(), _END_BITS))
    return on_grid(form.dense(), _END_BITS)


def latent_training(
    packed: Packed,
    context: Context,
    twins: Mapping[str, LatentTwin],
    settings: Training,
    title: str,
    before_step: Callable[[int, int], None] | None = None,
) -> Packed:
    """The network after training; the twins take the place of their tensors' forms."""

    def clip() -> None:
        for twin in twins.values():
            twin.clip()

    every = {**twins_of(packed.forms), **twins}
    train(
        context.data,
        packed.graph,
        every,
        settings,
        seed=context.seed,
        progress=context.progress,
        title=title,
        before_step=before_step,
        after_step=clip,
    )
    return settled(packed, every)


def settings_of(training: Training, share: float, context: Context, packed: Packed) -> Training:
    """The settings with a number of epochs, and the learning rate of latent weights."""
    return resolved(training, share, context, packed, _DENSITY)


def parts_of(form: Form) -> tuple[np.ndarray, np.ndarray | None]:
    """The weights of a dense or pruned form, and the mask of the latter."""
    return form.dense(), kept_of(form)


def notes_of(
    packed: Packed, names: Sequence[str], settings: Training | None = None
) -> dict[str, Any]:
    """How many weights were converted, and which share of them is zero."""
    forms = [packed.forms[name] for name in names]
    size = sum(form.size for form in forms)
    zeros = 1 - sum(form.nonzero for form in forms) / max(size, 1)
    more = {} if settings is None else {"epochs": settings.epochs}
    return {"weights": size, "zeros": round(zeros, 4), **more}
