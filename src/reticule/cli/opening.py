"""What the user names on the command line, opened: a network in any of its four shapes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reticule.cli.output import note
from reticule.codec import About, load
from reticule.data import Data, Preprocessing
from reticule.errors import DataError, MissingExtra, ModelError
from reticule.forms import Packed
from reticule.graph import Network

if TYPE_CHECKING:
    from reticule.codec.container import Loaded

KINDS = "give an .onnx file, a .ret file, a .net file, or file.py:function"


@dataclass(frozen=True)
class Opened:
    """A network, and what its file knows about it if that is a ``.ret`` file.

    ``tensor_bytes`` is what each tensor takes in a file that is compressed.
    """

    packed: Packed
    stored: Loaded | None = None
    path: Path | None = None
    tensor_bytes: Mapping[str, int] | None = None

    @property
    def about(self) -> About:
        return self.stored.about if self.stored else About()

    @property
    def network(self) -> Network:
        """All weights restored."""
        return self.packed.network()


def open_model(
    text: str, input_shape: str = "", data: Data | None = None, like: str = ""
) -> Opened:
    """Open MODEL; ModelError says what is wrong with it.

    ``input_shape`` ("C,H,W") is needed where an ONNX file leaves it open, and by a
    Python function that returns no example input; for that, ``data`` will do as well.
    ``like`` is the MODEL that has the architecture of a ``.net`` file.
    """
    shape = _shape(input_shape)
    path = Path(text)
    if path.suffix == ".net":
        return _from_net(path, like, input_shape, data)
    if like:
        raise ModelError(f"--like {like}: is for .net files; {text} has its own architecture")
    if path.suffix == ".ret":
        return stored_network(path)
    if path.suffix == ".onnx":
        from reticule.graph.onnx_in import from_onnx

        return Opened(Packed.of(from_onnx(path, shape)), path=path)
    file, colon, function = text.rpartition(":")
    if colon and file.endswith(".py"):
        return Opened(Packed.of(_from_python(Path(file), function, shape, data)))
    if not path.exists():
        raise ModelError(f"{text}: no such file; {KINDS}")
    raise ModelError(f"{text}: not a kind of network that can be read; {KINDS}")


def stored_network(path: Path) -> Opened:
    """The network of a ``.ret`` file."""
    stored = load(path)
    return Opened(stored.packed, stored, path, stored.tensor_bytes)


def _from_net(path: Path, like: str, input_shape: str, data: Data | None) -> Opened:
    """A ``.net`` file, which has weights only."""
    from reticule.exchange import load_deep_compression

    if not path.is_file():
        raise ModelError(f"{path}: no such file; {KINDS}")
    if not like or Path(like).suffix == ".net":
        raise ModelError(
            f"{path}: a .net file has no architecture; "
            "name the network that it was made from with --like ARCH.onnx"
        )
    read = load_deep_compression(path, open_model(like, input_shape, data).packed)
    if read.kept:
        shown = ", ".join(read.kept[:3]) + (", ..." if len(read.kept) > 3 else "")
        note(f"{path}: has no place for {len(read.kept)} tensors ({shown}); taken from {like}")
    return Opened(read.packed, path=path, tensor_bytes=read.tensor_bytes)


def _shape(text: str) -> tuple[int, ...] | None:
    if not text:
        return None
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ModelError(f"--input-shape {text}: give sizes without the batch, such as 3,32,32")
    return shape


def _from_python(
    path: Path, function: str, shape: tuple[int, ...] | None, data: Data | None
) -> Network:
    where = f"{path}:{function}"
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtra("reading PyTorch modules", "torch", "compress") from None
    from reticule.graph.torch_in import from_torch

    made = _called(path, function)
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{where}: returns a {type(module).__name__}, not a torch.nn.Module")
    if example is None:
        shapes = ((shape,),) if shape else _likely_shapes(data)
        if not shapes:
            raise ModelError(
                f"{where}: the input shape is not known; pass --input-shape C,H,W, "
                "or return (module, example_input)"
            )
        problems = []
        for some in shapes:
            try:
                return from_torch(module, tuple(torch.zeros(1, *shape) for shape in some))
            except ModelError as problem:
                problems.append(problem)
        raise problems[0]
    return from_torch(module, example)


def _likely_shapes(data: Data | None) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Shapes of the inputs that a network may have for this data, the likeliest first.

    Grey images can be shown to a network for colour, and the other way round.
    """
    if not data:
        return ()
    other = {1: 3, 3: 1}.get(data.shape[0]) if data.holds_images else None
    return (data.shapes,) if other is None else (data.shapes, ((other, *data.shape[1:]),))


def _called(path: Path, function: str) -> Any:
    """What the user's function returns.  It is their code, and may raise anything."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file; {KINDS}")
    name = f"_reticule_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    code = sys.modules[name] = importlib.util.module_from_spec(spec)
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)  # its neighbours can be imported
    try:
        spec.loader.exec_module(code)
        maker = getattr(code, function, None)
        made = maker() if maker else None
    except (Exception, SystemExit) as problem:
        raise ModelError(f"{path}: {type(problem).__name__}: {problem}") from problem
    finally:
        sys.path.remove(folder)
    if maker is None:
        raise ModelError(f"{path}: has no function '{function}'; {KINDS}")
    return made


def preprocessing_of(
    scale: float | None,
    mean: str,
    std: str,
    stored: Preprocessing | None = None,
    *,
    resize: str = "",
    crop: str = "",
    interpolation: str = "",
    background: str = "",
) -> Preprocessing:
    """What the flags say; where they say nothing, what is stored, else pixel/255."""
    known = stored or Preprocessing()
    sizes = {"resize": resize, "crop": crop, "background": background}
    told = {name: _whole(f"--{name}", text) for name, text in sizes.items() if text}
    if interpolation:
        told["interpolation"] = interpolation
    return replace(
        known,
        scale=known.scale if scale is None else scale,
        mean=_numbers("--mean", mean) or known.mean,
        std=_numbers("--std", std) or known.std,
        **told,
    )


def is_known(scale: float | None, mean: str, std: str, stored: Preprocessing | None = None) -> bool:
    """Whether the flags or the file say what a network was trained on."""
    return stored is not None or scale is not None or bool(mean or std)


def check_known(known: bool, opened: Opened) -> None:
    """Raise DataError where images are to be shown to a ``.ret`` file that does not say how."""
    if not known and opened.stored is not None:
        raise DataError(
            f"{opened.path}: it is unknown how images were prepared for this network; give "
            "--scale, --mean and --std (--scale 255 alone for pixel/255)"
        )


def note_assumed(known: bool, model: str) -> None:
    """Say that pixel/255 is a guess, where it is one."""
    if not known:
        note(
            f"{model}: taken to be trained on pixel/255, as nothing else is said; "
            "if it was not, give --scale, --mean and --std"
        )


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise DataError(f"{flag} {text}: give numbers with commas between them") from None


def _whole(flag: str, text: str) -> Any:
    """A whole number, or a tuple of those with commas between them."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise DataError(f"{flag} {text}: give whole numbers, with commas between them") from None
    return numbers[0] if len(numbers) == 1 else numbers
