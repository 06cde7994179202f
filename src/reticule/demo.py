"""The demonstration: train a small network, compress it, show what that did.

The images are the 1797 handwritten digits (8x8, grey) that come with scikit-learn; nothing
is downloaded.  Three tenths of them are put aside at the start: nothing is trained or
decided on them, all figures are measured on them.  Of the others, one in five serves to
watch the stages of compression.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reticule import tables
from reticule.codec import About, save
from reticule.compression import compress
from reticule.data import Data
from reticule.engine import Model
from reticule.errors import MissingExtra, ReticuleError
from reticule.evaluation import Measured, measure
from reticule.forms import Packed
from reticule.graph import Network
from reticule.progress import Progress, Silent
from reticule.recipes import Recipe, load_recipe
from reticule.result import Result

if TYPE_CHECKING:
    import torch

EPOCHS = 8
BATCH = 64
HELD_BACK = 0.3
WATCHED = 0.2

# deep-compression, with settings for a data set of a thousand small images: a density that
# is given, since a few hundred images are too few to find one by; many epochs, since
# an epoch is only nine steps; and tables of shared values that may take as many bytes as
# the indices into them, since the layers are small too.
RECIPE = """\
name: deep-compression-demo
summary: Deep compression, with settings for a small network and a thousand images.
source: Han, Mao, Dally, "Deep Compression", ICLR 2016
good_for: the digits of the demo
stages:
  - method: fold-batch-norm
  - method: gradual-pruning
    density: 0.1
    training: {{epochs: {pruning}, learning_rate: 0.001}}
  - method: retrain
    training: {{epochs: {retraining}, learning_rate: 0.001}}
  - method: weight-sharing
    conv_bits: 4
    linear_bits: 4
    table_share: 1.0
  - method: half-precision
  - method: match-moments
  - method: retrain
    training: {{epochs: {centroids}, learning_rate: 0.0003}}
"""


@dataclass(frozen=True)
class Demo:
    """What the demonstration made and measured, before and after compression."""

    folder: Path
    result: Result
    before: Measured
    after: Measured
    memory_before: int  # bytes of the weights while the network runs
    memory_after: int
    with_report: bool
    with_onnx: bool

    @property
    def points(self) -> float:
        """Points of accuracy gained."""
        return (self.after.accuracy or 0.0) - (self.before.accuracy or 0.0)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            **self.result.to_json(),
            "ms_per_image_before": round(self.before.ms_per_image, 4),
            "ms_per_image_after": round(self.after.ms_per_image, 4),
            "weight_memory_before": self.memory_before,
            "weight_memory_after": self.memory_after,
        }


def run_demo(folder: Path, progress: Progress | None = None, scale: float = 1.0) -> Demo:
    """Train, compress and measure; writes ``digits.ret`` and more into ``folder``.

    ``scale`` multiplies all training; at less than 1 the demonstration is quicker, and the
    compressed network worse.
    """
    progress = progress or Silent()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ReticuleError(f"{folder}: cannot be made ({problem.strerror})") from None
    rest, test = digits().split(HELD_BACK, seed=0)
    train, val = rest.split(WATCHED, seed=0)
    with _one_thread():
        network = trained(train, progress, max(1, round(EPOCHS * scale)))
        result = compress(
            network,
            train=train,
            val=val,
            test=test,
            recipe=_recipe(scale),
            seed=0,
            progress=progress,
        )
    path = folder / "digits.ret"
    result.save(path)
    original = Model(Packed.of(network))
    return Demo(
        folder=folder,
        result=result,
        before=_before(network, test),
        after=measure(path, test, timed=True),
        memory_before=original.weight_bytes,
        memory_after=Model.load(path).weight_bytes,
        with_report=_optional(lambda: result.report(folder / "report.html"), progress),
        with_onnx=_optional(lambda: _write_onnx(network, folder / "digits.onnx"), progress),
    )


def _before(network: Network, test: Data) -> Measured:
    """The float32 network under the same conditions as the compressed one."""
    with tempfile.TemporaryDirectory(prefix="reticule-") as folder:
        path = Path(folder) / "original.ret"
        save(path, Packed.of(network), About(preprocessing=test.preprocessing))
        return measure(path, test, timed=True)


def digits() -> Data:
    """All images, as 8-bit pixels."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise MissingExtra("the demonstration", "scikit-learn", "all") from None
    bundled = load_digits()
    pixels = np.rint(bundled.images * (255 / 16)).astype(np.uint8)  # stored as 0..16
    return Data((pixels, bundled.target))


def trained(data: Data, progress: Progress, epochs: int) -> Network:
    """A small residual network, trained from scratch with a fixed seed."""
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtra("the demonstration", "torch", "all") from None
    from reticule.graph.torch_in import from_torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = digit_network()
        _fit(module, data, progress, epochs)
    module.eval()
    return from_torch(module, torch.zeros(1, *data.shape))


def _fit(module: torch.nn.Module, data: Data, progress: Progress, epochs: int) -> None:
    import torch

    images = torch.from_numpy(data.batch(np.arange(len(data))))
    labels = torch.from_numpy(data.labels)
    steps = epochs * (len(data) // BATCH)
    optimiser = torch.optim.Adam(module.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, total_steps=steps)
    with progress.bar("training a small network", steps) as bar:
        for step in range(steps):
            start = step * BATCH % (len(data) // BATCH * BATCH)
            if start == 0:
                order = torch.randperm(len(data))
            chosen = order[start : start + BATCH]
            loss = torch.nn.functional.cross_entropy(module(images[chosen]), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.advance(1, f"loss {loss.item():.3f}")


def digit_network() -> torch.nn.Module:
    """Three convolutional stages, the last one residual, and two linear layers: 56,890 weights."""
    from torch import Tensor, nn

    class Residual(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.first = _convolution(channels, channels)
            self.second = _convolution(channels, channels)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.relu(x + self.second(nn.functional.relu(self.first(x))))

    return nn.Sequential(
        OrderedDict(
            stem=_convolution(1, 16),
            relu1=nn.ReLU(),
            wide=_convolution(16, 32),
            relu2=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            residual=Residual(32),
            flat=nn.Flatten(),
            hidden=nn.Linear(512, 64),
            relu3=nn.ReLU(),
            classes=nn.Linear(64, 10),
        )
    )


def _convolution(inputs: int, outputs: int) -> torch.nn.Module:
    from torch import nn

    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs)))


def _recipe(scale: float) -> Recipe:
    text = RECIPE.format(pruning=60 * scale, retraining=36 * scale, centroids=24 * scale)
    with tempfile.TemporaryDirectory(prefix="reticule-") as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(text, "utf-8")
        return load_recipe(path)


def _write_onnx(network: Network, path: Path) -> None:
    from reticule.graph.onnx_out import to_onnx

    to_onnx(network, path)


def _optional(write: Callable[[], None], progress: Progress) -> bool:
    """Write a file that needs an optional package; says so where that is missing."""
    try:
        write()
    except MissingExtra as problem:
        progress.say(str(problem))
        return False
    return True


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch on one thread: images this small are slower on several."""
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtra("the demonstration", "torch", "all") from None
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def show_demo(demo: Demo) -> None:
    """The table before and after, and what to try next."""
    result = demo.result
    file_before, file_after = result.bytes_original, result.bytes_file
    tables.show(
        ("", "before", "after", "change"),
        [
            ("accuracy", tables.percent(demo.before.accuracy), tables.percent(demo.after.accuracy),
             f"{demo.points:+.2f} points"),
            ("weights on disk", tables.size(file_before), tables.size(result.bytes_weights),
             f"{tables.ratio(result.ratio)} smaller"),
            ("whole file", tables.size(file_before), tables.size(file_after),
             f"{tables.ratio(result.ratio_file)} smaller"),
            ("weights in memory", tables.size(demo.memory_before), tables.size(demo.memory_after),
             f"{tables.ratio(demo.memory_before / demo.memory_after)} smaller"),
            ("time per image", f"{demo.before.ms_per_image:.2f} ms",
             f"{demo.after.ms_per_image:.2f} ms",
             f"{demo.before.ms_per_image / demo.after.ms_per_image:.2f}x as fast"),
        ],
        title=f"A network of {file_before // 4:,} weights for handwritten digits",
    )  # fmt: skip
    print(
        f"Measured on {demo.after.n} digits that were held back, each in a fresh process, after "
        "decoding the\nfile; 'before' is the float32 network in the same engine.\n"
    )
    ret = demo.folder / "digits.ret"
    print(f"{ret}: the compressed network")
    if demo.with_onnx:
        print(f"{demo.folder / 'digits.onnx'}: the original")
    if demo.with_report:
        print(f"{demo.folder / 'report.html'}: the report, for a browser")
    print(f"\nTry next:\n  reticule inspect {ret}\n  reticule compress --help")
