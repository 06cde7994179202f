"""Everything that Reticule raises on purpose.

One root, :class:`ReticuleError`.  Its message is one line that names the file or
the layer and says what to do; the commands print it as it stands and exit with
the error's ``exit_code``.

>>> from reticule.errors import DataError, ReticuleError
>>> issubclass(DataError, ReticuleError), DataError.exit_code
(True, 2)
"""

from __future__ import annotations

from enum import Enum


class ReticuleError(Exception):
    """Root of all errors that are the input's fault, or the user's."""

    exit_code = 2


class ModelError(ReticuleError):
    """A network that cannot be read, checked or run: names the file, node or tensor."""


class UnsupportedOperator(ModelError):
    """An operator that the network representation does not have.

    ``node`` and ``operator`` are kept for callers that want to list all of them.
    """

    def __init__(self, node: str, operator: str, advice: str) -> None:
        super().__init__(f"node '{node}': operator '{operator}' is not supported; {advice}")
        self.node = node
        self.operator = operator


class DataError(ReticuleError):
    """Images or labels that cannot be read or do not fit the network."""


class RecipeError(ReticuleError):
    """A recipe, or a parameter in it, that does not exist or is out of range."""


class MissingExtra(ReticuleError):
    """A feature whose optional dependency is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package '{package}': pip install 'reticule[{extra}]'"
        )


class Fault(Enum):
    """Every way in which a ``.ret`` file can be bad."""

    NOT_RET = "not a .ret file"  # the first bytes are not the magic number
    VERSION = "written by another version of the format"
    TRUNCATED = "ends too early"  # a length points behind the end of its section
    TRAILING = "has bytes left over"  # sections or records do not fill their space
    CHECKSUM = "is damaged"  # a CRC-32 does not match
    TOO_LARGE = "declares more than the limits allow"
    METADATA = "has unreadable metadata"  # inflate, JSON or a field's type failed
    GRAPH = "has an inconsistent graph"  # order, names, arity, attributes, shapes
    TENSORS = "has tensors that do not match its graph"
    UNKNOWN_FORM = "uses an unknown form"
    UNKNOWN_CODER = "uses an unknown stream coder"
    BAD_TABLE = "has an impossible code table"
    BAD_STREAM = "has a code stream that does not decode"
    BAD_INDEX = "has an index out of range"  # a position or codebook entry
    BAD_VALUE = "has a weight that is not finite"


class FormatError(ReticuleError):
    """A ``.ret`` file that is not valid; ``fault`` says in which way."""

    def __init__(self, fault: Fault, where: str, detail: str = "") -> None:
        text = f"{where}: {fault.value}"
        super().__init__(f"{text} ({detail})" if detail else text)
        self.fault = fault
        self.where = where
        self.detail = detail
