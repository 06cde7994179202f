"""What the papers report: (network, recipe) -> (ratio, error before and after, kind of ratio).

Kinds: P counts parameters, H estimates Huffman-coded sparse rows, B is bytes of a file; "?" where
the figure is second-hand (quoted by others) and its kind was not checked in the paper.
"""

from __future__ import annotations

PAPERS: dict[tuple[str, str], tuple[str, str, str]] = {
    ("lenet300100", "deep-compression"): ("40", "1.64 → 1.58", "H"),
    ("lenet5", "deep-compression"): ("39", "0.80 → 0.74", "H"),
    ("lenet300100", "dynamic-surgery"): ("56", "2.28 → 1.99", "P"),
    ("lenet5", "dynamic-surgery"): ("108", "0.91 → 0.91", "P"),
    ("lenet300100", "soft-weight-sharing"): ("64", "1.89 → 1.94", "H"),
    ("lenet5", "soft-weight-sharing"): ("162", "0.88 → 0.97", "H"),
    ("lenet5", "cnnpack"): ("32", "about 0.9", "?"),
    ("lenet5", "frequency-pruning"): ("150", "→ 0.92", "?"),
    ("resnet20", "ttq"): ("about 16", "8.23 → 8.87", "?"),
}

QUOTED = (
    ("Deep Compression", "AlexNet", "35", "42.78 → 42.78", "H"),
    ("Deep Compression", "VGG-16", "49", "31.50 → 31.17", "H"),
    ("Dynamic Network Surgery", "AlexNet", "17.7", "equal", "P"),
    ("CNNpack", "AlexNet", "39", "41.8 → 41.6", "?"),
    ("CNNpack", "VGG-16", "46", "equal", "?"),
    ("Soft weight-sharing", "WRN-16-4", "45", "6.48 → 8.50", "H"),
    ("FreshNets", "5-layer CNN, CIFAR-10", "16 (chosen)", "14.91 → 21.42", "?"),
    ("INQ after surgery", "AlexNet", "89", "small loss", "?"),
)
"""Networks whose weights are not to be had: quoted, not measured again."""
