"""The mixture of Gaussians that soft weight-sharing fits to a network's weights.

For weights w_i and components j = 0 .. J with mixing shares pi_j, means mu_j (mu_0 = 0)
and precisions lambda_j = 1 / sigma_j^2, the *complexity* is the negative logarithm of
the prior density, in nats:

    C(w) = - sum_i log sum_j pi_j N(w_i; mu_j, sigma_j^2)

With the responsibilities r_ij = pi_j N(w_i; mu_j, sigma_j^2) / sum_k pi_k N(w_i; mu_k, sigma_k^2)
its gradients are

    dC / dw_i           =   sum_j r_ij lambda_j (w_i - mu_j)
    dC / dmu_j          = - sum_i r_ij lambda_j (w_i - mu_j)
    dC / dlog lambda_j  =   sum_i r_ij (lambda_j (w_i - mu_j)^2 - 1) / 2
    dC / dlog pi_j      = - sum_i r_ij

Sources: Nowlan, Hinton, "Simplifying Neural Networks by Soft Weight-Sharing", 1992;
Ullrich, Meeds, Welling, "Soft Weight-Sharing for Neural Network Compression", ICLR 2017,
section 3 and its appendix on hyper-priors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reticule.tuning.train import Group
from reticule.tuning.twins import array

CHUNK = 1 << 13  # weights at a time: what a step needs beside them stays in the cache
TABLE = 1 << 14  # points between which the complexity of more weights is interpolated
NARROWEST, WIDEST = 0.01, 20.0  # standard deviations; narrower ones let gradients explode
LOG_TWO_PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, eq=False)
class Components:
    """Gaussians with mixing shares: arrays of shape (k,), float64."""

    shares: np.ndarray
    means: np.ndarray
    precisions: np.ndarray

    def __len__(self) -> int:
        return len(self.means)

    def labels(self, values: np.ndarray) -> np.ndarray:
        """Index of the component that is most responsible for each value.

        >>> two = Components(np.array([0.9, 0.1]), np.array([0.0, 1.0]), np.array([9.0, 9.0]))
        >>> two.labels(np.array([-3.0, 0.6, 0.8])).tolist()  # the middle goes to the larger
        [0, 0, 1]
        """
        flat = np.asarray(values, np.float64).ravel()
        out = np.zeros(flat.size, np.int64)
        with np.errstate(divide="ignore"):
            heights = np.log(self.shares) + 0.5 * np.log(self.precisions)
        for start in range(0, flat.size, CHUNK):
            away = flat[start : start + CHUNK, None] - self.means
            out[start : start + CHUNK] = np.argmax(heights - 0.5 * self.precisions * away**2, 1)
        return out.reshape(np.shape(values))

    def divergences(self) -> np.ndarray:
        """Kullback-Leibler divergences KL(i || j) in nats, (k, k).

        ``KL(i || j) = (log lambda_i - log lambda_j + lambda_j / lambda_i
        + lambda_j (mu_i - mu_j)^2 - 1) / 2``
        """
        here, there = self.precisions[:, None], self.precisions[None, :]
        apart = (self.means[:, None] - self.means[None, :]) ** 2
        return 0.5 * (np.log(here / there) + there / here + there * apart - 1.0)

    def merged(self, threshold: float) -> Components:
        """Components that are alike made one; the mean nearest to 0 becomes 0.

        Two are alike where the larger of their two divergences is below ``threshold``,
        and so are all that a chain of such pairs connects.  Shares add up; mean and
        variance are the means by shares of those that are joined.

        >>> alike = Components(np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 1.1]), np.ones(3))
        >>> alike.merged(0.1).means.round(2).tolist()
        [0.0, 1.04]
        """
        divergences = self.divergences()
        alike = np.maximum(divergences, divergences.T) < threshold
        group = np.arange(len(self))
        for i in range(len(self)):
            for j in np.flatnonzero(alike[i]):
                group[group == group[j]] = group[i]
        shares, means, variances = [], [], []
        for members in (group == g for g in dict.fromkeys(group.tolist())):
            own = self.shares[members]
            by = own / own.sum() if own.sum() > 0 else np.full(own.size, 1 / own.size)
            shares.append(own.sum())
            means.append(by @ self.means[members])
            variances.append(by @ (1.0 / self.precisions[members]))
        centres = np.array(means)
        centres[np.argmin(np.abs(centres))] = 0.0
        return Components(np.array(shares), centres, 1.0 / np.array(variances))


@dataclass(frozen=True)
class HyperPrior:
    """What is believed of the mixture before any weight was seen.

    The precisions of the component at 0 and of the others have Gamma priors with their
    modes at ``1 / zero_spread^2`` and ``1 / spread^2``.  ``strength`` is how many weights
    the prior of the former counts as much as, as a share of the number of weights; the
    others have as much together.  Up to a constant, with alpha = 1 + s / 2 and
    beta = s / (2 mode) for a strength of s weights:

        - log p(lambda) = (1 - alpha) log lambda + beta lambda

    With a ``zero_strength`` above 0 the mixing share of the component at 0 is learnt
    under a Beta prior with its mode at ``zero_share`` that counts as much as that
    share of the weights; else it is fixed.
    """

    zero_share: float
    zero_spread: float
    spread: float
    strength: float
    zero_strength: float = 0.0


class _Complexity(torch.autograd.Function):
    """C(w), with the gradients above."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, means: Tensor, log_precisions: Tensor, log_shares: Tensor
    ) -> Tensor:
        mixture = (means, log_precisions, log_shares)
        if len(values) <= TABLE:
            at_points, slopes, sums = _at_points(values, torch.ones_like(values), *mixture)
            total = at_points.sum(dtype=torch.float64)
        else:
            low, high = (float(end) for end in values.aminmax())
            points = torch.linspace(low, high, TABLE, device=values.device)
            step = max((high - low) / (TABLE - 1), 1e-30)
            place = ((values - low) / step).clamp_(0, TABLE - 1)
            left = place.long().clamp_(max=TABLE - 2)
            right = (place - left).double()
            counts = torch.bincount(left, 1.0 - right, TABLE)
            counts += torch.bincount(left + 1, right, TABLE)
            at_points, _, sums = _at_points(points, counts.to(values.dtype), *mixture)
            total = counts @ at_points.double()
            slopes = ((at_points[1:] - at_points[:-1]) / step)[left]
        gradients = (-log_precisions.exp() * sums[2], sums[1] - 0.5 * sums[0], -sums[0])
        ctx.save_for_backward(slopes, *(g.to(values.dtype) for g in gradients))
        return total.to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(saved * gradient[0] for saved in ctx.saved_tensors)


def _at_points(
    points: Tensor, counts: Tensor, means: Tensor, log_precisions: Tensor, log_shares: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """C and dC / dw at each point (n,); of the points times counts, the sums (3, k) over
    r, r lambda (w - mu)^2 / 2 and r (w - mu).
    """
    precisions = log_precisions.exp()
    heights = (log_shares + 0.5 * log_precisions - 0.5 * LOG_TWO_PI)[:, None]
    out, slopes = torch.empty_like(points), torch.empty_like(points)
    sums = points.new_zeros(3, len(means), dtype=torch.float64)
    for start in range(0, len(points), CHUNK):
        part = slice(start, start + CHUNK)
        away = points[part] - means[:, None]
        halves = (away * (0.5 * precisions).sqrt()[:, None]).square_()
        responsible = heights - halves
        top = responsible.amax(0)
        responsible = responsible.sub_(top).exp_()
        whole = responsible.sum(0)
        torch.neg(top + whole.log(), out=out[part])
        responsible /= whole
        torch.mv((responsible * away).T, precisions, out=slopes[part])
        responsible *= counts[part]
        sums[0] += responsible.sum(1)
        sums[1] += halves.mul_(responsible).sum(1)
        sums[2] += away.mul_(responsible).sum(1)
    return out, slopes, sums


def complexity(values: Tensor, means: Tensor, log_precisions: Tensor, log_shares: Tensor) -> Tensor:
    """C(w) of flat values (n,) under components (k,), in nats; differentiable in all of them.

    Beyond ``TABLE`` values it is interpolated, linearly between so many points over their
    range, value and gradients alike: time then grows with the number of weights alone,
    not times the number of components.  Memory is that of the values in either case.

    >>> one = torch.zeros(1)
    >>> round(float(complexity(torch.zeros(2), one, one, one)), 4)  # log(2 pi)
    1.8379
    """
    return _Complexity.apply(values, means, log_precisions, log_shares)


class Mixture:
    """A trainable mixture: component 0 stays at mean 0, all others are free.

    ``values`` are the weights that it starts from, in units of about one standard
    deviation.  Means start evenly over their range, each Gaussian as wide as the
    distance between two, and the others share evenly what component 0 leaves them.
    """

    def __init__(self, values: np.ndarray, components: int, prior: HyperPrior) -> None:
        self._prior, self._count = prior, values.size
        low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
        if high - low < 1e-6:
            low, high = -1.0, 1.0
        means = np.linspace(low, high, components + 2)[1:-1]
        width = (high - low) / (components + 1)
        self._means = _leaf(means)
        self._log_precisions = _leaf(np.full(components + 1, -2.0 * math.log(width)))
        self._logits = _leaf(np.zeros(components))
        share = prior.zero_share
        self._zero = _leaf(np.array(math.log(share) - math.log1p(-share)))
        self._nothing = torch.zeros(1)

    def complexity(self, values: Tensor) -> Tensor:
        """C(w) and the hyper-priors' share of it, in nats."""
        means = torch.cat([self._nothing, self._means])
        return (
            complexity(values, means, self._log_precisions, self._log_shares())
            + self._hyper_complexity()
        )

    def groups(self, means: float, precisions: float, shares: float) -> Sequence[Group]:
        """The parameters for the optimiser, with factors of the learning rate."""
        mixing = [self._logits]
        if self._prior.zero_strength > 0:
            mixing.append(self._zero)
        return (
            Group([self._means], means),
            Group([self._log_precisions], precisions),
            Group(mixing, shares),
        )

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep the variances away from 0, where gradients explode, and from infinity."""
        self._log_precisions.clamp_(-2.0 * math.log(WIDEST), -2.0 * math.log(NARROWEST))

    @torch.no_grad()
    def components(self) -> Components:
        """The mixture as it is now."""
        shares = self._log_shares().exp()
        means = torch.cat([self._nothing, self._means])
        parts = (shares, means, self._log_precisions.exp())
        return Components(*(array(part).astype(np.float64) for part in parts))

    def _log_shares(self) -> Tensor:
        others = F.log_softmax(self._logits, 0) + F.logsigmoid(-self._zero)
        return torch.cat([F.logsigmoid(self._zero)[None], others])

    def _hyper_complexity(self) -> Tensor:
        prior, components = self._prior, len(self._logits)
        pseudo = self._log_precisions.new_full((components + 1,), 1.0 / components)
        pseudo[0] = 1.0
        halves = 0.5 * prior.strength * self._count * pseudo
        variances = self._log_precisions.new_full((components + 1,), prior.spread**2)
        variances[0] = prior.zero_spread**2
        gammas = self._log_precisions
        out = (halves * (variances * gammas.exp() - gammas)).sum()
        if prior.zero_strength > 0:
            seen = prior.zero_strength * self._count
            log_share, log_rest = F.logsigmoid(self._zero), F.logsigmoid(-self._zero)
            out = out - seen * (prior.zero_share * log_share + (1 - prior.zero_share) * log_rest)
        return out


def _leaf(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32)).requires_grad_()
