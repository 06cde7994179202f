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
...     trains = False
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
from reticule.tuning.witness import Witness


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
    ``problem`` is None where no inputs were given; ``witness`` are inputs that no method may
    learn from, generated ones then.  The budget is against the original: ``max_drop`` points of
    accuracy and ``max_error`` percent that the user is ready to lose (None: as few as possible),
    ``max_bytes`` of the whole file, which ``file_size`` tells in advance.
    ``unseen`` says that the held-out images are new to the original network, so
    that its accuracy on them can be taken at its word.
    """

    original: Network
    reference: Network | None = None
    given: Packed | None = None
    problem: Problem | None = None
    witness: Witness | None = None
    max_drop: float | None = None
    max_error: float | None = None
    max_bytes: int | None = None
    file_size: Callable[[Packed], int] | None = None
    unseen: bool = False
    seed: int = 0
    progress: Progress = field(default_factory=Silent)

    @property
    def data(self) -> Problem:
        """The problem; RecipeError where there is none."""
        if self.problem is None:
            raise RecipeError("this recipe retrains the network: give it inputs with --train")
        return self.problem

    @property
    def classified(self) -> bool:
        """Whether there are labels for a classifier."""
        return self.problem is not None and self.problem.classified

    @cached_property
    def original_score(self) -> float:
        """How good the original network is on the held-out inputs (:meth:`Problem.score`)."""
        return self.data.score(Packed.of(self.original))


class Method(Protocol):
    """The interface of a method."""

    needs_data: ClassVar[bool]  # cannot do without inputs; labels are never needed
    trains: ClassVar[bool]  # wins back what stages before it have lost
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
