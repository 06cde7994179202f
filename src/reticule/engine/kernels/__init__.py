"""The engine's operators: one function each, by name.

A kernel takes the node's inputs, all of its attributes, and the number of threads for
native loops, and returns a new float32 array or a view of an input; it never writes to
its inputs.  Inputs are float32 arrays, ``None`` for an absent optional one; the weight
of the operators in ``WEIGHTED`` comes in its run form instead.

To add an operator, write its function in the module of its family and list it there.
"""

from __future__ import annotations

from reticule.engine.kernels.common import Kernel as Kernel
from reticule.engine.kernels.elementwise import ELEMENTWISE
from reticule.engine.kernels.linear import LINEAR
from reticule.engine.kernels.pool import POOL
from reticule.engine.kernels.shape import SHAPE

KERNELS: dict[str, Kernel] = {**LINEAR, **ELEMENTWISE, **POOL, **SHAPE}
"""Every operator of :data:`reticule.graph.operators.OPERATORS`."""

WEIGHTED = {"Conv": 1, "Gemm": 1}
"""Operators that take an input in run form, and which one."""
