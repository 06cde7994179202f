// Static coders over arrays of symbols, uint8_t or uint16_t; plain C++, no Python.
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

using Bytes = std::span<const uint8_t>;

// Frequencies sum to 2^scale_bits.  With a small alphabet each has at most 12 bits, so that all
// that a decoder must know about a slot fits into 32 bits.
inline constexpr unsigned kMaxScaleBits = 14;
inline constexpr size_t kByteAlphabet = 256;
inline constexpr uint32_t kMaxFrequencyOfBytes = (1u << 12) - 1;

// Fixed width, most significant bit first.
template <typename Symbol>
void pack_bits(std::span<const Symbol> symbols, unsigned width, std::span<uint8_t> out);
template <typename Symbol>
void unpack_bits(Bytes payload, unsigned width, std::span<Symbol> out);

// Frequencies that sum to 2^scale_bits, in proportion to weights and at least 1 each.
void share_slots(std::span<const uint64_t> weights, unsigned scale_bits,
                 std::span<uint32_t> frequencies);

// Reads a table of frequencies for the whole alphabet from the start of `data`.
struct TableRead {
    unsigned scale_bits;
    size_t bytes;
};
TableRead read_frequencies(Bytes data, std::span<uint32_t> frequencies);

// Static rANS with frequencies that sum to 2^scale_bits, in 1 or 4 lanes; returns the number
// of bytes written, which end at the end of `out`.  uint8_t is for alphabets of up to 256.
template <typename Symbol>
size_t rans_encode(std::span<const Symbol> symbols, std::span<const uint32_t> frequencies,
                   unsigned scale_bits, unsigned lanes, std::span<uint8_t> out);
template <typename Symbol>
void rans_decode(Bytes payload, std::span<const uint32_t> frequencies, unsigned scale_bits,
                 unsigned lanes, std::span<Symbol> out);

// Relative positions into compressed rows.  A symbol below `step` skips that many
// positions and marks the next one; `step` itself skips `step` positions and marks none.
struct Scan {
    uint32_t step;
    uint64_t rows, cols;
    bool by_columns;
};
template <typename Symbol, typename Column>
void gaps_to_rows(std::span<const Symbol> symbols, const Scan &scan, std::span<uint32_t> indptr,
                  std::span<Column> columns);

// 0, 1, 2, 3, 4, ... into 0, -1, 1, -2, 2, ...
template <typename Symbol>
void unzigzag(std::span<const Symbol> symbols, std::span<int32_t> out);

}  // namespace reticule
