"""How much of each layer is needed: shares by which a density is given out to layers.

A measure says for each layer what part of it is needed, relative to the others.  The measures of
redundancy look at the weights alone; they are in :mod:`reticule.science.redundancy`.  Two look
at images: what zeroing a weight costs by second-order information, and how far a layer can
be cut alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from reticule.errors import RecipeError
from reticule.forms import Packed
from reticule.methods.base import Context
from reticule.methods.layerwise.calibrated import likelihood_of
from reticule.methods.prune.automatic import free_density
from reticule.methods.prune.scores import Scope, Shares, masks_at
from reticule.methods.quantise.calibration import unseen_like
from reticule.science.redundancy import SHARES
from reticule.tuning.executor import execute
from reticule.tuning.problem import as_input, constant_tensors, evenly

Measure = Literal["communities", "k-core", "effective-rank", "curvature", "sensitivity"]
WITH_IMAGES = ("curvature", "sensitivity")
CURVATURE_IMAGES = 256
SCAN_IMAGES, SCAN_ROUNDS, SCAN_FLOOR = 400, 6, 0.01
SCAN_POINTS = 2.0  # that a layer may cost alone


def scope_of(
    scope: Scope | Measure, packed: Packed, names: Sequence[str], context: Context
) -> Scope | Shares:
    """What :func:`~reticule.methods.prune.scores.masks_at` takes: a measure becomes its shares.

    Raises RecipeError where a measure looks at images and there are none.

    >>> from reticule.graph import Graph, Network, Node
    >>> nodes = (Node("Gemm", "a", ("x", "v"), ("h",)), Node("Gemm", "b", ("h", "w"), ("y",)))
    >>> tensors = {"v": np.ones((4, 4), "f4"), "w": np.eye(4, dtype="f4")}
    >>> graph = Graph({"x": (4,)}, ("y",), nodes, {"v": (4, 4), "w": (4, 4)})
    >>> network = Network(graph, tensors)
    >>> scope_of("effective-rank", Packed.of(network), ["v", "w"], Context(network))
    {'v': 0.25, 'w': 1.0}
    """
    if scope == "global" or scope == "layer":
        return scope
    if scope in WITH_IMAGES and context.problem is None:
        raise RecipeError(f"scope '{scope}' looks at training images: give --train")
    if scope == "curvature":
        return curvature(packed, names, context)
    if scope == "sensitivity":
        return sensitivity(packed, names, context)
    with context.progress.bar("redundancy", len(names)) as bar:
        shares = {}
        for name in names:
            shares[name] = SHARES[scope](packed.forms[name].dense())
            bar.advance(1, name)
    return shares


def noted(scope: Scope | Shares) -> dict[str, object]:
    """What the record of a stage says of shares: the largest is 1.

    >>> noted({"a": 0.25, "b": 0.5}), noted("global")
    ({'shares': {'a': 0.5, 'b': 1.0}}, {})
    """
    if isinstance(scope, str):
        return {}
    largest = max(scope.values(), default=0.0) or 1.0
    return {"shares": {name: share / largest for name, share in scope.items()}}


def curvature(packed: Packed, names: Sequence[str], context: Context) -> dict[str, float]:
    """The root of what zeroing a weight of a layer costs the answers, in the mean.

    That is E[(g w)^2] over weights w and images, with g the gradient of the log-likelihood
    of an answer that is drawn from the network's own: the diagonal of the
    Fisher information times the weight's square, the *saliency* of Optimal Brain Damage (LeCun,
    Denker, Solla, NIPS 1989) with the Fisher information in the Hessian's place (Theis et
    al., "Faster gaze prediction with dense networks and Fisher pruning", 2018).  A layer's
    trace as its share: Dong et al., "HAWQ-V2", NeurIPS 2020, there for numbers of bits.
    """
    problem = context.data
    rng = np.random.default_rng(context.seed)
    sample = evenly(problem.train, CURVATURE_IMAGES)
    inputs = unseen_like(sample, problem, rng, mixed=True)
    likelihood = likelihood_of(context, inputs)
    drawn = torch.Generator().manual_seed(context.seed)
    tensors = constant_tensors(packed.network())
    weights = [tensors[name].requires_grad_() for name in names]
    total = np.zeros(len(names))
    count = len(inputs[0])
    with context.progress.bar("curvature", count) as bar:
        for start in range(count):  # one by one: squares of gradients do not add up
            batch = (as_input(part[start : start + 1]) for part in inputs)
            compared = likelihood.compared(packed.graph, execute(packed.graph, tensors, *batch))
            target = likelihood.drawn(compared, drawn)
            gradients = torch.autograd.grad(target, weights, materialize_grads=True)
            parts = zip(gradients, weights, strict=True)
            total += [float((g * w.detach()).double().square().mean()) for g, w in parts]
            bar.advance(1)
    return dict(zip(names, np.sqrt(total / max(count, 1)).tolist(), strict=True))


def sensitivity(packed: Packed, names: Sequence[str], context: Context) -> dict[str, float]:
    """The density to which each layer can be cut, alone and without training.

    The least that costs ``SCAN_POINTS`` points on some hundred training images: Han et al.,
    "Learning both weights and connections for efficient neural networks", NIPS 2015,
    section 4.1, where a person reads the thresholds off such curves.
    """

    def cut(weights: Mapping[str, np.ndarray], density: float) -> dict[str, np.ndarray]:
        return masks_at(weights, density, scope="layer", score="magnitude", floor=0.0)

    shares = {}
    with context.progress.bar("sensitivity", len(names)) as bar:
        for name in names:
            shares[name] = free_density(
                packed, [name], context, cut, points=SCAN_POINTS, floor=SCAN_FLOOR,
                images=SCAN_IMAGES, rounds=SCAN_ROUNDS,
            )  # fmt: skip
            bar.advance(1, name)
    return shares
