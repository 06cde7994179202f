// Rate-distortion optimised quantisation, scalar or along a trellis; the encoder's side.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "trellis.hpp"

namespace reticule {

// A table has the indices -6 to 6; beyond, the mean slope from 2 to 6 goes on.
constexpr int32_t kRateReach = 6;
constexpr size_t kRateWidth = 2 * kRateReach + 1;
constexpr size_t kRateSize = 2 * kRateWidth;     // for quantiser 0, then 1

/// A matrix of weights and what an error costs.  Of each row with errors e (in weight units)
/// the distortion is
///
///     importance * sum over columns i of
///         pivots[i] * (e[i] + sum over j < i of spread[j][i] e[j])^2
///
/// which is e^T H e for H = U diag(pivots) U^T with U = spread + identity: what
/// Frantar et al. (GPTQ, 2022) minimise column by column.  An empty span stands for ones
/// (importance, pivots), for no coupling of columns (spread) or for factor 0 (factor_of_row).
struct Problem {
    std::span<const float> weights;  // rows x columns
    size_t rows, columns;
    double step, lambda;             // lambda: distortion that one bit is worth
    unsigned states;                 // 0: scalar
    std::span<const double> importance;       // rows
    std::span<const double> pivots;           // factors x columns
    std::span<const float> spread;            // factors x columns x block; [j][i mod block]
    size_t block;                             // columns i and j couple if i / block == j / block
    std::span<const uint32_t> factor_of_row;  // rows
    std::span<const uint16_t> rates;          // entries x 2 x 13, in 1/256 bit
    std::span<const uint16_t> classes;        // the entry of each weight; empty: its position
};

/// Chooses levels and returns distortion + lambda * bits.  The search keeps one survivor for
/// each state (per-survivor processing), exact unless survivors with different errors merge.
double quantise(const Problem &problem, std::span<int32_t> levels);

}  // namespace reticule
