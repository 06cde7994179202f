"""What is known while an ONNX file is read: constants, and sizes computed from shapes.

Exporters write ``x.view(x.size(0), -1)`` as a chain of operators that computes the
target shape while the network runs.  Here such chains are computed once, at two
different batch sizes.  A number that comes out the same is a constant; one that
equals the batch both times is the batch.

>>> Known.of("size", np.array([7, 512]), np.array([11, 512])).fixed
False
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.graph.onnx_in.file import Operation, _line

PROBES = (7, 11)
"""The two batch sizes; primes, so that they are mistaken for no other dimension."""

FOLDABLE = frozenset(
    (
        "Abs",
        "Add",
        "And",
        "ArgMax",
        "ArgMin",
        "Cast",
        "CastLike",
        "Ceil",
        "Compress",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "CumSum",
        "DequantizeLinear",
        "Div",
        "Equal",
        "Exp",
        "Expand",
        "EyeLike",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Log",
        "Max",
        "Mean",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "NonZero",
        "Not",
        "OneHot",
        "Or",
        "Pad",
        "Pow",
        "Range",
        "Reciprocal",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
        "Reshape",
        "Round",
        "ScatterElements",
        "ScatterND",
        "Shape",
        "Sign",
        "Size",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tile",
        "TopK",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Where",
        "Xor",
    )
)
"""Operators that are computed at import when all their inputs are known."""

_MOVES = frozenset(["Identity", "Transpose", "Reshape", "Cast", "Squeeze", "Unsqueeze", "Flatten"])
_LARGEST = 2**28  # entries of a computed constant; the weights of any layer are far below


@dataclass(frozen=True)
class Known:
    """A value that does not depend on the images: one array per probed batch size.

    ``origin`` is the name under which the values came, through mere rearrangements.
    """

    values: tuple[np.ndarray, ...]
    origin: str

    @classmethod
    def of(cls, origin: str, *values: np.ndarray) -> Known:
        """A value given for every probe, or once for all."""
        arrays = tuple(np.asarray(v) for v in values)
        first = arrays[0]
        if len(arrays) == 1 or all(_same(first, other) for other in arrays[1:]):
            arrays = (first,) * len(PROBES)
        return cls(arrays, origin)

    @property
    def fixed(self) -> bool:
        """Whether it is the same for every batch size."""
        return all(value is self.values[0] for value in self.values)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())


def constant(operation: Operation) -> np.ndarray:
    """The value of a Constant node."""
    for name, value in operation.attributes.items():
        if name == "value":
            return np.asarray(value)
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
    raise operation.unsupported("Constant (text or sparse)", "export dense numbers")


def computed(operation: Operation, inputs: list[Known | None]) -> list[Known]:
    """The outputs of an operator whose inputs are all known (absent ones are None)."""
    given = [known for known in inputs if known is not None]
    count = 1 if all(known.fixed for known in given) else len(PROBES)
    rows = [
        _run(operation, [None if k is None else k.values[i] for k in inputs]) for i in range(count)
    ]
    origin = given[0].origin if operation.op in _MOVES else ""
    return [
        Known.of(origin or name, *column)
        for name, column in zip(operation.outputs, zip(*rows, strict=True), strict=True)
    ]


def _run(operation: Operation, values: list[np.ndarray | None]) -> list[np.ndarray]:
    """Run one operator with ONNX's reference implementation."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    if operation.op in ("ConstantOfShape", "Expand", "Tile", "Range") and _too_large(values):
        raise operation.error("would make an impossibly large constant")
    feeds = {n: v for n, v in zip(operation.inputs, values, strict=True) if v is not None}
    names = [name for name in operation.outputs if name]
    # wrapped in a model, because for a bare node the evaluator ignores the operator set
    try:
        inputs, outputs = (
            [helper.make_empty_tensor_value_info(n) for n in ns] for ns in (feeds, names)
        )
        graph = helper.make_graph([operation.proto], "node", inputs, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", operation.opset)])
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(names, feeds)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as e:
        raise operation.error(f"cannot be computed from its constants: {_line(e)}") from None
    arrays = iter(results)
    return [np.asarray(next(arrays)) if name else np.zeros(0) for name in operation.outputs]


def _too_large(values: list[np.ndarray | None]) -> bool:
    """Whether a size among small integer inputs exceeds what any layer needs."""
    total = 1.0
    for value in values:
        if value is not None and value.size < 16 and np.issubdtype(value.dtype, np.integer):
            total *= float(np.prod(np.maximum(np.abs(value.astype("f8")), 1)))
    return total > _LARGEST
