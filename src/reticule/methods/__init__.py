"""Methods: published techniques, one file each.  Importing this registers all of them."""

from reticule.methods.base import METHODS as METHODS
from reticule.methods.base import Context as Context
from reticule.methods.base import Method as Method
from reticule.methods.base import Outcome as Outcome
from reticule.methods.base import method as method
from reticule.methods.fold import FoldBatchNorm as FoldBatchNorm
from reticule.methods.half import HalfPrecision as HalfPrecision
from reticule.methods.lossless import Lossless as Lossless
from reticule.methods.prune.gradual import GradualPruning as GradualPruning
from reticule.methods.prune.threshold import ThresholdPruning as ThresholdPruning
from reticule.methods.quantise.trellis import TrellisQuantisation as TrellisQuantisation
from reticule.methods.recode import Recode as Recode
from reticule.methods.share.kmeans import WeightSharing as WeightSharing
from reticule.methods.tune.retrain import MatchMoments as MatchMoments
from reticule.methods.tune.retrain import Retrain as Retrain
