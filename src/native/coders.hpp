// Entropy coders over arrays of 16-bit symbols; plain C++, no Python.
//
// Integer arithmetic only, so that the same bytes decode to the same symbols
// everywhere.  Every function bounds all its reads and writes and throws
// std::invalid_argument on anything that does not fit; a decoder must use up its
// payload exactly.  docs/format.md specifies the bits.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace reticule {

using Symbols = std::span<const uint16_t>;
using Bytes = std::span<const uint8_t>;

inline constexpr unsigned kMaxCodeLength = 15;
inline constexpr unsigned kMaxScaleBits = 14;

// Fixed width, most significant bit first.
void pack_bits(Symbols symbols, unsigned width, std::span<uint8_t> out);
void unpack_bits(Bytes payload, unsigned width, std::span<uint16_t> out);

// Optimal code lengths of at most `limit` bits; symbols that never occur get length 0.
void huffman_lengths(std::span<const uint64_t> counts, unsigned limit, std::span<uint8_t> out);

// Canonical Huffman code; returns the number of bytes written from the start of `out`.
size_t huffman_encode(Symbols symbols, Bytes lengths, std::span<uint8_t> out);
void huffman_decode(Bytes payload, Bytes lengths, std::span<uint16_t> out);

// Static rANS with frequencies that sum to 2^scale_bits; returns the number of bytes
// written, which end at the end of `out`.
size_t rans_encode(Symbols symbols, std::span<const uint32_t> frequencies, unsigned scale_bits,
                   std::span<uint8_t> out);
void rans_decode(Bytes payload, std::span<const uint32_t> frequencies, unsigned scale_bits,
                 std::span<uint16_t> out);

// Relative positions into compressed rows.  A symbol below `step` skips that many
// positions and marks the next one; `step` itself skips `step` positions and marks none.
struct Scan {
    uint32_t step;
    uint64_t rows, cols;
    bool by_columns;
};
template <typename Column>
void gaps_to_rows(Symbols symbols, const Scan &scan, std::span<uint32_t> indptr,
                  std::span<Column> columns);

}  // namespace reticule
