"""The inputs of a run, checked against the network and divided by what they serve for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reticule.budget import Budget
from reticule.data import Data, Preprocessing
from reticule.engine import Model
from reticule.errors import RecipeError
from reticule.evaluation.task import classes_of, is_classified

MOST_HELD_OUT = 10_000


@dataclass(frozen=True)
class Sets:
    """To train and calibrate on, to decide on, to report on.

    ``unseen`` says that the held-out inputs are new to the network that was given, ``classified``
    that they have labels for a classifier.
    """

    train: Data | None
    held_out: Data | None
    test: Data | None
    unseen: bool
    classified: bool = False
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        model: Model,
        train: Data | None,
        val: Data | None,
        test: Data | None,
        seed: int,
        labels: Sequence[str] = (),
        anyway: bool = False,
    ) -> Sets:
        """The sets for a network; DataError says what does not fit it, or cannot be read.

        ``labels`` are the names of the network's classes, where they are known; else those of
        the first set that has names decide the numbers.  With ``anyway`` it is no error if nothing
        tells which of the network's classes they are.
        """
        names = tuple(labels)
        sets: list[Data | None] = []
        for data in (train, val, test):
            if data is not None:
                data = _fitted(data, model, names, anyway)
                names = names or data.classes
            sets.append(data)
        train, val, test = sets
        remarks = [remark for data in (train, val, test) if data for remark in data.remarks]
        unseen = val is not None
        if train is not None and val is None and len(train) == 1:
            val = train
            remarks.append(f"{train.name}: one input only, so it serves for choices, too")
        elif train is not None and val is None:
            train, val = train.split(min(0.1, MOST_HELD_OUT / len(train)), seed)
        classified = is_classified(model.graph, val)
        return cls(train, val, test, unseen, classified, tuple(dict.fromkeys(remarks)))

    def check_budget(self, budget: Budget) -> None:
        """Raise RecipeError for a budget that these inputs cannot tell anything about."""
        if budget.max_drop is None:
            return
        if self.held_out is None and self.test is None:
            raise RecipeError(
                "max_drop needs images with labels to measure on; give train, val or test, "
                "or a max_error, which needs none"
            )
        if not self.classified and not (self.held_out is None and self.test is not None):
            judged = self.held_out or self.test
            assert judged is not None
            reason = (
                "the network's first output is no list of scores, one for each class"
                if judged.labelled
                else "there are no labels"
            )
            raise RecipeError(
                f"{judged.name}: {reason}, so max_drop cannot be measured; give max_error, "
                "which compares answers with the original's"
            )

    @property
    def given(self) -> tuple[Data, ...]:
        return tuple(data for data in (self.train, self.held_out, self.test) if data is not None)

    @property
    def preprocessing(self) -> Preprocessing | None:
        return next((data.preprocessing for data in self.given if data.holds_images), None)

    @property
    def labels(self) -> tuple[str, ...]:
        return next((data.classes for data in self.given), ())


def _fitted(data: Data, model: Model, names: Sequence[str], anyway: bool) -> Data:
    inputs, classes = model.graph.inputs, classes_of(model.graph) or None
    return data.fitted(inputs, classes, names, anyway=anyway).check()
