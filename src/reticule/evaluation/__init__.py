"""What a network is worth, measured on the engine: accuracy, fidelity, speed and memory.

* :mod:`~reticule.evaluation.task`: what an output says; nothing is taken for a classifier
  that does not look like one
* :mod:`~reticule.evaluation.accuracy`: top-1 and top-5, time and memory, where there are labels
* :mod:`~reticule.evaluation.fidelity`: how near answers are to those of another network
* :mod:`~reticule.evaluation.process`: all of it for a file on disk, in a fresh process
"""

from reticule.evaluation.accuracy import Evaluation as Evaluation
from reticule.evaluation.accuracy import evaluate as evaluate
from reticule.evaluation.fidelity import Fidelity as Fidelity
from reticule.evaluation.fidelity import fidelity_of as fidelity_of
from reticule.evaluation.fidelity import worst_error as worst_error
from reticule.evaluation.process import Measured as Measured
from reticule.evaluation.process import measure as measure
from reticule.evaluation.task import classes_of as classes_of
from reticule.evaluation.task import is_classified as is_classified
