import numpy as np

Pair = tuple[int, ...]

# Engine kernels (kernels.cpp, sparse_kernels.cpp).  Arrays must be contiguous and have
# exactly the type named in their docstrings; ValueError or TypeError otherwise.

def lookup(codes: np.ndarray, table: np.ndarray, out: np.ndarray) -> None: ...
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
def huffman_lengths(counts: np.ndarray, limit: int, out: np.ndarray) -> None: ...
def huffman_encode(symbols: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> int: ...
def huffman_decode(payload: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> None: ...
def rans_encode(
    symbols: np.ndarray, frequencies: np.ndarray, scale_bits: int, out: np.ndarray
) -> int: ...
def rans_decode(
    payload: np.ndarray, frequencies: np.ndarray, scale_bits: int, out: np.ndarray
) -> None: ...
def gaps_to_rows(
    symbols: np.ndarray,
    step: int,
    rows: int,
    cols: int,
    by_columns: bool,
    indptr: np.ndarray,
    columns: np.ndarray,
) -> None: ...
