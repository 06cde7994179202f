"""A network that runs from its packed form.

>>> import numpy as np
>>> from reticule.forms import Packed
>>> from reticule.graph import Graph, Network, Node
>>> graph = Graph({"x": (2,)}, ("y",), (Node("Gemm", "fc", ("x", "w"), ("y",)),), {"w": (3, 2)})
>>> packed = Packed.of(Network(graph, {"w": np.array([[1, 0], [0, 1], [1, 1]], "f4")}))
>>> model = Model(packed)
>>> model(np.array([[10, 20]], "f4"))
array([[10., 20., 30.]], dtype=float32)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reticule.codec import About, load
from reticule.engine.operands import operand_of
from reticule.engine.plan import compiled
from reticule.errors import ModelError
from reticule.forms import Packed

Answer = np.ndarray | tuple[np.ndarray, ...]


class Model:
    """A packed network, ready to run; weights stay in memory in the form they were given.

    ``about`` adds what a file knows beside the network: preprocessing and labels.
    ``threads`` bounds the native kernels (None: one per CPU); products of dense matrices
    are numpy's, whose threads its BLAS decides (``OMP_NUM_THREADS``).  A model keeps no
    state between calls and may be called from several threads.
    """

    def __init__(
        self, packed: Packed, about: About | None = None, *, threads: int | None = None
    ) -> None:
        if threads is not None and threads < 1:
            raise ModelError(f"threads must be at least 1, not {threads}")
        self.graph = packed.graph.check()
        self.about = about
        self.threads = threads or os.cpu_count() or 1
        _check_forms(packed)
        self._operands = {name: operand_of(form) for name, form in packed.forms.items()}
        self._plan = compiled(self.graph, self._operands)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int | None = None) -> Model:
        """The network of a ``.ret`` file; FormatError if the file is not valid."""
        loaded = load(path)
        return cls(loaded.packed, loaded.about, threads=threads)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image, or of one row of the first input: no batch axis."""
        return tuple(next(iter(self.graph.inputs.values())))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty if the file has none."""
        return tuple(self.about.labels) if self.about else ()

    @property
    def weight_bytes(self) -> int:
        """Bytes that all weights take in memory, in run form."""
        return sum(operand.nbytes for operand in self._operands.values())

    def __call__(self, *inputs: Any) -> Answer:
        """Outputs for preprocessed inputs: one array each, or a tuple if there are several.

        Inputs are floating-point arrays (N, \\*shape), one for each of the network's inputs;
        N may be 0.  Raises ModelError if their number, shape or type does not fit.
        """
        names = list(self.graph.inputs)
        if len(inputs) != len(names):
            raise ModelError(
                f"the network has {len(names)} inputs ({', '.join(names)}), "
                f"got {len(inputs)}; give one array for each"
            )
        arrays = [self._fitting(name, x) for name, x in zip(names, inputs, strict=True)]
        if len({len(array) for array in arrays}) > 1:
            counts = ", ".join(str(len(array)) for array in arrays)
            raise ModelError(f"inputs have {counts} images; give the same number for each input")
        return self._answers(arrays, lambda part: part)

    def predict_images(self, images: Any) -> Answer:
        """Outputs for images as they are, resized, cropped and preprocessed as the file says.

        ``images`` is uint8 (N, C, H, W), or a sequence of N arrays (C, H, W), which may be of any
        size where the file says how to resize or crop them.
        """
        if self.about is None or self.about.preprocessing is None:
            raise ModelError(
                "no preprocessing is stored with this network; "
                "prepare the images and call the model with floats"
            )
        if len(self.graph.inputs) != 1:
            raise ModelError(
                f"the network has {len(self.graph.inputs)} inputs, not one image; "
                "call the model with one array for each"
            )
        name = next(iter(self.graph.inputs))
        prepare = self.about.preprocessing
        several = isinstance(images, (list, tuple))
        array = images if several else _pixels(name, images)
        if prepare.geometry.changes and (several or array.ndim == 4):
            array = [self._resized(name, image, i) for i, image in enumerate(array)]
        array = _pixels(name, array if len(array) else np.zeros((0, *self.input_shape), np.uint8))
        self._check_shape(name, array)
        return self._answers([array], prepare.apply)

    def _resized(self, name: str, image: Any, index: int) -> np.ndarray:
        """One of the images that are given, resized and cropped as the file says."""
        assert self.about is not None and self.about.preprocessing is not None
        pixels = _pixels(name, image)
        if pixels.ndim == 3 and 0 not in pixels.shape:
            pixels = self.about.preprocessing.resized(pixels, f"image {index}")
        if pixels.shape != self.input_shape:
            raise ModelError(
                f"image {index} has shape {pixels.shape} when resized and cropped as the file "
                f"says, the network takes {self.input_shape}; give pixels (C, H, W)"
            )
        return pixels

    def _answers(
        self, arrays: list[np.ndarray], prepare: Callable[[np.ndarray], np.ndarray]
    ) -> Answer:
        """Run the plan over parts of a batch and put the results together."""
        count = len(arrays[0])
        outputs = tuple(np.empty((count, *shape), np.float32) for shape in self._plan.shapes)
        with np.errstate(all="ignore"):  # infinities and NaN are answers, as in any runtime
            for part in self._parts(count):
                inputs = [np.asarray(prepare(a[part]), np.float32) for a in arrays]
                results = self._plan.run(inputs, self.threads)
                for output, result in zip(outputs, results, strict=True):
                    output[part] = result
        return outputs[0] if len(outputs) == 1 else outputs

    def _parts(self, count: int) -> Iterator[slice]:
        for first in range(0, count, self._plan.together):
            yield slice(first, first + self._plan.together)

    def _fitting(self, name: str, x: Any) -> np.ndarray:
        array = _as_array(name, x)
        if array.dtype not in (np.float16, np.float32, np.float64):
            raise ModelError(
                f"input '{name}': expected floating-point values, got {array.dtype}; "
                "use predict_images for pixels, or convert to float32"
            )
        self._check_shape(name, array)
        return array

    def _check_shape(self, name: str, array: np.ndarray) -> None:
        shape = tuple(self.graph.inputs[name])
        if array.ndim and array.shape[1:] == shape:
            return
        advice = "resize or crop the images" if array.ndim == len(shape) + 1 else "check the axes"
        if len(shape) == 3 and array.ndim == 4 and (array.shape[3], *array.shape[1:3]) == shape:
            advice = "channels come first (x.transpose(0, 3, 1, 2))"
        if array.shape == shape:
            advice = "add a batch axis in front (x[None])"
        wanted = ", ".join(["N", *map(str, shape)])
        raise ModelError(f"input '{name}': expected shape ({wanted}), got {array.shape}; {advice}")


def _as_array(name: str, x: Any) -> np.ndarray:
    try:
        return np.asarray(x)
    except (ValueError, TypeError) as problem:
        raise ModelError(f"input '{name}' is not an array: {problem}") from None


def _pixels(name: str, images: Any) -> np.ndarray:
    array = _as_array(name, images)
    if array.dtype != np.uint8:
        raise ModelError(
            f"expected uint8 images, got {array.dtype}; "
            "call the model itself with preprocessed floats"
        )
    return array


def _check_forms(packed: Packed) -> None:
    graph = packed.graph
    if odd := sorted(set(packed.forms) ^ set(graph.tensors)):
        raise ModelError(f"tensor '{odd[0]}' is in the graph or in the weights, but not in both")
    for name, form in packed.forms.items():
        if tuple(form.shape) != tuple(graph.tensors[name]):
            raise ModelError(
                f"tensor '{name}' has shape {form.shape}, the graph says {graph.tensors[name]}"
            )
