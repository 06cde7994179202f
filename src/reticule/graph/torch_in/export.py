"""Running ``torch.export`` on somebody's module, and saying in one line why it fails."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reticule.errors import ModelError

if TYPE_CHECKING:
    import torch

# Those that print a failure in many lines before it is raised.
_LOGGERS = ("torch.fx.experimental.symbolic_shapes", "torch._subclasses.fake_tensor")

# What running somebody's forward() under torch.export is known to raise.
_FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    AssertionError,
    ArithmeticError,
    ImportError,
)


def exported(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
    """The exported program in evaluation mode, without in-place operations.

    The module is left as it was; inputs are brought to its device and precision.
    """
    import torch

    sample = next((p for p in module.parameters() if p.is_floating_point()), None)
    if sample is not None:
        inputs = tuple(
            x.to(sample.device, sample.dtype if x.is_floating_point() else None) for x in inputs
        )
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        with torch.no_grad(), _quiet():
            program = torch.export.export(module, inputs, strict=False)
            return program.run_decompositions({})
    except _FAILURES as problem:
        raise ModelError(_export_failure(module, problem)) from problem
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings and log lines away from the user; errors say it all."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _export_failure(module: torch.nn.Module, problem: BaseException) -> str:
    """One line that says where in the user's code the export stopped, and why."""
    import torch

    inside = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if not frame.filename.startswith((*inside, "<"))
    ]
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    line = f" ('{frames[-1].line}')" if frames and frames[-1].line else ""
    text = str(problem).strip().splitlines()
    reason = text[0].strip()[:160] if text else type(problem).__name__
    return (
        f"{type(module).__name__}: cannot be exported{place}{line}: {reason}; check the example "
        "input, replace control flow that depends on values, or export to ONNX and load that"
    )
