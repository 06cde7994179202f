// Trellis-coded quantisation: which levels may follow each other.
//
// A path runs through N = 2^m states.  The lowest bit of the state chooses one of two
// quantisers: 0 has the even levels n = 2k, 1 has the odd levels and zero, n = 2k - sign(k).  A
// file stores the index k.  The branch to the next state tells n = 0 from n = 2 (modulo 4) in
// quantiser 0, and n = 3 from n = 1 in quantiser 1, where zero goes with 3.  So levels of the
// same branch are 4 apart, also across zero, and the encoder may do without the zero of
// quantiser 1 where weights are large (Marcellin & Fischer 1990; the zero in both quantisers
// is that of Schwarz et al. 2021).  Parity-check polynomials are Ungerboeck's (1987).

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

namespace reticule {

constexpr int32_t kLargestLevel = 1 << 24;   // float32 holds every integer up to here
constexpr uint64_t kTrellisGroup = 1 << 16;  // weights, after which the path starts anew

/// The transitions of one trellis.  `states` is 8, 32 or 64; or 0 for none: a single state and
/// a single quantiser whose index is the level.
class Trellis {
public:
    static constexpr unsigned kMostStates = 64;

    explicit constexpr Trellis(unsigned states) : states_(states) {
        if (states == 0) return;  // next_ is all zeros
        unsigned h0 = 0, h1 = 0;
        switch (states) {
            case 8: h0 = 013, h1 = 004; break;
            case 32: h0 = 045, h1 = 010; break;
            case 64: h0 = 0103, h1 = 024; break;
            default: throw std::invalid_argument("a trellis has 0, 8, 32 or 64 states");
        }
        for (unsigned s = 0; s < states; ++s)
            for (unsigned branch = 0; branch < 2; ++branch)
                next_[2 * s + branch] = static_cast<uint8_t>(
                    (s >> 1) ^ ((s & 1) ? h0 >> 1 : 0) ^ (branch ? h1 >> 1 : 0));
    }

    constexpr unsigned states() const { return states_; }

    /// The quantiser of a state, 0 or 1 (always 0 without a trellis).
    static constexpr unsigned quantiser(unsigned state) { return state & 1; }

    /// The branch of index k, 0 or 1.
    static constexpr unsigned branch(unsigned state, int32_t k) {
        return (static_cast<uint32_t>(k) ^ (state & (k < 0))) & 1;
    }

    /// The state behind index k; the state is masked, so any values are safe.
    constexpr unsigned next(unsigned state, int32_t k) const {
        return next_[2 * (state & (kMostStates - 1)) + branch(state, k)];
    }

    /// The level that index k stands for; |k| must not exceed kLargestLevel / 2 (with a
    /// trellis).
    constexpr int32_t level(unsigned state, int32_t k) const {
        return states_ == 0 ? k : grid(state, k);
    }

    /// level() of a trellis.
    static constexpr int32_t grid(unsigned state, int32_t k) {
        return quantiser(state) ? 2 * k - (k > 0) + (k < 0) : 2 * k;
    }

    /// Inverse of level(); false if the state's quantiser does not have this level.
    constexpr bool index(unsigned state, int32_t n, int32_t &k) const {
        if (states_ == 0) {
            k = n;
            return true;
        }
        k = (n + (quantiser(state) ? (n > 0) - (n < 0) : 0)) / 2;
        return level(state, k) == n;
    }

private:
    unsigned states_;
    uint8_t next_[2 * kMostStates] = {};
};

/// Rows of a matrix after which the path starts anew in state 0.
constexpr uint64_t trellis_rows(uint64_t columns) {
    if (columns == 0) return 1;
    const uint64_t rows = kTrellisGroup / columns + (kTrellisGroup % columns != 0);
    return rows > 1 ? rows : 1;
}

/// Indices of levels (row by row, `columns` a row).  Throws unless the levels follow the
/// trellis.
inline void trellis_indices(std::span<const int32_t> levels, uint64_t columns, unsigned states,
                            std::span<int32_t> out) {
    if (out.size() != levels.size()) throw std::invalid_argument("as many indices as levels");
    const Trellis trellis(states);
    const uint64_t group = trellis_rows(columns) * (columns ? columns : 1);
    unsigned state = 0;
    uint64_t left = group;
    for (size_t i = 0; i < levels.size(); ++i, --left) {
        if (left == 0) state = 0, left = group;
        const int32_t n = levels[i];
        int32_t k = 0;
        if (n > kLargestLevel || n < -kLargestLevel || !trellis.index(state, n, k))
            throw std::invalid_argument("levels do not follow the trellis");
        out[i] = k;
        state = trellis.next(state, k);
    }
}

/// Levels of indices, the inverse of trellis_indices().  Throws if a level is too large.
inline void trellis_levels(std::span<const int32_t> indices, uint64_t columns, unsigned states,
                           std::span<int32_t> out) {
    if (out.size() != indices.size()) throw std::invalid_argument("as many levels as indices");
    const Trellis trellis(states);
    const int32_t largest = states ? kLargestLevel / 2 : kLargestLevel;
    const uint64_t group = trellis_rows(columns) * (columns ? columns : 1);
    unsigned state = 0;
    uint64_t left = group;
    for (size_t i = 0; i < indices.size(); ++i, --left) {
        if (left == 0) state = 0, left = group;
        const int32_t k = indices[i];
        if (k > largest || k < -largest) throw std::invalid_argument("an index is too large");
        out[i] = trellis.level(state, k);
        state = trellis.next(state, k);
    }
}

/// The quantiser (0 or 1) in which each index stands.
inline void trellis_quantisers(std::span<const int32_t> indices, uint64_t columns, unsigned states,
                               std::span<uint8_t> out) {
    if (out.size() != indices.size()) throw std::invalid_argument("one quantiser an index");
    const Trellis trellis(states);
    const uint64_t group = trellis_rows(columns) * (columns ? columns : 1);
    unsigned state = 0;
    uint64_t left = group;
    for (size_t i = 0; i < indices.size(); ++i, --left) {
        if (left == 0) state = 0, left = group;
        out[i] = static_cast<uint8_t>(Trellis::quantiser(state));
        state = trellis.next(state, indices[i]);
    }
}

}  // namespace reticule
