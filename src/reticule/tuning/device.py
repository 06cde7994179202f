"""Where training runs: on the CPU, or on a GPU while it lasts.

Everything else stays on the CPU.  :func:`on_device` takes along the tensors of whatever
training changes, in place, and brings them back, so that twins, methods and their hooks are
written as if there were one device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType

import torch
from torch import Tensor

from reticule.errors import RecipeError

DEVICES = ("auto", "cpu", "cuda")
CPU = torch.device("cpu")


def device_of(choice: str) -> torch.device:
    """The device for a choice; "auto" is a GPU where PyTorch sees one.

    Raises RecipeError for "cuda" where there is none, and for what is none of the three.

    >>> device_of("cpu")
    device(type='cpu')
    """
    if choice not in DEVICES:
        raise RecipeError(f"there is no device '{choice}'; use one of {', '.join(DEVICES)}")
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise RecipeError("device 'cuda': PyTorch sees no GPU here; use 'auto' or 'cpu'")
    return torch.device("cuda" if available and choice != "cpu" else "cpu")


@contextmanager
def on_device(device: torch.device, *owners: object) -> Iterator[None]:
    """Hold the tensors of these objects on a device for the time of the block.

    Objects are searched through attributes, lists and mappings.  Tensors keep their identity,
    so that whoever holds them, too, goes on with them.
    """
    if device == CPU:
        yield
        return
    _move(owners, device)
    try:
        yield
    finally:
        _move(owners, CPU)


@torch.no_grad()
def _move(owners: object, device: torch.device) -> None:
    for tensor in list(tensors_of(owners)):
        tensor.data = tensor.data.to(device)
        tensor.grad = None


def tensors_of(owner: object, seen: set[int] | None = None) -> Iterator[Tensor]:
    """Every tensor that an object holds, itself or through what it holds, once.

    >>> one = torch.zeros(2)
    >>> len(list(tensors_of({"a": [one, (torch.zeros(3), one)], "b": 4})))
    2
    """
    seen = set() if seen is None else seen
    if id(owner) in seen:
        return
    seen.add(id(owner))
    if isinstance(owner, Tensor):
        yield owner
        return
    parts: Iterable[object] = ()
    if isinstance(owner, Mapping):
        parts = owner.values()
    elif isinstance(owner, list | tuple):
        parts = owner
    elif hasattr(owner, "__dict__") and not isinstance(owner, type | FunctionType | ModuleType):
        parts = vars(owner).values()
    for part in parts:
        yield from tensors_of(part, seen)
