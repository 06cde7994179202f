"""``reticule inspect``: where the bytes of a network are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reticule import tables
from reticule.cli import options
from reticule.cli.opening import Opened, open_model
from reticule.cli.output import present
from reticule.layers import Layer, layers_of


def inspect(
    model: options.Model,
    input_shape: options.InputShape = "",
    like: options.Like = "",
    json: options.Json = False,
) -> None:
    """Show form, density, bits per weight and bytes of every layer."""
    opened = open_model(model, input_shape, like=like)
    layers = layers_of(opened.packed, _tensor_bytes(opened))
    plain = _plain(opened, layers)
    present(plain, lambda: _show(plain, layers), json)


def _tensor_bytes(opened: Opened) -> Mapping[str, int]:
    """Bytes of each tensor in the file; 4 for each weight where it is not a compressed one."""
    if opened.tensor_bytes is not None:
        return opened.tensor_bytes
    return {name: 4 * form.size for name, form in opened.packed.forms.items()}


def _plain(opened: Opened, layers: list[Layer]) -> dict[str, Any]:
    about = opened.about
    weights = sum(layer.bytes for layer in layers)
    plain: dict[str, Any] = {
        "layers": [layer.to_json() for layer in layers],
        "bytes_file": opened.path.stat().st_size if opened.path else None,
        "bytes_weights": weights,
        "recipe": about.recipe.get("name"),
        "inputs": {name: list(shape) for name, shape in opened.packed.graph.inputs.items()},
        "outputs": list(opened.packed.graph.outputs),
    }
    if opened.stored:
        plain |= {
            "seed": about.seed,
            "part_bytes": opened.stored.part_bytes,
            "bytes_original": about.bytes_original,
            "ratio": round(about.bytes_original / max(weights, 1), 3),
            "ratio_file": round(about.bytes_original / opened.stored.bytes_file, 3),
            "accuracy": dict(about.accuracy),
            "fidelity": [dict(each) for each in about.fidelity],
            "preprocessing": about.preprocessing.to_json() if about.preprocessing else None,
            "labels": list(about.labels),
        }
    return plain


def _show(plain: Mapping[str, Any], layers: list[Layer]) -> None:
    total = max(plain["bytes_file"] or plain["bytes_weights"], 1)
    rows = [
        (
            layer.name,
            layer.op,
            layer.form,
            "x".join(map(str, layer.shape)),
            f"{100 * layer.density:.3g} %",
            f"{layer.bits_per_weight:.2f}",
            f"{layer.bytes:,}",
            f"{100 * layer.bytes / total:.1f} %",
        )
        for layer in layers
    ]
    columns = ("layer", "<op", "<form", "<shape", "density", "bits/w", "bytes", "share")
    tables.show(columns, rows)
    print(f"weights: {plain['bytes_weights']:,} bytes")
    if plain["bytes_file"] is not None:
        print(f"file:    {plain['bytes_file']:,} bytes")
    if plain.get("part_bytes"):
        parts = (f"{name} {size:,}" for name, size in plain["part_bytes"].items() if size)
        print(f"         {', '.join(parts)}")
    if plain.get("bytes_original"):
        print(
            f"ratio:   {tables.ratio(plain['ratio'])} the weights, "
            f"{tables.ratio(plain['ratio_file'])} the file, of {plain['bytes_original']:,} bytes"
        )
    if plain["recipe"]:
        print(f"recipe:  {plain['recipe']}, seed {plain['seed']}")
    accuracy = plain.get("accuracy") or {}
    if accuracy.get("after") is not None:
        print(
            f"accuracy {accuracy['before']:.2f} % before, {accuracy['after']:.2f} % after, "
            f"measured on {accuracy.get('measured_on')} images"
        )
    for each in plain.get("fidelity", []):
        if each["error_percent"] is not None:
            where = f" on {accuracy['measured_on']} inputs" if "measured_on" in accuracy else ""
            print(f"output {each['output']}: error {each['error_percent']:g} %{where}")
