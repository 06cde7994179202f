// Encoder side of trellis-coded quantisation: the Viterbi search.  Floating point is fine here:
// whatever path comes out, a decoder only sees its indices.

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "trellis_choice.hpp"
#include "trellis_history.hpp"
#include "trellis_search.hpp"

namespace reticule {

namespace {

constexpr size_t kDecided = 4096;  // steps that are written out at once
constexpr size_t kUndecided = 2048;

/// The two ways into each state of a trellis: from which state, on which branch.
template <unsigned states>
struct Ways {
    struct Way {
        uint8_t from, branch;
    };
    std::array<std::array<Way, 2>, states> into{};

    constexpr Ways() {
        const Trellis trellis(states);
        unsigned found[states] = {};
        for (unsigned s = 0; s < states; ++s)
            for (const int32_t k : {0, 1}) {
                const unsigned t = trellis.next(s, k);
                const unsigned branch = Trellis::branch(s, k);
                into[t][found[t]++] = {static_cast<uint8_t>(s), static_cast<uint8_t>(branch)};
            }
    }
};

/// One row group: the survivors, their decisions, and the way back.  Where columns are coupled,
/// every survivor has choices of its own; else all those in one quantiser have the same.
template <unsigned states, bool coupled>
class Search {
public:
    Search(const Problem &problem, std::span<int32_t> out)
        : view_{problem}, out_(out), history_(coupled ? problem.block : 0) {
        steps_.reserve(kDecided + kUndecided);
    }

    /// Rows [first, last) from state 0; returns the cost of the path that was chosen.
    double run(size_t first, size_t last) {
        const size_t columns = view_.p.columns, segment = view_.segment();
        costs_.fill(kNever);
        costs_[0] = 0;
        total_ = 0;
        decided_ = first * columns;
        steps_.clear();
        for (size_t row = first; row < last; ++row)
            for (size_t start = 0; start < columns; start += segment) {
                const size_t width = std::min(segment, columns - start);
                if (coupled) history_.restart();
                for (size_t j = 0; j < width; ++j) step(row, start, j, width);
            }
        const size_t best = best_state();
        trace(best, steps_.size());
        return total_ + costs_[best];
    }

private:
    static constexpr Ways<states> kWays{};
    static constexpr unsigned kSources = coupled ? states : 2;  // of choices: states, quantisers

    /// For each state the way into it that was better, and the indices on all branches.
    struct Step {
        std::array<uint8_t, states> way;
        std::array<int32_t, 2 * kSources> index;
    };

    static constexpr unsigned source(unsigned state) {
        return coupled ? state : Trellis::quantiser(state);
    }

    size_t best_state() const {
        return static_cast<size_t>(std::min_element(costs_.begin(), costs_.end()) -
                                   costs_.begin());
    }

    void step(size_t row, size_t start, size_t j, size_t width) {
        const Problem &p = view_.p;
        const size_t column = start + j, i = row * p.columns + column;
        const double y = p.weights[i] / p.step, weight = view_.weight(row, column);
        const Price price = view_.price(i);
        std::array<Choice, 2 * kSources> choices;
        if constexpr (coupled) {
            std::array<float, states> shift;
            history_.feedback(view_, row, start, j, shift.data());
            for (unsigned s = 0; s < states; ++s)
                if (costs_[s] != kNever)
                    choose(clamped(y + shift[s]), Trellis::quantiser(s), weight, price,
                           &choices[2 * s]);
        } else {
            choose(clamped(y), 0, weight, price, &choices[0]);
            choose(clamped(y), 1, weight, price, &choices[2]);
        }
        advance(choices);
        if constexpr (coupled) {
            const Step &decision = steps_.back();
            std::array<uint8_t, states> from;
            std::array<float, states> errors;
            for (unsigned t = 0; t < states; ++t) {
                const auto way = kWays.into[t][decision.way[t]];
                const int32_t k = decision.index[2 * way.from + way.branch];
                from[t] = way.from;
                errors[t] = static_cast<float>(y - Trellis::grid(way.from, k));
            }
            history_.extend(from.data(), errors.data());
            history_.merge(view_, row, start, width, costs_.data());
        }
        if (steps_.size() == kDecided + kUndecided) decide();
    }

    /// Every state takes the better of the two ways into it.
    void advance(const std::array<Choice, 2 * kSources> &choices) {
        Step &decision = steps_.emplace_back();
        for (unsigned c = 0; c < 2 * kSources; ++c) decision.index[c] = choices[c].index;
        std::array<double, states> costs;
        for (unsigned t = 0; t < states; ++t) {
            const auto a = kWays.into[t][0], b = kWays.into[t][1];
            const double cost_a = costs_[a.from] + choices[2 * source(a.from) + a.branch].cost;
            const double cost_b = costs_[b.from] + choices[2 * source(b.from) + b.branch].cost;
            const bool second = cost_b < cost_a;
            costs[t] = second ? cost_b : cost_a;
            decision.way[t] = second;
        }
        const double least = *std::min_element(costs.begin(), costs.end());
        for (unsigned t = 0; t < states; ++t) costs_[t] = costs[t] - least;
        total_ += least;
    }

    /// Writes the oldest decisions; survivors that disagree with them are dropped.
    void decide() {
        const size_t best = best_state();
        std::array<uint8_t, states> through;
        for (unsigned s = 0; s < states; ++s) {
            uint8_t state = static_cast<uint8_t>(s);
            for (size_t t = steps_.size(); t-- > kDecided;)
                state = kWays.into[state][steps_[t].way[state]].from;
            through[s] = state;
        }
        for (unsigned s = 0; s < states; ++s)
            if (through[s] != through[best]) costs_[s] = kNever;
        trace(through[best], kDecided);
        steps_.erase(steps_.begin(), steps_.begin() + kDecided);
    }

    void trace(size_t state, size_t count) {
        for (size_t t = count; t-- > 0;) {
            const auto way = kWays.into[state][steps_[t].way[state]];
            const int32_t k = steps_[t].index[2 * source(way.from) + way.branch];
            state = way.from;
            out_[decided_ + t] = Trellis::grid(way.from, k);
        }
        decided_ += count;
    }

    View view_;
    std::span<int32_t> out_;
    History<states> history_;
    std::array<double, states> costs_{};
    double total_ = 0;
    std::vector<Step> steps_;
    size_t decided_ = 0;
};

/// All row groups; each begins anew, so that they may as well be given one by one.
template <unsigned states, bool coupled>
double searched(const Problem &p, std::span<int32_t> out) {
    Search<states, coupled> search(p, out);
    const size_t group = trellis_rows(p.columns);
    double total = 0;
    for (size_t row = 0; row < p.rows; row += group)
        total += search.run(row, std::min<size_t>(p.rows, row + group));
    return total;
}

template <unsigned states>
double searched(const Problem &p, std::span<int32_t> out) {
    return p.spread.empty() ? searched<states, false>(p, out) : searched<states, true>(p, out);
}

/// One quantiser, weight by weight: nothing to search, so errors spread at once.
double scalar(const Problem &p, std::span<int32_t> out) {
    const View view{p};
    const bool coupled = !p.spread.empty();
    std::vector<float> shift(coupled ? p.block : 0);
    double total = 0;
    for (size_t row = 0, i = 0; row < p.rows; ++row)
        for (size_t column = 0; column < p.columns; ++column, ++i) {
            const size_t j = coupled ? column % p.block : 0;
            if (coupled && j == 0) std::fill(shift.begin(), shift.end(), 0.0f);
            const double plain = p.weights[i] / p.step;
            const double y = clamped(coupled ? plain + shift[j] : plain), size = std::fabs(y);
            const double weight = view.weight(row, column);
            const Price price = view.price(i);
            const int32_t floor = static_cast<int32_t>(size), sign = y < 0 ? -1 : 1;
            Choice best;
            for (const int32_t k : {floor + 1, floor, floor - 1, 0}) {
                if (k < 0) continue;
                const double cost = weight * (size - k) * (size - k) + price(0, sign * k);
                if (cost < best.cost) best = {cost, sign * k};
            }
            out[i] = best.index;
            total += best.cost;
            if (!coupled) continue;
            const float *spread = view.spread(row, column);
            const float error = static_cast<float>(plain - best.index);
            const size_t width = std::min<size_t>(p.block, p.columns - (column - j));
            for (size_t k = j + 1; k < width; ++k) shift[k] += spread[k] * error;
        }
    return total;
}

void check(const Problem &p, size_t out) {
    const auto fail = [](const char *what) { throw std::invalid_argument(what); };
    if (p.columns != 0 && p.rows > p.weights.size() / p.columns) fail("as many weights as places");
    const size_t n = p.rows * p.columns;
    if (p.weights.size() != n || out != n) fail("as many weights as places");
    if (!(p.step > 0) || !std::isfinite(p.step)) fail("the step must be positive");
    if (!(p.lambda >= 0) || !std::isfinite(p.lambda)) fail("lambda must not be negative");
    const double largest = p.step * (kLargestLevel - 4);
    for (const float w : p.weights)
        if (!(std::fabs(w) <= largest)) fail("a weight is not finite, or too large for the step");
    if (!p.importance.empty() && p.importance.size() != p.rows) fail("one importance a row");
    if (!p.factor_of_row.empty() && p.factor_of_row.size() != p.rows) fail("one factor a row");
    size_t factors = 1;
    for (const uint32_t f : p.factor_of_row) factors = std::max<size_t>(factors, size_t{f} + 1);
    if (!p.pivots.empty() && p.pivots.size() / factors < p.columns) fail("too few pivots");
    if (!p.spread.empty()) {
        if (p.block == 0 || p.columns == 0) fail("the block must be positive");
        if (p.spread.size() / p.block / factors < p.columns) fail("too few coefficients");
    }
    if (p.rates.size() % kRateSize != 0) fail("rates come in 2 rows of 13");
    const size_t entries = p.rates.size() / kRateSize;
    if (p.classes.empty() ? entries != 0 && entries != n : p.classes.size() != n || entries == 0)
        fail("rates for every weight");
    for (const uint16_t c : p.classes)
        if (c >= entries) fail("rates for every class");
}

}  // namespace

double quantise(const Problem &problem, std::span<int32_t> levels) {
    check(problem, levels.size());
    if (levels.empty()) return 0;
    switch (problem.states) {
        case 0: return scalar(problem, levels);
        case 8: return searched<8>(problem, levels);
        case 32: return searched<32>(problem, levels);
        case 64: return searched<64>(problem, levels);
        default: throw std::invalid_argument("a trellis has 0, 8, 32 or 64 states");
    }
}

}  // namespace reticule
