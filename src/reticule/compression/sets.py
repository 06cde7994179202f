"""The inputs of a run, checked against the network and divided by what they serve for."""

from __future__ import annotations

from dataclasses import dataclass

from reticule.data import Data, Preprocessing
from reticule.engine import Model
from reticule.evaluation.task import classes_of

MOST_HELD_OUT = 10_000


@dataclass(frozen=True)
class Sets:
    """To train and calibrate on, to decide on, to report on.

    ``unseen`` says that the held-out inputs are new to the network that was given.
    """

    train: Data | None
    held_out: Data | None
    test: Data | None
    unseen: bool

    @classmethod
    def of(
        cls, model: Model, train: Data | None, val: Data | None, test: Data | None, seed: int
    ) -> Sets:
        """The sets for a network; DataError says what does not fit it."""
        inputs, classes = model.graph.inputs, classes_of(model.graph) or None
        train, val, test = (data and data.fitted(inputs, classes) for data in (train, val, test))
        unseen = val is not None
        if train is not None and val is None:
            train, val = train.split(min(0.1, MOST_HELD_OUT / len(train)), seed)
        return cls(train, val, test, unseen)

    @property
    def given(self) -> tuple[Data, ...]:
        return tuple(data for data in (self.train, self.held_out, self.test) if data is not None)

    @property
    def preprocessing(self) -> Preprocessing | None:
        return next((data.preprocessing for data in self.given), None)

    @property
    def labels(self) -> tuple[str, ...]:
        return next((data.classes for data in self.given), ())
