import numpy as np

Pair = tuple[int, ...]

def give_back() -> None: ...

# Engine kernels (kernels.cpp, sparse_kernels.cpp, block_kernels.cpp).  Arrays must be contiguous
# and have exactly the type named in their docstrings; ValueError or TypeError otherwise.

def lookup(codes: np.ndarray, table: np.ndarray, out: np.ndarray) -> None: ...
def inverse_dct(
    coefficients: np.ndarray,
    out: np.ndarray,
    vertical: np.ndarray,
    horizontal: np.ndarray,
    threads: int,
) -> None: ...
def block_columns(
    indptr: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    table: np.ndarray,
    x: np.ndarray,
    out: np.ndarray,
    threads: int,
) -> None: ...
def sparse_columns(
    indptr: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    table: np.ndarray,
    x: np.ndarray,
    out: np.ndarray,
    threads: int,
) -> None: ...
def sparse_rows(
    indptr: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    table: np.ndarray,
    x: np.ndarray,
    out: np.ndarray,
    threads: int,
) -> None: ...
def im2col(
    x: np.ndarray,
    out: np.ndarray,
    kernel: Pair,
    strides: Pair,
    dilations: Pair,
    pads: Pair,
    first: int,
    width: int,
    threads: int,
) -> None: ...
def max_pool(
    x: np.ndarray,
    out: np.ndarray,
    kernel: Pair,
    strides: Pair,
    dilations: Pair,
    pads: Pair,
    threads: int,
) -> None: ...
def average_pool(
    x: np.ndarray,
    out: np.ndarray,
    kernel: Pair,
    strides: Pair,
    dilations: Pair,
    pads: Pair,
    count_padding: bool,
    threads: int,
) -> None: ...
def depthwise(
    x: np.ndarray,
    weight: np.ndarray,
    out: np.ndarray,
    strides: Pair,
    dilations: Pair,
    pads: Pair,
    threads: int,
) -> None: ...
def lrn(
    x: np.ndarray,
    out: np.ndarray,
    size: int,
    alpha: float,
    beta: float,
    bias: float,
    threads: int,
) -> None: ...

# Entropy coders (coders.cpp).  Symbols are uint16, bytes uint8, counts uint64, frequencies
# uint32; results go into the last arrays.  ValueError for anything that does not fit.

def pack_bits(symbols: np.ndarray, width: int, out: np.ndarray) -> None: ...
def unpack_bits(payload: np.ndarray, width: int, out: np.ndarray) -> None: ...
def share_slots(weights: np.ndarray, scale_bits: int, frequencies: np.ndarray) -> None: ...
def read_frequencies(data: np.ndarray, frequencies: np.ndarray) -> tuple[int, int]: ...
def rans_encode(
    symbols: np.ndarray, frequencies: np.ndarray, scale_bits: int, lanes: int, out: np.ndarray
) -> int: ...
def rans_decode(
    payload: np.ndarray, frequencies: np.ndarray, scale_bits: int, lanes: int, out: np.ndarray
) -> None: ...
def unzigzag(symbols: np.ndarray, out: np.ndarray) -> None: ...
def gaps_to_rows(
    symbols: np.ndarray,
    step: int,
    rows: int,
    cols: int,
    by_columns: bool,
    indptr: np.ndarray,
    columns: np.ndarray,
) -> None: ...

# Trellis-coded quantisation (trellis.cpp) and the context coder (context_coder.cpp).

def trellis_indices(levels: np.ndarray, columns: int, states: int, out: np.ndarray) -> None: ...
def trellis_levels(indices: np.ndarray, columns: int, states: int, out: np.ndarray) -> None: ...
def trellis_quantisers(indices: np.ndarray, columns: int, states: int, out: np.ndarray) -> None: ...
def quantise(
    weights: np.ndarray,
    rows: int,
    columns: int,
    step: float,
    lam: float,
    states: int,
    importance: np.ndarray,
    pivots: np.ndarray,
    spread: np.ndarray,
    block: int,
    factor_of_row: np.ndarray,
    rates: np.ndarray,
    classes: np.ndarray,
    out: np.ndarray,
) -> float: ...

class ContextEncoder:
    def __init__(self, preset: int) -> None: ...
    def integers(
        self,
        values: np.ndarray,
        mask: np.ndarray,
        rows: int,
        channels: int,
        height: int,
        width: int,
        states: int,
        signed: bool,
        labels: np.ndarray | None = None,
    ) -> None: ...
    def rates(
        self,
        values: np.ndarray,
        mask: np.ndarray,
        rows: int,
        channels: int,
        height: int,
        width: int,
        states: int,
        signed: bool,
        out: np.ndarray,
    ) -> None: ...
    def floats(
        self,
        patterns: np.ndarray,
        bits: int,
        rows: int,
        channels: int,
        height: int,
        width: int,
        labels: np.ndarray | None = None,
    ) -> None: ...
    def size(self) -> int: ...
    def finish(self) -> bytes: ...

class ContextDecoder:
    def __init__(self, preset: int, payload: np.ndarray) -> None: ...
    def integers(
        self,
        out: np.ndarray,
        mask: np.ndarray,
        rows: int,
        channels: int,
        height: int,
        width: int,
        states: int,
        signed: bool,
        labels: np.ndarray | None = None,
    ) -> None: ...
    def floats(
        self,
        out: np.ndarray,
        bits: int,
        rows: int,
        channels: int,
        height: int,
        width: int,
        labels: np.ndarray | None = None,
    ) -> None: ...
    def position(self) -> int: ...
    def finish(self) -> None: ...
