// What one weight may become and what that costs; the parts of the search that do not remember.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "trellis_search.hpp"

namespace reticule {

inline constexpr double kNever = std::numeric_limits<double>::infinity();

struct Choice {
    double cost = kNever;
    int32_t index = 0;
};

/// Bits of every index at one position, times lambda.
class Price {
public:
    Price(const uint16_t *table, double lambda) : table_(table), scale_(lambda / 256) {}

    double operator()(unsigned quantiser, int32_t k) const {
        if (table_ == nullptr) {  // Golomb-like: a bit for zero or not, sign, length
            const int32_t size = k < 0 ? -k : k;
            return scale_ * (k == 0 ? 256 : 512 + 128 * (size - 1));
        }
        const uint16_t *row = table_ + quantiser * kRateWidth + kRateReach;
        if (k > kRateReach || k < -kRateReach) {
            const int32_t sign = k > 0 ? 1 : -1;
            const double last = row[sign * kRateReach];
            const double slope = std::max((last - row[sign * 2]) / (kRateReach - 2), 1.0);
            return scale_ * (last + slope * (sign * k - kRateReach));
        }
        return scale_ * row[k];
    }

private:
    const uint16_t *table_;
    double scale_;
};

/// The best index of each branch in one quantiser.  y: the weight in steps; weight: what one step
/// squared of error costs.
inline void choose(double y, unsigned quantiser, double weight, const Price &price,
                   Choice *best) {
    const double size = std::fabs(y);
    const int32_t floor = static_cast<int32_t>((size + quantiser) / 2);
    const int32_t sign = y < 0 ? -1 : 1;
    Choice found[2];
    const auto consider = [&](int32_t k) {
        const double error = y - Trellis::grid(quantiser, k);
        const double cost = weight * error * error + price(quantiser, k);
        Choice &choice = found[Trellis::branch(quantiser, k)];
        if (cost < choice.cost) choice = {cost, k};
    };
    consider(sign * (floor + 1));
    consider(sign * floor);
    if (floor >= 1) consider(sign * (floor - 1));
    if (floor >= 2) consider(0);
    if (quantiser && floor <= 1) consider(-sign);  // the other side of zero
    best[0] = found[0];
    best[1] = found[1];
}

inline double clamped(double y) {
    constexpr double largest = kLargestLevel - 4;
    return y < largest ? (y > -largest ? y : -largest) : largest;
}

/// What one call works on, checked.
struct View {
    const Problem &p;

    double weight(size_t row, size_t column) const {
        double w = p.step * p.step;
        if (!p.importance.empty()) w *= p.importance[row];
        if (!p.pivots.empty()) w *= p.pivots[factor(row) * p.columns + column];
        return w;
    }
    Price price(size_t i) const {
        if (p.rates.empty()) return {nullptr, p.lambda};
        const size_t entry = p.classes.empty() ? i : p.classes[i];
        return {p.rates.data() + entry * kRateSize, p.lambda};
    }
    size_t factor(size_t row) const { return p.factor_of_row.empty() ? 0 : p.factor_of_row[row]; }
    /// Coefficients by which the error of `column` is added to the columns after it in its block.
    const float *spread(size_t row, size_t column) const {
        return p.spread.data() + (factor(row) * p.columns + column) * p.block;
    }
    size_t segment() const { return p.spread.empty() ? p.columns : p.block; }
};

}  // namespace reticule
