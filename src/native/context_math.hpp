// Integer logarithm, exponential and logistic functions of the context coder.
//
// Everything that encoder and decoder compute goes through these tables, which are built
// with integer arithmetic only, so they are the same on every machine.  docs/format.md
// defines them.

#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace reticule::context {

inline constexpr int kStretchLimit = 2815;  // 11 in units of 1/256

struct Tables {
    std::array<int16_t, 256> log2_mantissa;   // 256 log2(1 + i/256), rounded
    std::array<uint32_t, 256> exp2_fraction;  // 2^(16 + i/256)
    std::array<uint16_t, 2 * kStretchLimit + 1> squash;  // logistic function, 16 bits
    std::array<int16_t, 4096> stretch;        // its inverse
    std::array<uint16_t, 1024> share;         // 65536 / (n + 1.5)
    std::array<uint32_t, 481> inverse;        // 2^30 / (4096 + 2^((16 i + 8) / 256))
    std::array<uint8_t, 1024> group;          // classes of |expected value| over scale
    std::array<uint16_t, 4096> cost;          // -log2(p / 65536) in 1/256 bit
};

extern const Tables kTables;

inline const Tables &tables() { return kTables; }

// log2 of x >= 1 in 1/256.
inline int log2_q8(uint64_t x) {
    const int exponent = 63 - std::countl_zero(x | 1);
    const uint64_t normal = exponent >= 8 ? x >> (exponent - 8) : x << (8 - exponent);
    return 256 * exponent + tables().log2_mantissa[normal & 255];
}

// 2^(x / 256), x >= 0; x is limited to 40 * 256 + 255.
inline uint64_t exp2_q8(int x) {
    x = x < 0 ? 0 : x > 40 * 256 + 255 ? 40 * 256 + 255 : x;
    return (uint64_t{tables().exp2_fraction[x & 255]} << (x >> 8)) >> 16;
}

}  // namespace reticule::context
