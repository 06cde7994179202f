"""The networks that are measured, and their data."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

import reticule
from reticule.graph import Network
from reticule.graph.onnx_out import to_onnx

CIFAR = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
NETWORKS = ("resnet20", "resnet44", "lenet5", "lenet300100")
EPSILON = 1e-5  # of the batch normalisations of ResNet-20's checkpoint
BATCH = 50

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Subject:
    """One network: ``models`` holds ``name.onnx`` and, for ResNet-20, ``name.th``."""

    name: str
    models: Path

    @cached_property
    def network(self) -> Network:
        """The network as Reticule reads it; batch normalisation is folded in all of them."""
        return reticule.from_onnx(self.models / f"{self.name}.onnx")

    @cached_property
    def unfolded(self) -> Tensors | None:
        """The tensors of the checkpoint before folding, where there is one."""
        path = self.models / f"{self.name}.th"
        if not path.exists():
            return None
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        return {name.removeprefix("module."): tensor.numpy() for name, tensor in state.items()}

    @property
    def weights(self) -> Tensors:
        """Kernels and matrices, not folded where the checkpoint is there."""
        tensors = self.unfolded or self.network.tensors
        return {name: tensor for name, tensor in tensors.items() if tensor.ndim >= 2}


def fold(tensors: Mapping[str, np.ndarray]) -> Tensors:
    """The checkpoint's tensors as those of the folded network, under its names."""
    folded: Tensors = {}
    for name, weight in tensors.items():
        if weight.ndim == 4:
            norm = name.replace("conv", "bn").removesuffix("weight")
            deviation = np.sqrt(tensors[norm + "running_var"].astype("f8") + EPSILON)
            scale = tensors[norm + "weight"] / deviation
            shift = tensors[norm + "bias"] - tensors[norm + "running_mean"] * scale
            folded[name] = (weight * scale[:, None, None, None]).astype("f4")
            folded[name + "_bias"] = shift.astype("f4")
        elif "bn" not in name:
            folded[name] = weight
    return folded


def mean_squared_error(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """Over all elements of the tensors of ``one``."""
    squares = sum(float(np.square(one[n] - other[n], dtype="f8").sum()) for n in one)
    return squares / sum(tensor.size for tensor in one.values())


class Judge:
    """Top-1 accuracy of ResNet-20's graph with other weights, in ONNX Runtime on one thread."""

    def __init__(self, network: Network, test: Path) -> None:
        self.network = network
        pairs = list(reticule.Data(test, **CIFAR).batches(BATCH))
        self.images = [images for images, _ in pairs]
        self.labels = np.concatenate([labels for _, labels in pairs])

    def accuracy(self, tensors: Mapping[str, np.ndarray]) -> float:
        import onnxruntime

        own = self.network.tensors
        replaced = {name: np.asarray(tensors[name], "f4").reshape(own[name].shape) for name in own}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        with tempfile.TemporaryDirectory() as folder:
            to_onnx(Network(self.network.graph, replaced), Path(folder) / "network.onnx")
            session = onnxruntime.InferenceSession(str(Path(folder) / "network.onnx"), options)
        name = session.get_inputs()[0].name
        answers = [session.run(None, {name: images})[0].argmax(1) for images in self.images]
        return 100.0 * float((np.concatenate(answers) == self.labels).mean())
