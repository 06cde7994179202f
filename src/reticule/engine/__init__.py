"""The engine: runs a packed network with numpy and native kernels, weights staying packed."""

from reticule.engine.model import Model as Model
