"""ATen operators that move, cut, join and reduce values, as the network's operators."""

from __future__ import annotations

from typing import Any

from reticule.graph.shapes import Attribute
from reticule.graph.torch_in.aten_elementwise import ARITHMETIC
from reticule.graph.torch_in.aten_layers import Rule
from reticule.graph.torch_in.builder import Call, Constant, Value, operator_name


def nothing(call: Call) -> Value:
    """Operators that change nothing in evaluation: dropout, clone, casts between floats."""
    if not call.node.meta["val"].dtype.is_floating_point:
        raise call.unsupported("a network computes with floating-point numbers only")
    if call.arguments.get("train"):
        raise call.unsupported("give functional dropout training=self.training")
    return call.value(call["input"] if "input" in call.arguments else call["self"])


def reshape(call: Call) -> Value:
    """view, reshape, flatten, squeeze and unsqueeze: all that keeps the order of elements."""
    literal = call.arguments.get("size", call.arguments.get("shape", ()))
    entries = tuple(literal) if isinstance(literal, list | tuple) else ()
    return call.reshape(call.value(call["self"]), call.shape, entries)


def expand(call: Call) -> Value:
    """Nothing where arithmetic follows, which broadcasts; else a multiplication by ones."""
    value = call.value(call["self"])
    have, shape = call.builder.shapes[value], call.shape
    if have == shape or all(operator_name(user) in ARITHMETIC for user in call.node.users):
        return value
    if len(have) != len(shape) or have[0] != shape[0]:
        raise call.unsupported("keep the first axis, and expand others of length 1 only")
    import torch

    wide = tuple(s if s != h else 1 for h, s in zip(have, shape, strict=True))
    ones = call.builder.tensor(Constant(torch.ones(wide), f"{call.node.name}.ones"))
    return call.emit("Mul", value, ones)


def permute(call: Call) -> Value:
    value = call.value(call["self"])
    rank = len(call.shape)
    return call.transpose(value, tuple(axis % rank for axis in call["dims"]))


def transpose(call: Call) -> Value:
    """transpose, t and T."""
    value = call.value(call["self"])
    perm = list(range(len(call.shape)))
    first = call.arguments.get("dim0", call.arguments.get("axis0", 0))
    second = call.arguments.get("dim1", call.arguments.get("axis1", 1))
    perm[first], perm[second] = perm[second], perm[first]
    return call.transpose(value, tuple(perm))


def channel_shuffle(call: Call) -> Value:
    n, c, h, w = call.shape
    groups = call["groups"]
    value = call.reshape(call.value(call["self"]), (n, groups, c // groups, h, w))
    return call.reshape(call.transpose(value, (0, 2, 1, 3, 4)), call.shape)


def pixel_unshuffle(call: Call) -> Value:
    n, c, h, w = call.shape_of(call["self"])
    factor = call["downscale_factor"]
    split = (n, c, h // factor, factor, w // factor, factor)
    value = call.reshape(call.value(call["self"]), split)
    return call.reshape(call.transpose(value, (0, 1, 3, 5, 2, 4)), call.shape)


def pixel_shuffle(call: Call) -> Value:
    n, c, h, w = call.shape
    factor = call["upscale_factor"]
    split = (n, c, factor, factor, h // factor, w // factor)
    value = call.reshape(call.value(call["self"]), split)
    return call.reshape(call.transpose(value, (0, 1, 4, 2, 5, 3)), call.shape)


def cat(call: Call) -> Value:
    """Concatenation; a block of equal numbers at an end, as in padding shortcuts, is a Pad."""
    parts = [part for part in call["tensors"] if call.shape_of(part) != (0,)]
    axis = call["dim"] % len(call.shape)
    filled = [call.is_constant(part) for part in parts]
    if not any(filled):
        names = [call.value(part) for part in parts]
        if len(names) == 1:
            return names[0]
        return call.emit("Concat", *names, attributes={"axis": axis})
    first, last = filled.index(False), len(filled) - 1 - filled[::-1].index(False)
    blocks = [call.constant(part, "part").value for part, fill in zip(parts, filled, strict=True)
              if fill]  # fmt: skip
    number = float(blocks[0].reshape(-1)[0])
    if any(filled[first : last + 1]) or not all(bool((b == number).all()) for b in blocks):
        raise call.unsupported("it joins a parameter to a value; only zeros at an end can be")
    inner = parts[first : last + 1]
    have = [sum(call.shape_of(p)[axis] for p in some) for some in (parts[:first], inner)]
    shape = list(call.shape)
    shape[axis] = have[1]
    names = [call.value(part) for part in inner]
    value = names[0]
    if len(names) > 1:
        value = call.emit("Concat", *names, shape=tuple(shape), attributes={"axis": axis})
    before = [0] * len(shape)
    before[axis] = have[0]
    after = [0] * len(shape)
    after[axis] = call.shape[axis] - have[0] - have[1]
    return _padded(call, value, before, after, "constant", number)


def stack(call: Call) -> Value:
    rank = len(call.shape)
    axis = call["dim"] % rank
    shape = tuple(1 if i == axis else s for i, s in enumerate(call.shape))
    names = [call.reshape(call.value(part), shape) for part in call["tensors"]]
    return call.emit("Concat", *names, attributes={"axis": axis})


def split(call: Call) -> Value:
    """chunk, split and unbind: nothing yet; every part that is used becomes a Slice."""
    value = call.value(call["self"])
    axis = call["dim"] % len(call.builder.shapes[value])
    sizes = [int(part.shape[axis]) for part in call.node.meta["val"]]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple((value, axis, a, a + s) for a, s in zip(starts, sizes, strict=True))


def unbind(call: Call) -> Value:
    value = call.value(call["self"])
    axis = call["dim"] % len(call.builder.shapes[value])
    return tuple((value, axis, i, i + 1) for i in range(len(call.node.meta["val"])))


def getitem(call: Call, source: Any, index: int) -> Value:
    """One result of an operator with several."""
    results = call.builder.values[source]
    part = results[index] if isinstance(results, tuple) else None
    if isinstance(part, tuple):
        return call.reshape(call.slice(*part), call.shape)
    if part is None:
        raise call.unsupported("it uses a result that convolutional networks do not need")
    return part


def slice_(call: Call) -> Value:
    value = call.value(call["self"])
    axis = call["dim"] % len(call.builder.shapes[value])
    start, end = call["start"] or 0, call["end"]
    size = call.builder.shapes[value][axis]
    return call.slice(value, axis, start, size if end is None else min(end, size), call["step"])


def select(call: Call) -> Value:
    value = call.value(call["self"])
    axis = call.axis(call["dim"], value)
    start = call["index"] % call.builder.shapes[value][axis]
    return call.reshape(call.slice(value, axis, start, start + 1), call.shape)


def narrow(call: Call) -> Value:
    value = call.value(call["self"])
    axis = call["dim"] % len(call.shape)
    start = call["start"] % call.builder.shapes[value][axis]
    return call.slice(value, axis, start, start + call["length"])


def pad(mode: str | None = None) -> Rule:
    """pad and its special cases; a negative width cuts."""

    def rule(call: Call) -> Value:
        value = call.value(call["self"])
        flat = call["pad"] if "pad" in call.arguments else call["padding"]
        chosen = mode or call["mode"]
        kinds = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
        if chosen not in kinds:
            raise call.unsupported(f"padding mode '{chosen}' is not; use zeros")
        before, after = [0] * len(call.shape), [0] * len(call.shape)
        for i, width in enumerate(flat):
            axis = len(call.shape) - 1 - i // 2
            (after if i % 2 else before)[axis] = int(width)
        for axis, (start, end) in enumerate(zip(before, after, strict=True)):
            size = call.builder.shapes[value][axis]
            value = call.slice(value, axis, max(-start, 0), size + min(end, 0))
        number = float(call.arguments.get("value") or 0)
        clipped = [max(b, 0) for b in before], [max(a, 0) for a in after]
        return _padded(call, value, *clipped, kinds[chosen], number)

    return rule


def _padded(
    call: Call, value: str, before: list[int], after: list[int], mode: str, number: float
) -> str:
    if not any(before) and not any(after):
        return value
    attributes: dict[str, Attribute] = {
        "pads": (*before, *after), "mode": mode, "value": number,
    }  # fmt: skip
    return call.emit("Pad", value, attributes=attributes)


def _axes(call: Call, value: str) -> tuple[int, ...]:
    dim = call.arguments.get("dim")
    if dim is None or dim == []:
        raise call.unsupported("it mixes the images of a batch; name the axes")
    dims = dim if isinstance(dim, list | tuple) else [dim]
    return tuple(sorted(call.axis(axis, value) for axis in dims))


def mean(call: Call) -> Value:
    value = call.value(call["self"])
    axes = _axes(call, value)
    attributes: dict[str, Attribute] = {"axes": axes, "keepdims": int(call["keepdim"])}
    return call.emit("ReduceMean", value, attributes=attributes)


def total(call: Call) -> Value:
    value = call.value(call["self"])
    count = 1
    for axis in _axes(call, value):
        count *= call.builder.shapes[value][axis]
    return call.emit("Mul", str(mean(call)), call.number(float(count)))


def amax(call: Call) -> Value:
    value = call.value(call["self"])
    have = call.builder.shapes[value]
    if len(have) != 4 or _axes(call, value) != (2, 3):
        raise call.unsupported("only the maximum over height and width is")
    name = call.emit("GlobalMaxPool", value, shape=(*have[:2], 1, 1))
    return call.reshape(name, call.shape)


def filled(number: float | None) -> Rule:
    """zeros_like, new_zeros and their kin: a constant, whatever they take the shape from."""

    def rule(call: Call) -> Value:
        import torch

        fill = call["fill_value"] if number is None else number
        return Constant(torch.full(call.shape, float(fill)), call.node.name)

    return rule


SHAPES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "dropout", "feature_dropout", "alpha_dropout", "clone", "contiguous", "detach",
            "alias", "lift_fresh_copy", "to", "_to_copy", "type_as",
        ),
        nothing,
    ),
    **dict.fromkeys(
        (
            "view", "reshape", "_unsafe_view", "view_as", "reshape_as", "flatten", "unflatten",
            "squeeze", "unsqueeze", "view_copy", "squeeze_copy", "unsqueeze_copy",
        ),
        reshape,
    ),
    "expand": expand,
    "expand_as": expand,
    "permute": permute,
    "transpose": transpose,
    "swapaxes": transpose,
    "t": transpose,
    "channel_shuffle": channel_shuffle,
    "native_channel_shuffle": channel_shuffle,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "cat": cat,
    "concat": cat,
    "concatenate": cat,
    "stack": stack,
    "chunk": split,
    "split": split,
    "split_with_sizes": split,
    "tensor_split": split,
    "unsafe_chunk": split,
    "unsafe_split": split,
    "unbind": unbind,
    "slice": slice_,
    "select": select,
    "narrow": narrow,
    "pad": pad(),
    "constant_pad_nd": pad("constant"),
    "reflection_pad2d": pad("reflect"),
    "replication_pad2d": pad("replicate"),
    "mean": mean,
    "sum": total,
    "amax": amax,
    "zeros_like": filled(0.0),
    "new_zeros": filled(0.0),
    "ones_like": filled(1.0),
    "new_ones": filled(1.0),
    "full_like": filled(None),
    "new_full": filled(None),
}  # fmt: skip
