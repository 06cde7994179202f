"""The network under construction while an ONNX file is read.

A name of the file stands for one of three things: a value that is already known
(:class:`~reticule.graph.onnx_in.constants.Known`), a value of the network, or another
name of either (operators such as Dropout vanish).  Shapes of the network's values
are kept for every probed batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from reticule.graph.network import Node
from reticule.graph.onnx_in.constants import PROBES, Known
from reticule.graph.onnx_in.file import Operation
from reticule.graph.operators import OPERATORS
from reticule.graph.shapes import Attribute, Shape, broadcast

Shapes = tuple[Shape, ...]
"""One shape per probed batch size."""

LIMIT = 2**31 - 1
"""The end of an axis whose size is not known."""


@dataclass
class Builder:
    """Collects nodes, tensors and shapes; the rules of the importer call its methods.

    ``batch`` is the batch size that the file was exported for, None if it is free;
    ``consumers`` lists the operators that use each value of the file.  ``expanded`` has the full
    shapes of values whose Expand vanished, ``divisors`` the values by which a local response
    normalisation divides: its image and attributes.
    """

    batch: int | None
    taken: set[str]
    consumers: Mapping[str, Sequence[str]]
    known: dict[str, Known] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, Shapes] = field(default_factory=dict)
    expanded: dict[str, Shapes] = field(default_factory=dict)
    divisors: dict[str, tuple[str, dict[str, Attribute]]] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    _node_names: set[str] = field(default_factory=set)
    _claims: dict[str, list[str]] = field(default_factory=dict)

    # Names

    def resolve(self, name: str) -> str:
        """The name that a value has in the network."""
        return self.aliases.get(name, name)

    def has(self, name: str) -> bool:
        """Whether a name of the file has got a meaning yet."""
        return name in self.known or name in self.divisors or self.resolve(name) in self.shapes

    def alias(self, name: str, value: str) -> None:
        """Let a name of the file stand for another value, known or computed."""
        if value in self.known:
            self.known[name] = self.known[value]
        else:
            self.aliases[name] = self.resolve(value)

    def fresh(self, base: str) -> str:
        """A name that nothing has yet."""
        name = unique(base, self.taken)
        self.taken.add(name)
        return name

    # What goes in

    def shape_of(self, operation: Operation, index: int = 0) -> Shapes:
        """The shapes of an input at the probed batch sizes."""
        name = operation.input(index)
        if name in self.known:
            return tuple(tuple(value.shape) for value in self.known[name].values)
        return self.shapes[self.resolve(name)]

    def array(self, operation: Operation, index: int) -> np.ndarray | None:
        """The values of an input that must be constant; None if it is absent."""
        return self.constant(operation, index) if operation.input(index) else None

    def constant(self, operation: Operation, index: int) -> np.ndarray:
        """The values of an input that must be there and constant."""
        name = operation.input(index)
        if not name:
            raise operation.error(f"input {index} is missing; export it again")
        if name not in self.known:
            raise operation.error(f"input '{name}' must be a constant; export it as one")
        if not self.known[name].fixed:
            raise operation.error(f"input '{name}' depends on the batch size; export it fixed")
        return self.known[name].values[0]

    def numbers(self, operation: Operation, name: str, index: int) -> tuple[int, ...] | None:
        """Integers that are an attribute or, in later operator sets, an input."""
        if name in operation.attributes:
            value = operation.attributes[name]
            return value if isinstance(value, tuple) else (int(value),)
        array = self.array(operation, index)
        return None if array is None else tuple(int(v) for v in array.ravel())

    def operand(self, operation: Operation, index: int) -> str:
        """The name in the network of an input; a constant becomes a tensor."""
        name = operation.input(index)
        if not name:
            raise operation.error(f"input {index} is missing; export it again")
        if name not in self.known:
            return self.resolve(name)
        return self.tensor(self.constant(operation, index), self.known[name].origin)

    def tensor(self, array: np.ndarray, base: str) -> str:
        """Keep values as a float32 tensor under this name, or find it if it is kept already."""
        with np.errstate(over="ignore"):
            values = np.asarray(array, dtype=np.float32, order="C")
        for name in self._claims.setdefault(base, []):
            if np.array_equal(self.tensors[name], values):
                return name
        free = not self._claims[base] and base not in self.shapes
        name = base if free else self.fresh(base)
        self._claims[base].append(name)
        self.tensors[name] = values
        self.shapes[name] = (values.shape,) * len(PROBES)
        return name

    # What comes out

    def emit(
        self,
        operation: Operation,
        op: str,
        inputs: Iterable[str],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        output: str | None = None,
    ) -> str:
        """Add a node; its output is the operation's first unless another is given."""
        inputs, output = tuple(inputs), output or operation.outputs[0]
        defaults = OPERATORS[op].defaults()
        chosen = {k: v for k, v in (attributes or {}).items() if defaults.get(k) != v}
        if problem := OPERATORS[op].problem(chosen):
            raise operation.error(problem)
        name = unique(operation.name, self._node_names)
        node = Node(op, name, inputs, (output,), chosen)
        results = []
        for i in range(len(PROBES)):
            shapes = [self.shapes[n][i] if n else None for n in inputs]
            results.append(OPERATORS[op].infer(shapes, node.settings)[0])
        self._node_names.add(name)
        self.nodes.append(node)
        self.shapes[output] = tuple(results)
        return output

    def inner(self, operation: Operation, suffix: str) -> str:
        """A name for a value between the nodes that one operation becomes."""
        return self.fresh(f"{operation.outputs[0]}/{suffix}")

    def reshape(
        self, operation: Operation, value: str, target: Shapes, *, output: str | None = None
    ) -> str:
        """Give a value another shape; the batch is copied, never written as a number."""
        source, output = self.shapes[value], output or operation.outputs[0]
        if source == target:
            self.alias(output, value)
            return value
        entries = []
        for axis, sizes in enumerate(zip(*target, strict=True)):
            if len(set(sizes)) == 1:
                entries.append(sizes[0])
            elif axis < len(source[0]) and tuple(s[axis] for s in source) == sizes:
                entries.append(0)
            else:
                entries.append(-1)
        if entries.count(-1) > 1 or any(
            size == 0 for shape in target for size in shape
        ):  # a size that varies in two places cannot be written down
            raise operation.error(f"cannot give the shape {target[0]} for every batch size")
        return self.emit(operation, "Reshape", (value,), {"shape": tuple(entries)}, output=output)

    def cut(
        self,
        operation: Operation,
        value: str,
        bounds: Mapping[int, tuple[int, int, int]],
        *,
        output: str | None = None,
    ) -> str:
        """Take (start, end, step) along some axes; axes that stay whole are left out."""
        output = output or operation.outputs[0]
        kept: dict[int, tuple[int, int, int]] = {}
        for axis, (start, end, step) in bounds.items():
            if step < 1:
                raise operation.unsupported(
                    f"{operation.op} (backwards)", "write the network without reversing an axis"
                )
            sizes = {shape[axis] for shape in self.shapes[value]}
            if len(sizes) > 1:
                size = self.batch or LIMIT
                if range(size)[start:end:step] != range(size):
                    raise operation.error("takes a part of the batch; remove it and export again")
                continue
            size = sizes.pop()
            first, last, _ = slice(start, end, step).indices(size)
            if range(size)[first:last:step] != range(size):
                kept[axis] = (first, max(first, last), step)
        if not kept:
            self.alias(output, value)
            return value
        axes = tuple(sorted(kept))
        starts, ends, steps = zip(*(kept[a] for a in axes), strict=True)
        attributes = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
        return self.emit(operation, "Slice", (value,), attributes, output=output)

    def full_shape(self, operation: Operation, index: int) -> Shapes:
        """The shape that an input has in the file, where an Expand may have vanished."""
        name = operation.input(index)
        return self.expanded.get(name) or self.shape_of(operation, index)

    def full_broadcast(self, operation: Operation) -> Shapes:
        """The shape that an elementwise operation has in the file."""
        every = [self.full_shape(operation, i) for i in range(len(operation.inputs))]
        return tuple(broadcast(*shapes) for shapes in zip(*every, strict=True))


Rule = Callable[[Builder, Operation], None]
"""Emits the nodes that one operation of the file becomes."""


def unique(base: str, taken: set[str]) -> str:
    """The name itself if it is free, else with a number."""
    name, count = base, 1
    while name in taken:
        name, count = f"{base}_{count}", count + 1
    return name
