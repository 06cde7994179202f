"""What the translation of an exported PyTorch program keeps: values, constants, nodes, names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reticule.errors import ModelError, UnsupportedOperator
from reticule.graph.network import Node
from reticule.graph.shapes import Attribute, Shape


@dataclass(frozen=True)
class Constant:
    """A tensor that does not depend on the network's inputs.

    ``origin`` is the name that it has in the network: the state dict's for a parameter,
    else one that tells where it was computed.
    """

    value: Any  # a torch.Tensor
    origin: str
    transposed: Constant | None = None  # the matrix that this one is the transpose of
    computed: bool = False  # from parameters, so that the state dict has no name for it

    @property
    def turned(self) -> Constant:
        """The transpose of a matrix."""
        return self.transposed or Constant(self.value.t(), f"{self.origin}.T", self)


# What a node of the exported program stands for: the name of a computed value, a
# constant, or the tuple of such things that an operator with several results gives.
Value = str | Constant | tuple[Any, ...] | None


@dataclass
class Builder:
    """The network under construction."""

    batch: int  # of the example input
    taken: set[str]  # names that no new value may have
    values: dict[Any, Value] = field(default_factory=dict)  # by node of the program
    shapes: dict[str, Shape] = field(default_factory=dict)  # of computed values
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    node_names: set[str] = field(default_factory=set)
    _kept: dict[tuple[str, Shape], list[str]] = field(default_factory=dict)

    def tensor(self, constant: Constant, shape: Shape | None = None) -> str:
        """Name of the weight tensor with a constant's values, optionally in another shape."""
        array = np.array(constant.value.detach().cpu().float().numpy(), np.float32, order="C")
        array = array.reshape(array.shape if shape is None else shape)
        names = self._kept.setdefault((constant.origin, array.shape), [])
        for name in names:
            if np.array_equal(self.tensors[name], array, equal_nan=True):
                return name
        name = constant.origin
        if name in self.tensors or name in self.shapes:
            name = unique(name, self.taken)
        names.append(name)
        self.tensors[name] = array
        return name


@dataclass(frozen=True)
class Call:
    """One operation of the exported program, its arguments by their ATen names."""

    builder: Builder
    node: Any  # a torch.fx.Node
    operator: str  # e.g. "aten.conv2d"
    module: str  # path of the innermost module that it belongs to
    leaf: bool  # that module is a single layer
    arguments: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def where(self) -> str:
        """The name of the operation in error messages."""
        return self.module if self.leaf else self.node.name

    def unsupported(self, advice: str) -> UnsupportedOperator:
        """An error that names this operation."""
        return UnsupportedOperator(self.where, self.operator, advice)

    @property
    def shape(self) -> Shape:
        """Shape of the (first) result, with the example's batch."""
        value = self.node.meta["val"]
        return tuple(int(s) for s in (value[0] if isinstance(value, tuple | list) else value).shape)

    def shape_of(self, argument: Any) -> Shape:
        """Shape of an argument, with the example's batch."""
        return tuple(int(size) for size in argument.meta["val"].shape)

    def value(self, argument: Any) -> str:
        """Name of the value or tensor that an argument is; a number becomes a tensor."""
        if isinstance(argument, bool | int | float):
            return self.number(argument)
        found = self.builder.values[argument]
        if isinstance(found, Constant):
            return self.builder.tensor(found, found.value.shape or (1,))
        if isinstance(found, str):
            return found
        raise self.unsupported("it uses a result that convolutional networks do not need")

    def number(self, number: float) -> str:
        """Name of a tensor of shape (1,) with this value."""
        name = unique(f"{self.node.name}.number", self.builder.taken)
        self.builder.tensors[name] = np.array([number], np.float32)
        return name

    def constant(self, argument: Any, what: str) -> Constant:
        """A constant argument; an error if it is computed from the input."""
        found = self.builder.values[argument]
        if not isinstance(found, Constant):
            raise self.unsupported(f"its {what} must be a parameter, not computed from the input")
        if found.computed and self.leaf:
            return replace(found, origin=f"{self.module}.{what}")
        return found

    def is_constant(self, argument: Any) -> bool:
        """Whether an argument does not depend on the input."""
        return isinstance(self.builder.values.get(argument), Constant)

    def emit(
        self,
        op: str,
        *inputs: str,
        shape: Shape | None = None,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> str:
        """Add a node and return the name of its value; ``shape`` if it is not the call's."""
        name = unique(self.where, self.builder.node_names)
        value = unique(self.node.name, self.builder.taken)
        self.builder.nodes.append(Node(op, name, inputs, (value,), dict(attributes or {})))
        self.builder.shapes[value] = self.shape if shape is None else shape
        return value

    def reshape(self, value: str, shape: Shape, literal: tuple[int, ...] = ()) -> str:
        """A reshape, unless the shape stays; ``literal`` is the target as the program has it.

        The batch is never a number: a leading dimension that stays is copied, any other
        that changes is inferred, so that the network runs with other batch sizes too.
        """
        have = self.builder.shapes[value]
        if have == shape:
            return value
        target = list(shape)
        if have and target and have[0] == target[0]:
            target[0] = 0
        elif -1 in literal:
            target[literal.index(-1)] = -1
        elif target:
            target[0] = -1
        attributes: dict[str, Attribute] = {"shape": tuple(target)}
        if len(shape) == 2 and len(have) > 2 and target[0] == 0:
            return self.emit("Flatten", value, shape=shape, attributes={"axis": 1})
        return self.emit("Reshape", value, shape=shape, attributes=attributes)

    def transpose(self, value: str, perm: tuple[int, ...]) -> str:
        """A permutation of axes, unless it changes nothing."""
        have = self.builder.shapes[value]
        if perm == tuple(range(len(have))):
            return value
        shape = tuple(have[axis] for axis in perm)
        return self.emit("Transpose", value, shape=shape, attributes={"perm": perm})

    def slice(self, value: str, axis: int, start: int, end: int, step: int = 1) -> str:
        """A part of one axis, unless it is all of it."""
        have = self.builder.shapes[value]
        chosen = range(have[axis])[start:end:step]
        if len(chosen) == have[axis]:
            return value
        if not chosen:
            raise self.unsupported("it takes an empty slice; remove it")
        shape = (*have[:axis], len(chosen), *have[axis + 1 :])
        attributes: dict[str, Attribute] = {
            "starts": (chosen[0],), "ends": (chosen[-1] + 1,), "axes": (axis,), "steps": (step,),
        }  # fmt: skip
        return self.emit("Slice", value, shape=shape, attributes=attributes)

    def axis(self, axis: int, value: str) -> int:
        """A non-negative axis that is not the batch."""
        rank = len(self.builder.shapes[value])
        axis = axis % rank if rank else axis
        if axis == 0:
            raise self.unsupported("it mixes the images of a batch; work on the other axes")
        return axis


def unique(hint: str, taken: set[str]) -> str:
    """A name that is not taken: the hint, or the hint and a number; it is taken from now on.

    >>> taken = {"act"}
    >>> unique("act", taken), unique("act", taken)
    ('act_2', 'act_3')
    """
    name, count = hint, 1
    while name in taken:
        count += 1
        name = f"{hint}_{count}"
    taken.add(name)
    return name


def operator_name(node: Any) -> str:
    """Name of the ATen operator that a node of the program calls, without its overload."""
    target = getattr(node, "target", None)
    return getattr(getattr(target, "overloadpacket", None), "__name__", "")


def same_shapes(shapes: Mapping[str, Shape], expected: Mapping[str, Shape]) -> None:
    """Raise ModelError for the first value whose shape is not what PyTorch computed."""
    for name, shape in expected.items():
        if tuple(shapes[name]) != tuple(shape):
            raise ModelError(
                f"value '{name}' has shape {shapes[name]} where PyTorch computes {shape}"
            )
