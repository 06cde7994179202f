"""``reticule export``: back to the ecosystem, and checked before the file appears."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from reticule.cli import options
from reticule.cli.compressing import check_writable
from reticule.cli.output import note
from reticule.codec import load
from reticule.engine import Model
from reticule.errors import ReticuleError
from reticule.graph import Network

FAILED = 3
TOLERANCE = 1e-4  # of the largest logit


def export(
    file: options.Ret,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.onnx|OUT.safetensors|OUT.net", help="To write."
        ),
    ],
) -> int:
    """Write an ONNX file, or the weights alone: as safetensors, or in Deep Compression's .net.

    What was written is read again and compared with the compressed network; where it
    differs, the file is removed and the exit code is 3.
    """
    writers = {".onnx": _onnx, ".safetensors": _safetensors, ".net": _net}
    if output.suffix not in writers:
        raise ReticuleError(f"{output}: the output's name must end in .onnx, .safetensors or .net")
    check_writable(output)
    with tempfile.TemporaryDirectory(prefix=".reticule-", dir=output.parent) as folder:
        unchecked = Path(folder) / output.name
        try:
            difference, check = writers[output.suffix](file, unchecked)
        except ReticuleError as problem:  # in the words of who gave the name
            raise ReticuleError(str(problem).replace(str(unchecked), str(output))) from None
        if difference:
            note(f"reticule: {output}: not written, it failed the check: {difference}")
            return FAILED
        size = unchecked.stat().st_size
        os.replace(unchecked, output)
    print(f"{output}: {size:,} bytes; {check}")
    return 0


def _safetensors(file: Path, path: Path) -> tuple[str, str]:
    from reticule.graph.safetensors_out import to_safetensors

    network = load(file).packed.network()
    to_safetensors(network, path)
    from safetensors.numpy import load_file

    read = load_file(path)
    for name, tensor in network.tensors.items():
        if name not in read or read[name].tobytes() != tensor.astype(np.float32).tobytes():
            return f"tensor '{name}' differs", ""
    return "", f"checked: all {len(read)} tensors read back are equal, bit for bit"


def _net(file: Path, path: Path) -> tuple[str, str]:
    from reticule.exchange import load_deep_compression, save_deep_compression, without_a_place

    packed = load(file).packed
    if left_out := without_a_place(packed):
        shown = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        note(f"{file}: a .net file has no place for {len(left_out)} of its tensors ({shown})")
    save_deep_compression(packed, path)
    read = load_deep_compression(path, packed).packed
    for name, form in packed.forms.items():
        if name not in read.forms or read.forms[name].dense().tobytes() != form.dense().tobytes():
            return f"tensor '{name}' differs", ""
    stored = len(packed.forms) - len(left_out)
    return "", f"checked: all {stored} tensors read back are equal, bit for bit"


def _onnx(file: Path, path: Path) -> tuple[str, str]:
    from reticule.graph.onnx_out import to_onnx

    stored = load(file)
    network = stored.packed.network()
    to_onnx(network, path, labels=stored.about.labels)
    inputs = _random_inputs(network)
    ours = _arrays(Model(stored.packed)(*inputs.values()))
    theirs, reader = _answers(path, network, inputs)
    worst = 0.0
    for name, a, b in zip(network.graph.outputs, ours, theirs, strict=True):
        if a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all():
            return f"output '{name}' has another shape or is not finite in {reader}", ""
        worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    if worst > TOLERANCE:
        return f"{reader} gives outputs that differ by {worst:.1e} of the largest", ""
    return "", f"checked: {reader} gives the same outputs, within {worst:.1e} of the largest"


def _random_inputs(network: Network) -> dict[str, np.ndarray]:
    """A seeded batch of two for every input."""
    random = np.random.default_rng(0)
    return {
        name: random.standard_normal((2, *shape)).astype(np.float32)
        for name, shape in network.graph.inputs.items()
    }


def _answers(
    path: Path, network: Network, inputs: dict[str, np.ndarray]
) -> tuple[list[np.ndarray], str]:
    """What the written file computes, by ONNX Runtime where that is installed."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        from reticule.forms import Packed
        from reticule.graph.onnx_in import from_onnx

        model = Model(Packed.of(from_onnx(path)))
        return _arrays(model(*inputs.values())), "reading it again (onnxruntime is not installed)"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = {entry.name for entry in session.get_inputs()}
    feeds = {name: value for name, value in inputs.items() if name in wanted}
    return session.run(list(network.graph.outputs), feeds), "ONNX Runtime"


def _arrays(answer: np.ndarray | tuple[np.ndarray, ...]) -> list[np.ndarray]:
    return list(answer) if isinstance(answer, tuple) else [answer]
