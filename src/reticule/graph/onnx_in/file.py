"""Reading an ONNX file: bytes to a model whose tensors are all in memory.

Everything that can be wrong with a file as a file is found here and said in one
line: it is missing, it is a folder, it is no ONNX, its external weights are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reticule.errors import MissingExtra, ModelError, UnsupportedOperator

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Operation:
    """One node of an ONNX graph, with plain Python values for attributes."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int
    proto: onnx.NodeProto

    def input(self, index: int) -> str:
        """The name of an input, "" if it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def error(self, problem: str) -> ModelError:
        """An error that names the node; ``problem`` continues the sentence."""
        return ModelError(f"node '{self.name}' ({self.op}): {problem}")

    def unsupported(self, what: str, advice: str) -> UnsupportedOperator:
        """The error for a variant of an operator that the network cannot express."""
        return UnsupportedOperator(self.name, what, advice)


def read_model(source: str | Path | bytes | onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """A parsed model with all external weights loaded, and what to call it in messages.

    Raises ModelError naming the file where it cannot be read, MissingExtra without ``onnx``.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtra("reading ONNX files", "onnx", "onnx") from None
    if isinstance(source, onnx.ModelProto):
        model, label, folder = source, "the ONNX model", None
    elif isinstance(source, bytes):
        model, label, folder = _parse(source, "the ONNX model"), "the ONNX model", None
    else:
        path = Path(source)
        label, folder = str(source), path.parent
        model = _parse(_bytes(path), label)
    if not model.HasField("graph") or not model.graph.node or not model.opset_import:
        raise ModelError(f"{label}: is not an ONNX file, or holds no network; export it again")
    _check_names(model.graph, label)
    _load_external(model, label, folder)
    if model.functions:
        model = _inlined(model, label)
    return model, label


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise ModelError(f"{path}: is a folder; give the .onnx file in it") from None
    except OSError as problem:
        raise ModelError(f"{path}: cannot be read: {problem.strerror or problem}") from None


def _parse(data: bytes, label: str) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError):
        raise ModelError(f"{label}: is not an ONNX file, or is damaged; export it again") from None
    return model


def _check_names(graph: onnx.GraphProto, label: str) -> None:
    """Names that are not text (bytes, control characters) mean a damaged file."""
    names = [
        entry.name for part in (graph.input, graph.output, graph.initializer) for entry in part
    ]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _check_names(attribute.g, label)
    for name in names:
        if not (isinstance(name, str) and name.isprintable()):
            raise ModelError(f"{label}: holds a name that is not text ({name!r}); export it again")


def _load_external(model: onnx.ModelProto, label: str, folder: Path | None) -> None:
    """Load weights that lie in files beside the model."""
    from onnx.checker import ValidationError
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

    for tensor in _stored_tensors(model.graph):
        if not uses_external_data(tensor):
            continue
        if folder is None:
            raise ModelError(
                f"{label}: tensor '{tensor.name}' lies in another file; read the model by its path"
            )
        where = next((e.value for e in tensor.external_data if e.key == "location"), "")
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except (OSError, ValueError, ValidationError):
            raise ModelError(
                f"{label}: the weights of '{tensor.name}' are expected in '{where}' beside it, "
                "which is missing or damaged; keep both files together"
            ) from None


def _stored_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from _stored_tensors(attribute.g)


def _inlined(model: onnx.ModelProto, label: str) -> onnx.ModelProto:
    """The model with its local functions (as PyTorch 2.1 to 2.5 writes them) expanded."""
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model)
    except (RuntimeError, ValueError) as problem:
        raise ModelError(f"{label}: its local functions do not expand: {_line(problem)}") from None


def standard_opset(model: onnx.ModelProto, label: str) -> int:
    """The version of the standard operator set that the model was written for."""
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return int(entry.version)
    raise ModelError(f"{label}: does not use the standard ONNX operators; export it again")


def array_of(tensor: onnx.TensorProto, label: str) -> np.ndarray:
    """The values of a stored tensor; ModelError where its bytes do not fit its shape."""
    from onnx import numpy_helper

    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, NotImplementedError):
        raise ModelError(f"{label}: tensor '{tensor.name}' is damaged; export it again") from None


def operation(node: onnx.NodeProto, index: int, opset: int, label: str) -> Operation:
    """A node as plain Python values; nodes without a name are called after their output."""
    outputs = tuple(node.output)
    op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    name = node.name or next((o for o in outputs if o), "") or f"{node.op_type}_{index}"
    attributes = {a.name: _attribute(a, label) for a in node.attribute}
    return Operation(op, name, tuple(node.input), outputs, attributes, opset, node)


def _attribute(attribute: onnx.AttributeProto, label: str) -> Any:
    from onnx import AttributeProto, helper

    if attribute.type == AttributeProto.TENSOR:
        return array_of(attribute.t, label)
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if attribute.type == AttributeProto.FLOAT:
        return float(str(np.float32(value)))  # 0.01 rather than 0.009999999776482582
    return tuple(value) if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value


def _line(problem: Exception) -> str:
    """The first line of another library's message."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
