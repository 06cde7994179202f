"""Differentiable twins of forms: what training changes while a form stays what it is.

A twin restores its tensor from trainable parameters, so that a gradient step
never leaves the form: a pruned weight stays zero, shared weights stay equal.
Twins nest as forms do.  The twin of :class:`~reticule.forms.Dense` is here; the
others live with the method that trains them and register themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from reticule.forms import Dense, Form


class Twin(ABC):
    """A form under training."""

    @abstractmethod
    def tensor(self) -> Tensor:
        """The weights, differentiable with respect to :meth:`parameters`."""

    @abstractmethod
    def parameters(self) -> list[Tensor]:
        """Leaf tensors for the optimiser."""

    @abstractmethod
    def form(self) -> Form:
        """The form with the values as they are now."""


TWINS: dict[type[Form], Callable[..., Twin]] = {}


def twin_of(form: Form) -> Twin:
    """A trainable copy of a form; the form itself is not changed."""
    if type(form) not in TWINS:
        return FixedTwin(form)
    return TWINS[type(form)](form)


def twins_of(forms: Mapping[str, Form]) -> dict[str, Twin]:
    return {name: twin_of(form) for name, form in forms.items()}


def leaf(values: np.ndarray) -> Tensor:
    """A trainable float32 copy of an array; images' weights in the layout that is fastest."""
    tensor = torch.from_numpy(np.array(values, np.float32))
    if tensor.ndim == 4:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    return tensor.requires_grad_()


def array(tensor: Tensor) -> np.ndarray:
    """A C-contiguous float32 copy of a tensor."""
    return np.array(tensor.detach().contiguous().cpu().numpy(), np.float32, order="C")


class DenseTwin(Twin):
    """All weights free.  Float16 forms train in float32 and are rounded by :meth:`form`."""

    def __init__(self, form: Dense) -> None:
        self._values = leaf(form.values)
        self._dtype = form.values.dtype

    def tensor(self) -> Tensor:
        return self._values

    def parameters(self) -> list[Tensor]:
        return [self._values]

    def form(self) -> Dense:
        return Dense(array(self._values).astype(self._dtype))


class FixedTwin(Twin):
    """The twin of a form that nobody knows how to train: constant."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._tensor = leaf(form.dense()).requires_grad_(False)

    def tensor(self) -> Tensor:
        return self._tensor

    def parameters(self) -> list[Tensor]:
        return []

    def form(self) -> Form:
        return self._form


TWINS[Dense] = DenseTwin
