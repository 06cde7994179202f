"""What each task is judged by, from a network's answers and what was wanted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from generated.shapes import Floats

Answer = tuple[Floats, ...]
"""One array for each output of the network, (n, ...)."""


def top1(answer: Answer, labels: NDArray[np.int64]) -> float:
    """Percent of images whose largest score is their label's."""
    return 100 * float((answer[0].argmax(1) == labels).mean())


def rmse(answer: Answer, wanted: Floats) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.square(answer[0].astype(np.float64) - wanted).mean()))


def probable_labels(answer: Answer, wanted: Floats) -> float:
    """Percent of labels told right, where an answer is a probability."""
    return 100 * float(((answer[0] > 0.5) == (wanted > 0.5)).mean())


def positive_labels(answer: Answer, wanted: Floats) -> float:
    """Percent of labels told right, where an answer is a logit."""
    return 100 * float(((answer[0] > 0) == (wanted > 0.5)).mean())


def shape_overlap(answer: Answer, mask: NDArray[np.int64]) -> float:
    """Pixels in both over pixels in either, in percent; the answer is a probability."""
    return 100 * _overlap(answer[0][:, 0] > 0.5, mask > 0)


def kinds_overlap(answer: Answer, mask: NDArray[np.int64]) -> float:
    """The mean over classes, background included; the answer has one score for each."""
    said = answer[0].argmax(1)
    kinds = range(answer[0].shape[1])
    return 100 * float(np.mean([_overlap(said == kind, mask == kind) for kind in kinds]))


def error_percent(ours: Answer, original: Answer) -> float:
    """RMS difference in percent of the standard deviation of the original's: the worst output's.

    Written without the library, as a check of what it says.
    """
    return max(
        100 * float(np.sqrt(np.square(a.astype(np.float64) - b).mean()) / max(b.std(), 1e-30))
        for a, b in zip(ours, original, strict=True)
    )


def signal_to_noise(ours: Answer, original: Answer) -> float:
    """Decibels between the original's spread and the difference: the worst output's.

    200 where nothing differs; not a number where anything is not finite.
    """
    return min(_decibels(a.astype(np.float64), b) for a, b in zip(ours, original, strict=True))


def _decibels(ours: NDArray[np.float64], original: Floats) -> float:
    if not (np.isfinite(ours).all() and np.isfinite(original).all()):
        return float("nan")
    noise = np.square(ours - original).mean()
    signal = max(np.square(original - original.mean(0), dtype=np.float64).mean(), 1e-30)
    return float(np.clip(10 * np.log10(signal / max(noise, signal * 1e-20)), -200, 200))


def _overlap(said: NDArray[np.bool_], there: NDArray[np.bool_]) -> float:
    return float((said & there).sum() / max((said | there).sum(), 1))
