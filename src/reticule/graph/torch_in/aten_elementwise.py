"""ATen activations and arithmetic, as the network's operators."""

from __future__ import annotations

from reticule.graph.shapes import Attribute
from reticule.graph.torch_in.aten_layers import Rule
from reticule.graph.torch_in.builder import Call, Value


def simple(op: str, **arguments: str) -> Rule:
    """An operator with one input and attributes that have other names in ATen."""

    def rule(call: Call) -> Value:
        attributes: dict[str, Attribute] = {
            name: float(call[source]) for name, source in arguments.items()
        }
        return call.emit(op, call.value(call["self"]), attributes=attributes)

    return rule


def fixed(op: str, **attributes: Attribute) -> Rule:
    """An operator with one input and fixed attributes."""
    return lambda call: call.emit(op, call.value(call["self"]), attributes=attributes)


def clamp(call: Call) -> Value:
    """clamp, hardtanh and their kin."""
    limits: dict[str, Attribute] = {}
    for name, source in (("min", "min"), ("max", "max"), ("min", "min_val"), ("max", "max_val")):
        limit = call.arguments.get(source)
        if limit is None:
            continue
        if not isinstance(limit, int | float):
            raise call.unsupported("its limits must be numbers, not tensors")
        limits[name] = float(limit)
    return call.emit("Clip", call.value(call["self"]), attributes=limits)


def elu(call: Call) -> Value:
    if call["input_scale"] != 1:
        raise call.unsupported("use elu without input_scale")
    return _elu(call, float(call["alpha"]), float(call["scale"]))


def selu(call: Call) -> Value:
    return _elu(call, 1.6732632423543772, 1.0507009873554805)


def _elu(call: Call, alpha: float, scale: float) -> str:
    value = call.emit("Elu", call.value(call["self"]), attributes={"alpha": alpha})
    return value if scale == 1 else call.emit("Mul", value, call.number(scale))


def prelu(call: Call) -> Value:
    slope = call.constant(call["weight"], "slope")
    rank = len(call.shape)
    one_each = slope.value.numel() > 1
    shape = (slope.value.numel(), *(1,) * (rank - 2)) if one_each else (1,)
    return call.emit("PRelu", call.value(call["self"]), call.builder.tensor(slope, shape))


def silu(call: Call) -> Value:
    value = call.value(call["self"])
    return call.emit("Mul", value, call.emit("Sigmoid", value))


def softmax(op: str) -> Rule:
    def rule(call: Call) -> Value:
        value = call.value(call["self"])
        return call.emit(op, value, attributes={"axis": call.axis(call["dim"], value)})

    return rule


def arithmetic(op: str, swapped: bool = False) -> Rule:
    """Elementwise arithmetic of values, parameters and numbers, with numpy's broadcasting."""

    def rule(call: Call) -> Value:
        if call.arguments.get("rounding_mode"):
            raise call.unsupported("divide without rounding")
        left, right = call.value(call["self"]), call.value(call["other"])
        alpha = call.arguments.get("alpha", 1)
        if alpha != 1:
            shape = (1,) if not hasattr(call["other"], "meta") else call.shape_of(call["other"])
            right = call.emit("Mul", right, call.number(alpha), shape=shape)
        return call.emit(op, right, left) if swapped else call.emit(op, left, right)

    return rule


def negative(call: Call) -> Value:
    return call.emit("Mul", call.value(call["self"]), call.number(-1.0))


def reciprocal(call: Call) -> Value:
    return call.emit("Div", call.number(1.0), call.value(call["self"]))


def power(call: Call) -> Value:
    value = call.value(call["self"])
    if call["exponent"] not in (1, 2, 3):
        raise call.unsupported("only squares and cubes are; replace it")
    result = value
    for _ in range(int(call["exponent"]) - 1):
        result = call.emit("Mul", result, value)
    return result


def square(call: Call) -> Value:
    value = call.value(call["self"])
    return call.emit("Mul", value, value)


ARITHMETIC: dict[str, Rule] = {
    "add": arithmetic("Add"),
    "sub": arithmetic("Sub"),
    "subtract": arithmetic("Sub"),
    "rsub": arithmetic("Sub", swapped=True),
    "mul": arithmetic("Mul"),
    "multiply": arithmetic("Mul"),
    "div": arithmetic("Div"),
    "divide": arithmetic("Div"),
    "true_divide": arithmetic("Div"),
}

ELEMENTWISE: dict[str, Rule] = {
    **ARITHMETIC,
    "relu": fixed("Relu"),
    "relu6": fixed("Clip", min=0.0, max=6.0),
    "hardtanh": clamp,
    "clamp": clamp,
    "clamp_min": clamp,
    "clamp_max": clamp,
    "leaky_relu": simple("LeakyRelu", alpha="negative_slope"),
    "prelu": prelu,
    "_prelu_kernel": prelu,
    "elu": elu,
    "selu": selu,
    "sign": fixed("Sign"),
    "sigmoid": fixed("Sigmoid"),
    "tanh": fixed("Tanh"),
    "hardsigmoid": fixed("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hardswish": fixed("HardSwish"),
    "silu": silu,
    "softmax": softmax("Softmax"),
    "_softmax": softmax("Softmax"),
    "log_softmax": softmax("LogSoftmax"),
    "_log_softmax": softmax("LogSoftmax"),
    "neg": negative,
    "reciprocal": reciprocal,
    "pow": power,
    "square": square,
}
