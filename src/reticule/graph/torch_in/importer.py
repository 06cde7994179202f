"""PyTorch modules as networks, through ``torch.export``.

>>> import torch
>>> from reticule.graph.torch_in import from_torch
>>> module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten())
>>> network = from_torch(module, torch.zeros(1, 1, 4, 4))
>>> [node.op for node in network.graph.nodes], sorted(network.tensors)
(['Conv', 'Relu', 'Flatten'], ['0.bias', '0.weight'])
"""

from __future__ import annotations

import inspect
import operator
from typing import TYPE_CHECKING, Any

from reticule.errors import MissingExtra, ModelError, UnsupportedOperator
from reticule.graph.network import Graph, Network, Node
from reticule.graph.shapes import Shape
from reticule.graph.torch_in.aten_elementwise import ELEMENTWISE
from reticule.graph.torch_in.aten_layers import LAYERS
from reticule.graph.torch_in.aten_lrn import find_lrn
from reticule.graph.torch_in.aten_shapes import SHAPES, getitem
from reticule.graph.torch_in.builder import (
    Builder,
    Call,
    Constant,
    Value,
    operator_name,
    same_shapes,
    unique,
)
from reticule.graph.torch_in.export import exported
from reticule.graph.trimming import trimmed

if TYPE_CHECKING:
    import torch

RULES = {**LAYERS, **ELEMENTWISE, **SHAPES}


def from_torch(
    module: torch.nn.Module, example_input: torch.Tensor | tuple[torch.Tensor, ...]
) -> Network:
    """A module in evaluation mode as a network; the module itself is not changed.

    ``example_input`` is one input batch, or a tuple of them; its values do not matter, its
    shape does, apart from the batch size (a number that forward computes from the batch size
    is that of the example, always).  Tensors keep the names of the state dict (a
    matrix that is used as ``x @ matrix`` is stored transposed, as ``name.T``), weights that
    are tied are one tensor, and all become float32.  Outputs may be a tensor, or tuples,
    lists and dictionaries of tensors; None is dropped.

    Raises ModelError if the module cannot be exported or depends on the batch size, and
    UnsupportedOperator for an operation that the network does not have.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtra("reading PyTorch modules", "torch", "compress") from None
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"a torch.nn.Module is needed, not a {type(module).__name__}")
    inputs = example_input if isinstance(example_input, tuple | list) else (example_input,)
    if not inputs or not all(isinstance(x, torch.Tensor) and x.ndim for x in inputs):
        raise ModelError(
            f"{type(module).__name__}: the example input must be a tensor with a batch axis, "
            "or a tuple of such tensors"
        )
    if len({len(x) for x in inputs}) > 1:
        raise ModelError(f"{type(module).__name__}: the example inputs differ in batch size")
    program = exported(module, tuple(inputs))
    return _Translation(module, program, len(inputs[0])).network()


class _Translation:
    """From an exported program to a network."""

    def __init__(self, module: torch.nn.Module, program: Any, batch: int) -> None:
        self.module = module
        self.program = program
        self.signature = program.graph_signature
        self.states = _state_names(module)
        self.builder = Builder(batch, set(self.states.values()))
        self.inputs: dict[str, Shape] = {}

    def network(self) -> Network:
        nodes = list(self.program.graph.nodes)
        self._placeholders([node for node in nodes if node.op == "placeholder"])
        calls = [node for node in nodes if node.op == "call_function"]
        recognised, inner = find_lrn(calls)
        for node in calls:
            if node not in inner:
                self.builder.values[node] = self._translate(node, recognised)
        outputs = self._outputs()
        return trimmed(self._checked(outputs)).check()

    def _placeholders(self, placeholders: list[Any]) -> None:
        """Inputs, and the tensors that the program takes as inputs too."""
        user = list(self.signature.user_inputs)
        names = _forward_names(self.module, len(user)) or user
        tensors = {
            **self.signature.inputs_to_parameters,
            **self.signature.inputs_to_buffers,
            **self.signature.inputs_to_lifted_tensor_constants,
        }
        for node in placeholders:
            if node.name in tensors:
                target = tensors[node.name]
                held = {**self.program.constants, **self.program.state_dict}[target]
                origin = self.states.get(_identity(held), target)
                self.builder.values[node] = Constant(held.detach(), origin)
            elif node.name in user:
                name = unique(names[user.index(node.name)], self.builder.taken)
                shape = tuple(int(size) for size in node.meta["val"].shape)
                self.builder.values[node] = name
                self.builder.shapes[name] = shape
                self.inputs[name] = shape[1:]

    def _translate(self, node: Any, recognised: dict[Any, dict[str, Any]]) -> Value:
        if node in recognised:
            call = self._call(node, recognised[node])
            attributes = {k: v for k, v in call.arguments.items() if k != "self"}
            return call.emit("LRN", call.value(call["self"]), attributes=attributes)
        if node.target is operator.getitem:
            call = self._call(node, {})
            source, index = node.args
            if isinstance(self.builder.values[source], Constant):
                raise call.unsupported("simplify how the parameters are computed")
            return getitem(call, source, index)
        name = operator_name(node)
        if name.startswith("_assert"):
            return None
        call = self._call(node, _arguments(node))
        if name not in _FILLED and self._foldable(node):
            return self._folded(call, name)
        rule = RULES.get(name)
        if rule is None:
            raise call.unsupported(_ADVICE.get(name, "replace it, or remove it from the forward"))
        return rule(call)

    def _call(self, node: Any, arguments: dict[str, Any]) -> Call:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = stack[-1][0] if stack else ""
        try:
            inside = dict(self.module.get_submodule(path).named_children())
            leaf = bool(path) and not inside.keys() - {"parametrizations"}
        except AttributeError:  # the path is the exporter's own name for the module
            leaf = False
        packet = getattr(node.target, "overloadpacket", node.target)
        return Call(self.builder, node, str(packet), path, leaf, arguments)

    def _foldable(self, node: Any) -> bool:
        """Whether a node depends on parameters and literals only."""
        return all(isinstance(self.builder.values.get(n), Constant) for n in node.all_input_nodes)

    def _folded(self, call: Call, name: str) -> Constant:
        """Compute what does not depend on the input."""
        import torch
        from torch.fx.node import map_arg

        if torch.Tag.nondeterministic_seeded in call.node.target.tags:
            raise call.unsupported("a network computes the same each time; remove what is random")
        sources = {n: call.constant(n, "operand") for n in call.node.all_input_nodes}
        args, kwargs = map_arg((call.node.args, call.node.kwargs), lambda n: sources[n].value)
        with torch.no_grad():
            value = call.node.target(*args, **kwargs)
        if not isinstance(value, torch.Tensor):
            raise call.unsupported("simplify how the parameters are computed")
        source = next(iter(sources.values())) if len(sources) == 1 else None
        if source and RULES.get(name) in (SHAPES["view"], SHAPES["clone"]):
            return Constant(value, source.origin)
        if source and name in ("t", "transpose", "permute") and value.ndim == 2:
            turned = source.turned
            same = (value.shape, value.stride()) == (turned.value.shape, turned.value.stride())
            return turned if same else source
        return Constant(value, unique(call.node.name, self.builder.taken), computed=True)

    def _outputs(self) -> list[str]:
        """Give the outputs their final names; several names for one value are copies of it."""
        found = {node.name: node for node in self.program.graph.nodes}
        results = list(self.signature.user_outputs)
        names = _output_names(self.program.call_spec.out_spec, results)
        outputs: list[str] = []
        for name, result in zip(names, results, strict=True):
            if result not in found:
                continue  # None, or a number
            value = self.builder.values[found[result]]
            if not isinstance(value, str):
                raise ModelError(f"output '{name}' does not depend on the input; remove it")
            final = unique(name, self.builder.taken)
            self._rename(value, final, taken=value in outputs or value in self.inputs)
            outputs.append(final)
        if not outputs:
            raise ModelError(f"{type(self.module).__name__}: forward returns no tensors")
        return outputs

    def _rename(self, value: str, final: str, taken: bool) -> None:
        builder = self.builder
        builder.shapes[final] = builder.shapes[value]
        if taken:
            name = unique(final, builder.node_names)
            builder.nodes.append(Node("Identity", name, (value,), (final,)))
            return
        del builder.shapes[value]
        builder.values.update({n: final for n, v in builder.values.items() if v == value})
        for i, node in enumerate(builder.nodes):
            ins = tuple(final if name == value else name for name in node.inputs)
            outs = tuple(final if name == value else name for name in node.outputs)
            builder.nodes[i] = Node(node.op, node.name, ins, outs, node.attributes)

    def _checked(self, outputs: list[str]) -> Network:
        """The network, if its shapes are PyTorch's, and follow the batch size."""
        builder = self.builder
        shapes = {name: tuple(tensor.shape) for name, tensor in builder.tensors.items()}
        graph = Graph(self.inputs, tuple(outputs), tuple(builder.nodes), shapes)
        try:
            same_shapes(graph.shapes(builder.batch), builder.shapes)
        except ModelError as problem:
            raise ModelError(
                f"{type(self.module).__name__}: {problem}; export it to ONNX and load that"
            ) from None
        try:
            other = graph.shapes(builder.batch + 1)
            expected = {n: (builder.batch + 1, *builder.shapes[n][1:]) for n in outputs}
            same_shapes(other, expected)
        except ModelError as problem:
            raise ModelError(
                f"{type(self.module).__name__}: works for a batch of {builder.batch} only "
                f"({problem}); keep the first axis as it is, as in x.flatten(1)"
            ) from None
        return Network(graph, builder.tensors)


def _arguments(node: Any) -> dict[str, Any]:
    """All arguments of a call by name, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        raise UnsupportedOperator(node.name, str(node.target), "replace it by tensor operations")
    arguments: dict[str, Any] = {}
    for i, argument in enumerate(schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        given = node.args[i] if i < len(node.args) else default
        arguments[argument.name] = node.kwargs.get(argument.name, given)
    return arguments


def _identity(tensor: Any) -> tuple[Any, ...]:
    """Equal for two tensors that are the same memory seen in the same way."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _state_names(module: torch.nn.Module) -> dict[tuple[Any, ...], str]:
    """State-dict names by memory; of several names for one tensor, the first."""
    names: dict[tuple[Any, ...], str] = {}
    for name, tensor in module.state_dict().items():
        if tensor.numel():
            names.setdefault(_identity(tensor), name)
    return names


def _forward_names(module: torch.nn.Module, count: int) -> list[str] | None:
    """Names of forward's positional parameters, if there are enough of them."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in kinds]
    return names[:count] if len(names) >= count else None


def _output_names(spec: Any, results: list[Any]) -> list[str]:
    """ "output", or the keys of a dictionary of tensors, or numbered names."""
    keys = [str(key) for key in spec.context] if spec.type is dict else []
    if len(keys) == len(results):
        return keys
    if len(results) == 1:
        return ["output"]
    return [f"output_{i}" for i in range(len(results))]


_FILLED = {"zeros_like", "new_zeros", "ones_like", "new_ones", "full_like", "new_full"}

_ADVICE = {
    "gelu": "retrain with ReLU, SiLU or Hardswish",
    "mish": "retrain with ReLU, SiLU or Hardswish",
    "softplus": "retrain with ReLU, SiLU or Hardswish",
    "group_norm": "use batch norm",
    "instance_norm": "use batch norm",
    "layer_norm": "use batch norm",
    "native_layer_norm": "use batch norm",
    "conv1d": "use conv2d with a height of 1",
    "conv3d": "only two-dimensional convolutions are",
    "conv_transpose2d": "replace the transposed convolution",
    "native_dropout": "give functional dropout training=self.training",
    "randn_like": "a network computes the same each time; remove what is random",
    "rand_like": "a network computes the same each time; remove what is random",
    "avg_pool3d": "two-dimensional pools are, and local response norms of odd size",
    "einsum": "write it with matmul",
}
