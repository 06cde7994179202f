"""Which tensors a method works on, and why it leaves the others alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from reticule.forms import Form, Packed

SMALLEST = 64  # weights; below that, side information costs more than is saved


def select(
    packed: Packed,
    *,
    skip: Sequence[str] = (),
    smallest: int = SMALLEST,
    accept: Callable[[Form], str] = lambda form: "",
) -> tuple[list[str], dict[str, str]]:
    """Weight tensors of convolutions and linear layers, and what is skipped with the reason.

    ``skip`` holds name patterns in the shell's style (``"features.0.*"``);
    ``accept`` returns the reason why a form cannot be worked on, or "".
    """
    chosen, skipped = [], {}
    weights = {name for _, name in packed.graph.weights()}
    for name, form in packed.forms.items():
        if name not in weights:
            reason = "not the weight of a convolution or linear layer"
        elif any(fnmatchcase(name, pattern) for pattern in skip):
            reason = "named in 'skip'"
        elif form.size < smallest:
            reason = f"only {form.size} weights"
        else:
            reason = accept(form)
        if reason:
            skipped[name] = reason
        else:
            chosen.append(name)
    return chosen, skipped
