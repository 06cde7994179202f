"""Reticule packs a trained convolutional network into one small file that runs as it is.

>>> import reticule
>>> network = reticule.from_onnx("resnet20.onnx")               # doctest: +SKIP
>>> data = reticule.Data("train.parquet")                       # doctest: +SKIP
>>> result = reticule.compress(network, train=data)             # doctest: +SKIP
>>> result.save("resnet20.ret")                                 # doctest: +SKIP
>>> model = reticule.load("resnet20.ret")                       # doctest: +SKIP
>>> logits = model(images)                                      # doctest: +SKIP

Everything here is imported when it is first used: running a ``.ret`` file needs
numpy and the native module only, compressing needs PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reticule.compression import compress as compress
    from reticule.data import Data as Data
    from reticule.data import Preprocessing as Preprocessing
    from reticule.engine import Model as Model
    from reticule.errors import ReticuleError as ReticuleError
    from reticule.evaluation import evaluate as evaluate
    from reticule.graph import Network as Network
    from reticule.graph.onnx_in import from_onnx as from_onnx
    from reticule.graph.onnx_out import to_onnx as to_onnx
    from reticule.graph.torch_in import from_torch as from_torch
    from reticule.result import Result as Result

    load = Model.load

__version__ = "0.1.0"

_HOMES = {
    "Data": "reticule.data",
    "Model": "reticule.engine",
    "Network": "reticule.graph",
    "Preprocessing": "reticule.data",
    "Result": "reticule.result",
    "ReticuleError": "reticule.errors",
    "compress": "reticule.compression",
    "evaluate": "reticule.evaluation",
    "from_onnx": "reticule.graph.onnx_in",
    "from_torch": "reticule.graph.torch_in",
    "to_onnx": "reticule.graph.onnx_out",
}

__all__ = [*_HOMES, "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        return import_module("reticule.engine").Model.load
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'reticule' has no attribute '{name}'")
