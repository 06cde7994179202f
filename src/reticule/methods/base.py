"""What a method is: one published technique that changes the forms of a network.

A method is a frozen dataclass whose fields are its parameters.  It is registered
under the name that recipes use, and applied by one function from a packed network
to a packed network:

>>> from dataclasses import dataclass
>>> from reticule.methods import Context, Outcome, method
>>> @method("keep-as-is")
... @dataclass(frozen=True)
... class KeepAsIs:
...     '''Changes nothing.'''
...     needs_data = False
...     settles = False
...     def apply(self, packed, context):
...         return Outcome(packed)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol, TypeVar

from reticule.errors import RecipeError
from reticule.forms import Packed
from reticule.graph import Network
from reticule.progress import Progress, Silent
from reticule.tuning.problem import Problem


@dataclass(frozen=True)
class Outcome:
    """What a method made: the network, what it left alone and why, figures for the record."""

    packed: Packed
    skipped: Mapping[str, str] = field(default_factory=dict)  # tensor -> reason
    notes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a method may use besides the network itself.

    ``original`` is the network that was given; ``reference`` what it was after the
    last stage that settled it (None: none has), which later stages should preserve.
    ``given`` is the original in the forms that it came in.
    ``problem`` is None where no training data was given.  ``max_drop`` is the
    number of points that the user is ready to lose (None: as few as possible),
    ``max_bytes`` that of the whole file's bytes, which ``file_size`` tells in advance.
    ``unseen`` says that the held-out images are new to the original network, so
    that its accuracy on them can be taken at its word.
    """

    original: Network
    reference: Network | None = None
    given: Packed | None = None
    problem: Problem | None = None
    max_drop: float | None = None
    max_bytes: int | None = None
    file_size: Callable[[Packed], int] | None = None
    unseen: bool = False
    seed: int = 0
    progress: Progress = field(default_factory=Silent)

    @property
    def data(self) -> Problem:
        """The problem; RecipeError where there is none."""
        if self.problem is None:
            raise RecipeError("this recipe retrains the network: give it images with --train")
        return self.problem

    @cached_property
    def original_accuracy(self) -> float:
        """Percent correct of the original network on the held-out images."""
        return self.data.accuracy(Packed.of(self.original))


class Method(Protocol):
    """The interface of a method."""

    needs_data: ClassVar[bool]  # cannot do without labelled images
    settles: ClassVar[bool]  # what it makes is what later stages should preserve

    def apply(self, packed: Packed, context: Context) -> Outcome: ...


METHODS: dict[str, type[Method]] = {}

M = TypeVar("M", bound=type)


def method(name: str) -> Callable[[M], M]:
    """Register a method class under the name that recipes use."""

    def register(cls: M) -> M:
        if name in METHODS:
            raise RecipeError(f"two methods are called '{name}'")
        # A misspelt parameter is an error.
        setattr(cls, "__pydantic_config__", {"extra": "forbid"})  # noqa: B010
        METHODS[name] = cls
        return cls

    return register
