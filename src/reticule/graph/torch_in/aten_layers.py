"""ATen operators with weights, and pools, as the network's operators.

Every function takes a :class:`~reticule.graph.torch_in.builder.Call` and returns what its
operation stands for, usually the name of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reticule.graph.shapes import Attribute, Shape
from reticule.graph.torch_in.builder import Call, Constant, Value

Rule = Callable[[Call], Value]


def pair(value: Any) -> tuple[int, int]:
    """Both entries of an argument that is given once or twice.

    >>> pair(3), pair([1]), pair([2, 1])
    ((3, 3), (1, 1), (2, 1))
    """
    items = list(value) if isinstance(value, Sequence) else [value]
    return int(items[0]), int(items[-1])


def _image(call: Call, name: str = "input") -> Shape:
    argument = call["self"] if name == "self" else call[name]
    shape = call.shape_of(argument)
    if len(shape) != 4:
        raise call.unsupported(f"its input has shape {shape}, only images (N, C, H, W) are")
    return shape


def conv2d(call: Call) -> Value:
    """conv2d and convolution, also with padding='same'."""
    _image(call)
    if call.arguments.get("transposed"):
        raise call.unsupported("replace the transposed convolution")
    dilations = pair(call["dilation"])
    weight = call.constant(call["weight"], "weight")
    if call["padding"] == "same":
        totals = [d * (k - 1) for d, k in zip(dilations, weight.value.shape[2:], strict=True)]
        before = [total // 2 for total in totals]
        after = [total - half for total, half in zip(totals, before, strict=True)]
    else:
        before = after = [0, 0] if call["padding"] == "valid" else list(pair(call["padding"]))
    inputs = [call.value(call["input"]), call.builder.tensor(weight)]
    if call["bias"] is not None:
        inputs.append(call.builder.tensor(call.constant(call["bias"], "bias")))
    attributes: dict[str, Attribute] = {
        "strides": pair(call["stride"]),
        "pads": (*before, *after),
        "dilations": dilations,
        "group": call["groups"],
    }
    return call.emit("Conv", *inputs, attributes=attributes)


def linear(call: Call) -> Value:
    weight = call.constant(call["weight"], "weight")
    bias = None if call["bias"] is None else call.constant(call["bias"], "bias")
    return _gemm(call, call["input"], weight, bias)


def addmm(call: Call) -> Value:
    if call["beta"] != 1 or call["alpha"] != 1:
        raise call.unsupported("multiply by alpha and beta outside of it")
    bias = call.constant(call["self"], "bias")
    if bias.value.ndim != 1:
        raise call.unsupported("its bias must have one axis")
    return _gemm(call, call["mat1"], call.constant(call["mat2"], "matrix").turned, bias)


def matmul(call: Call) -> Value:
    """mm, bmm and matmul: a Gemm if the second matrix is a parameter."""
    left = call["self"]
    right = call.arguments.get("other", call.arguments.get("mat2"))
    found = call.builder.values[right]
    if isinstance(found, Constant) and found.value.ndim == 2 and not call.is_constant(left):
        return _gemm(call, left, found.turned, None)
    return call.emit("MatMul", call.value(left), call.value(right))


def _gemm(call: Call, x: Any, weight: Constant, bias: Constant | None) -> str:
    if len(call.shape_of(x)) < 2:
        raise call.unsupported("its input needs a leading batch axis")
    tensors = [call.builder.tensor(constant) for constant in (weight, bias) if constant]
    return call.emit("Gemm", call.value(x), *tensors)


def batch_norm(call: Call) -> Value:
    """Batch norm in evaluation mode; missing scale and shift become ones and zeros."""
    arguments = call.arguments
    if arguments.get("running_mean") is None or arguments.get("training"):
        raise call.unsupported("it has no running statistics: set track_running_stats=True")
    mean, var = (call.constant(arguments[n], n) for n in ("running_mean", "running_var"))
    stem = mean.origin.removesuffix("running_mean")
    names = []
    for part, fill in (("weight", 1.0), ("bias", 0.0)):
        if arguments[part] is not None:
            names.append(call.builder.tensor(call.constant(arguments[part], part)))
        else:
            values = mean.value.new_full(tuple(mean.value.shape), fill)
            names.append(call.builder.tensor(Constant(values, stem + part)))
    names += [call.builder.tensor(mean), call.builder.tensor(var)]
    epsilon = {"epsilon": float(arguments["eps"])}
    name = call.emit("BatchNormalization", call.value(arguments["input"]), *names,
                     attributes=epsilon)  # fmt: skip
    several = "native" in call.operator
    return (name, None, None) if several else name


def max_pool2d(call: Call) -> Value:
    _image(call, "self")
    attributes: dict[str, Attribute] = {
        "kernel_shape": pair(call["kernel_size"]),
        "strides": pair(call["stride"] or call["kernel_size"]),
        "pads": pair(call["padding"]) * 2,
        "dilations": pair(call["dilation"]),
        "ceil_mode": int(call["ceil_mode"]),
    }
    name = call.emit("MaxPool", call.value(call["self"]), attributes=attributes)
    return (name, None) if call.operator.endswith("with_indices") else name


def avg_pool2d(call: Call) -> Value:
    _image(call, "self")
    if call["divisor_override"] is not None:
        raise call.unsupported("remove divisor_override and multiply instead")
    attributes: dict[str, Attribute] = {
        "kernel_shape": pair(call["kernel_size"]),
        "strides": pair(call["stride"] or call["kernel_size"]),
        "pads": pair(call["padding"]) * 2,
        "ceil_mode": int(call["ceil_mode"]),
        "count_include_pad": int(call["count_include_pad"]),
    }
    return call.emit("AveragePool", call.value(call["self"]), attributes=attributes)


def adaptive_pool(average: bool) -> Rule:
    """Adaptive pools whose windows all have the same size."""

    def rule(call: Call) -> Value:
        size, target = _image(call, "self")[2:], call.shape[2:]
        value = call.value(call["self"])
        if target == (1, 1):
            value = call.emit("GlobalAveragePool" if average else "GlobalMaxPool", value)
        elif size[0] % target[0] or size[1] % target[1]:
            raise call.unsupported(
                f"windows of {size} for {target} differ in size; use a size that divides the image"
            )
        elif size != target:
            window = size[0] // target[0], size[1] // target[1]
            attributes: dict[str, Attribute] = {"kernel_shape": window, "strides": window}
            value = call.emit("AveragePool" if average else "MaxPool", value, attributes=attributes)
        return value if average else (value, None)

    return rule


LAYERS: dict[str, Rule] = {
    "conv2d": conv2d,
    "convolution": conv2d,
    "linear": linear,
    "addmm": addmm,
    "mm": matmul,
    "bmm": matmul,
    "matmul": matmul,
    "batch_norm": batch_norm,
    "_native_batch_norm_legit": batch_norm,
    "_native_batch_norm_legit_no_training": batch_norm,
    "max_pool2d": max_pool2d,
    "max_pool2d_with_indices": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_pool(average=True),
    "_adaptive_avg_pool2d": adaptive_pool(average=True),
    "adaptive_max_pool2d": adaptive_pool(average=False),
}
